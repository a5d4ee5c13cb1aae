use photon_api::flashdns::v1::dns_service_client::DnsServiceClient;
use photon_api::flashdns::v1::node_service_client::NodeServiceClient;
use photon_api::flashdns::v1::*;
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::walk::{Case, walk};
use tonic::Code;

use crate::prismnet::Things;
use crate::{HIDDEN, NAMED, Scene, bearers};

impl Scene<'_> {
    fn zone(&self, name: &str, vpc: &str) -> CreateZoneRequest {
        CreateZoneRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            vpc_ids: vec![vpc.into()],
            ..Default::default()
        }
    }

    fn record_set(&self, zone: &str, name: &str) -> CreateRecordSetRequest {
        CreateRecordSetRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            zone_id: zone.into(),
            name: name.into(),
            r#type: RecordType::A.into(),
            values: vec!["10.0.1.10".into()],
            ..Default::default()
        }
    }

    async fn made_zone(&self, name: &str, vpc: &str) -> String {
        let mut client = DnsServiceClient::new(self.cloud.channel("flashdns"));
        let request = self.tenant.admin.request(self.zone(name, vpc));
        let made = client.create_zone(request).await.unwrap();
        made.into_inner().zone.unwrap().id
    }

    async fn made_record_set(&self, zone: &str, name: &str) -> String {
        let mut client = DnsServiceClient::new(self.cloud.channel("flashdns"));
        let request = self.tenant.admin.request(self.record_set(zone, name));
        let made = client.create_record_set(request).await.unwrap();
        made.into_inner().record_set.unwrap().id
    }
}

pub async fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let (org_id, project_id) = (&scene.tenant.org, &scene.tenant.project);
    let vpc = Things(scene).vpc("named").await;
    let zone = scene.made_zone("kept.example", &vpc).await;
    let old_zone = scene.made_zone("old.example", &vpc).await;
    let set = scene.made_record_set(&zone, "kept").await;
    let old_set = scene.made_record_set(&zone, "old").await;
    let agent = scene.cloud.program("flashdns-agent").await;
    let mut cases: Vec<Case> = scene.events().into();
    cases.extend(scene.quotas("zones"));
    cases.extend(scene.tenancy());
    cases.extend([
        scene.changes(
            "flashdns.v1.DnsService/CreateZone",
            NAMED,
            scene.zone("new.example", &vpc),
        ),
        scene.reads(
            "flashdns.v1.DnsService/GetZone",
            HIDDEN,
            GetZoneRequest {
                id: zone.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "flashdns.v1.DnsService/ListZones",
            NAMED,
            ListZonesRequest {
                org_id: org_id.clone(),
                project_id: project_id.clone(),
                ..Default::default()
            },
        ),
        scene.changes(
            "flashdns.v1.DnsService/UpdateZone",
            HIDDEN,
            UpdateZoneRequest {
                id: zone.clone(),
                description: Some("of a test".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            "flashdns.v1.DnsService/DeleteZone",
            HIDDEN,
            DeleteZoneRequest {
                id: old_zone,
                ..Default::default()
            },
        ),
        scene.changes(
            "flashdns.v1.DnsService/CreateRecordSet",
            NAMED,
            scene.record_set(&zone, "new"),
        ),
        scene.reads(
            "flashdns.v1.DnsService/GetRecordSet",
            HIDDEN,
            GetRecordSetRequest {
                id: set.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "flashdns.v1.DnsService/ListRecordSets",
            NAMED,
            ListRecordSetsRequest {
                org_id: org_id.clone(),
                project_id: project_id.clone(),
                ..Default::default()
            },
        ),
        scene.changes(
            "flashdns.v1.DnsService/UpdateRecordSet",
            HIDDEN,
            UpdateRecordSetRequest {
                id: set,
                ttl: Some(300),
                ..Default::default()
            },
        ),
        scene.changes(
            "flashdns.v1.DnsService/DeleteRecordSet",
            HIDDEN,
            DeleteRecordSetRequest {
                id: old_set,
                ..Default::default()
            },
        ),
        scene.reads(
            "flashdns.v1.DnsService/Resolve",
            NAMED,
            ResolveRequest {
                org_id: org_id.clone(),
                project_id: project_id.clone(),
                vpc_id: vpc,
                name: "kept.kept.example".into(),
                ..Default::default()
            },
        ),
        scene.system(
            "flashdns.v1.NodeService/WatchDesired",
            &agent,
            WatchDesiredRequest { node: NODE.into() },
        ),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_flashdns_has_its_walls() {
    let cloud = TestCloud::start().await;
    let bearers = bearers(&cloud, &["flashdns-agent"]).await;
    let cases = cases(&Scene::acme(&cloud)).await;
    let count = cases.len();
    let calls = walk(&cloud.channel("flashdns"), &cases, &bearers, &[]).await;
    println!("{calls} calls of {count} RPCs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_names_of_a_host_are_for_its_own_agents() {
    let cloud = TestCloud::start().await;
    let agent = cloud.program("flashdns-agent").await;
    let mut client = NodeServiceClient::new(cloud.channel("flashdns"));
    // Nor does an operator, who may do all else, speak for a host.
    for (session, node) in [(&agent, "another"), (&cloud.operator, NODE)] {
        let request = session.request(WatchDesiredRequest { node: node.into() });
        let status = client.watch_desired(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}
