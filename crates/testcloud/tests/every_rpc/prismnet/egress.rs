//! The ways out of VPCs, and in.

use photon_api::prismnet::v1::external_network_service_client::ExternalNetworkServiceClient;
use photon_api::prismnet::v1::floating_ip_service_client::FloatingIpServiceClient;
use photon_api::prismnet::v1::nat_gateway_service_client::NatGatewayServiceClient;
use photon_api::prismnet::v1::*;
use photon_testcloud::prismnet::new_external_network;
use photon_testkit::walk::Case;

use super::Things;
use crate::{HIDDEN, NAMED, Scene, denied};

impl Things<'_> {
    /// Offered to the tenant alone. No two tenants' have an address in common.
    async fn external(&self, name: &str, nth: u8) -> String {
        let scene = self.0;
        let mut client = ExternalNetworkServiceClient::new(scene.cloud.channel("prismnet"));
        let request = scene.cloud.operator.request(scene.external(name, nth));
        let made = client.create_external_network(request).await.unwrap();
        made.into_inner().external_network.unwrap().id
    }

    async fn gateway(&self, name: &str, vpc: &str, network: &str) -> String {
        let mut client = NatGatewayServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.gateway(name, vpc, network);
        let request = self.0.tenant.admin.request(request);
        let made = client.create_nat_gateway(request).await.unwrap();
        made.into_inner().nat_gateway.unwrap().id
    }

    async fn floating(&self, name: &str, network: &str) -> String {
        let mut client = FloatingIpServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.floating(name, network);
        let request = self.0.tenant.admin.request(request);
        let made = client.create_floating_ip(request).await.unwrap();
        made.into_inner().floating_ip.unwrap().id
    }

    async fn associate(&self, floating: &str, port: &str) {
        let mut client = FloatingIpServiceClient::new(self.0.cloud.channel("prismnet"));
        let request = self.0.tenant.admin.request(associate(floating, port));
        client.associate_floating_ip(request).await.unwrap();
    }
}

impl Scene<'_> {
    fn external(&self, name: &str, nth: u8) -> CreateExternalNetworkRequest {
        let org = self.tenant.org.as_str();
        let of_acme = org == self.cloud.acme.org;
        let third = if of_acme { nth } else { 100 + nth };
        new_external_network(&format!("{name}-{org}"), third, &[org])
    }

    fn gateway(&self, name: &str, vpc: &str, network: &str) -> CreateNatGatewayRequest {
        CreateNatGatewayRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            vpc_id: vpc.into(),
            external_network_id: network.into(),
            ..Default::default()
        }
    }

    fn floating(&self, name: &str, network: &str) -> CreateFloatingIpRequest {
        CreateFloatingIpRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            external_network_id: network.into(),
            ..Default::default()
        }
    }
}

fn associate(floating: &str, port: &str) -> AssociateFloatingIpRequest {
    AssociateFloatingIpRequest {
        id: floating.into(),
        port_id: port.into(),
        ..Default::default()
    }
}

/// Cases about the ways out of VPC `net`, to be reached in `subnet` of it.
pub async fn cases(scene: &Scene<'_>, net: &str, subnet: &str) -> Vec<Case> {
    let things = Things(scene);
    let uplink = things.external("uplink", 1).await;
    let old_uplink = things.external("old", 2).await;
    let way = things.gateway("way", net, &uplink).await;
    let old_outer = things.vpc("old-outer").await;
    let old_way = things.gateway("old", &old_outer, &uplink).await;
    let outer = things.vpc("outer").await;
    let (alpha, bound, old) = (
        things.floating("alpha", &uplink).await,
        things.floating("bound", &uplink).await,
        things.floating("old", &uplink).await,
    );
    let (to_reach, reached) = (
        things.port(subnet, "to-reach").await,
        things.port(subnet, "reached").await,
    );
    things.associate(&bound, &reached).await;

    let operator = &scene.cloud.operator;
    let mut cases = external(scene, &uplink, &old_uplink);
    let org_id = || scene.tenant.org.clone();
    let project_id = || scene.tenant.project.clone();
    let changed = || Some("changed".to_owned());
    cases.extend([
        scene.system(
            "prismnet.v1.ExternalNetworkService/CreateExternalNetwork",
            operator,
            scene.external("new", 3),
        ),
        scene.changes(
            "prismnet.v1.NatGatewayService/CreateNatGateway",
            NAMED,
            scene.gateway("new", &outer, &uplink),
        ),
        scene.reads(
            "prismnet.v1.NatGatewayService/GetNatGateway",
            HIDDEN,
            GetNatGatewayRequest {
                id: way.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.NatGatewayService/ListNatGateways",
            NAMED,
            ListNatGatewaysRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.NatGatewayService/UpdateNatGateway",
            HIDDEN,
            UpdateNatGatewayRequest {
                id: way,
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.NatGatewayService/DeleteNatGateway",
            HIDDEN,
            DeleteNatGatewayRequest {
                id: old_way,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.FloatingIpService/CreateFloatingIp",
            NAMED,
            scene.floating("new", &uplink),
        ),
        scene.reads(
            "prismnet.v1.FloatingIpService/GetFloatingIp",
            HIDDEN,
            GetFloatingIpRequest {
                id: alpha.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "prismnet.v1.FloatingIpService/ListFloatingIps",
            NAMED,
            ListFloatingIpsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.FloatingIpService/UpdateFloatingIp",
            HIDDEN,
            UpdateFloatingIpRequest {
                id: alpha.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.FloatingIpService/AssociateFloatingIp",
            HIDDEN,
            associate(&alpha, &to_reach),
        ),
        scene.changes(
            "prismnet.v1.FloatingIpService/DisassociateFloatingIp",
            HIDDEN,
            DisassociateFloatingIpRequest {
                id: bound,
                ..Default::default()
            },
        ),
        scene.changes(
            "prismnet.v1.FloatingIpService/DeleteFloatingIp",
            HIDDEN,
            DeleteFloatingIpRequest {
                id: old,
                ..Default::default()
            },
        ),
    ]);
    cases
}

/// Of the cloud's own, and shown to those whom it is offered to: with whatever token of theirs.
fn external(scene: &Scene<'_>, uplink: &str, old: &str) -> Vec<Case> {
    let operator = &scene.cloud.operator;
    let (tenant, stranger) = (scene.tenant, &scene.cloud.stranger);
    let without = || {
        vec![
            denied("one of the tenant without a role", &tenant.nobody),
            denied("one of the system without a role", stranger),
        ]
    };
    let mut but_theirs = without();
    but_theirs.push(scene.another_tenant(HIDDEN));
    vec![
        Case::guarded(
            "prismnet.v1.ExternalNetworkService/GetExternalNetwork",
            &GetExternalNetworkRequest { id: uplink.into() },
            &tenant.admin,
            but_theirs,
        ),
        Case::guarded(
            "prismnet.v1.ExternalNetworkService/ListExternalNetworks",
            &ListExternalNetworksRequest::default(),
            &tenant.admin,
            without(),
        ),
        scene.system(
            "prismnet.v1.ExternalNetworkService/UpdateExternalNetwork",
            operator,
            UpdateExternalNetworkRequest {
                id: uplink.into(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.system(
            "prismnet.v1.ExternalNetworkService/DeleteExternalNetwork",
            operator,
            DeleteExternalNetworkRequest {
                id: old.into(),
                ..Default::default()
            },
        ),
    ]
}
