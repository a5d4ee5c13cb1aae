//! Routes of VPCs.

use photon_api::prismnet::v1::route_service_client::RouteServiceClient;
use photon_api::prismnet::v1::*;
use photon_testkit::walk::Case;

use super::Things;
use crate::{HIDDEN, NAMED, Scene};

impl Things<'_> {
    async fn route(&self, name: &str, vpc: &str, destination: &str) -> String {
        let mut client = RouteServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.route(name, vpc, destination);
        let request = self.0.tenant.admin.request(request);
        let made = client.create_route(request).await.unwrap();
        made.into_inner().route.unwrap().id
    }
}

impl Scene<'_> {
    fn route(&self, name: &str, vpc: &str, destination: &str) -> CreateRouteRequest {
        CreateRouteRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            vpc_id: vpc.into(),
            destination: destination.into(),
            target: RouteTarget::Blackhole.into(),
            ..Default::default()
        }
    }
}

/// Cases about the routes of VPC `net`.
pub async fn cases(scene: &Scene<'_>, net: &str) -> Vec<Case> {
    let things = Things(scene);
    let detour = things.route("detour", net, "192.0.2.0/25").await;
    let old = things.route("old", net, "192.0.2.128/25").await;
    let org_id = || scene.tenant.org.clone();
    let project_id = || scene.tenant.project.clone();
    vec![
        scene.changes(
            "prismnet.v1.RouteService/CreateRoute",
            NAMED,
            scene.route("new", net, "198.51.100.0/24"),
        ),
        scene.reads(
            "prismnet.v1.RouteService/GetRoute",
            HIDDEN,
            GetRouteRequest {
                id: detour.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.RouteService/ListRoutes",
            NAMED,
            ListRoutesRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.RouteService/UpdateRoute",
            HIDDEN,
            UpdateRouteRequest {
                id: detour,
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.RouteService/DeleteRoute",
            HIDDEN,
            DeleteRouteRequest {
                id: old,
                ..Default::default()
            },
        ),
    ]
}
