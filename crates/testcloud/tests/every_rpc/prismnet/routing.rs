//! Routes and peerings of VPCs.

use photon_api::prismnet::v1::peering_service_client::PeeringServiceClient;
use photon_api::prismnet::v1::route_service_client::RouteServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
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

    /// A VPC that has no address in common with the others.
    async fn apart(&self, name: &str, cidr: &str) -> String {
        let mut client = VpcServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = CreateVpcRequest {
            org_id: self.0.tenant.org.clone(),
            project_id: self.0.tenant.project.clone(),
            name: name.into(),
            cidr: cidr.into(),
            ..Default::default()
        };
        let made = client.create_vpc(self.0.tenant.admin.request(request));
        made.await.unwrap().into_inner().vpc.unwrap().id
    }

    /// A peering that `vpc` asks `peer` for: the side that asks, and the other.
    async fn peering(&self, name: &str, vpc: &str, peer: &str) -> (String, String) {
        let mut client = PeeringServiceClient::new(self.0.cloud.channel("prismnet"));
        let admin = &self.0.tenant.admin;
        let request = admin.request(self.0.peering(name, vpc, peer));
        let made = client.create_peering(request).await.unwrap();
        let request = ListPeeringsRequest {
            org_id: self.0.tenant.org.clone(),
            project_id: self.0.tenant.project.clone(),
            vpc_id: peer.into(),
            ..Default::default()
        };
        let other = client.list_peerings(admin.request(request)).await.unwrap();
        let other = other.into_inner().peerings.remove(0).id;
        (made.into_inner().peering.unwrap().id, other)
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

    fn peering(&self, name: &str, vpc: &str, peer: &str) -> CreatePeeringRequest {
        CreatePeeringRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            vpc_id: vpc.into(),
            peer_vpc_id: peer.into(),
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

/// Cases about peerings.
pub async fn peerings(scene: &Scene<'_>) -> Vec<Case> {
    let things = Things(scene);
    let hub = things.apart("hub", "10.10.0.0/16").await;
    let mut spokes = Vec::new();
    for n in 1..=4 {
        let (name, cidr) = (format!("spoke{n}"), format!("10.1{n}.0.0/16"));
        spokes.push(things.apart(&name, &cidr).await);
    }
    let (link, asked) = things.peering("link", &hub, &spokes[0]).await;
    let (_, unwanted) = things.peering("unwanted", &hub, &spokes[1]).await;
    let (old, _) = things.peering("old", &hub, &spokes[2]).await;
    vec![
        scene.changes(
            "prismnet.v1.PeeringService/CreatePeering",
            NAMED,
            scene.peering("new", &hub, &spokes[3]),
        ),
        scene.changes(
            "prismnet.v1.PeeringService/AcceptPeering",
            HIDDEN,
            AcceptPeeringRequest {
                id: asked,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PeeringService/RejectPeering",
            HIDDEN,
            RejectPeeringRequest {
                id: unwanted,
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.PeeringService/GetPeering",
            HIDDEN,
            GetPeeringRequest {
                id: link.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.PeeringService/ListPeerings",
            NAMED,
            ListPeeringsRequest {
                org_id: scene.tenant.org.clone(),
                project_id: scene.tenant.project.clone(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PeeringService/UpdatePeering",
            HIDDEN,
            UpdatePeeringRequest {
                id: link,
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.PeeringService/DeletePeering",
            HIDDEN,
            DeletePeeringRequest {
                id: old,
                ..Default::default()
            },
        ),
    ]
}
