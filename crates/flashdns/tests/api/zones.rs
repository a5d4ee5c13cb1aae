//! Zones and record sets.

use photon_api::flashdns::v1 as pb;
use photon_api::flashdns::v1::RecordType;
use photon_api::flashdns::v1::dns_service_client::DnsServiceClient;
use photon_testcloud::flashdns::Cloud;
use photon_testcloud::plasmavmc::{Client, HOST, new_vm};
use photon_testkit::{Bearing, expect_error};
use tonic::{Code, Status};

use crate::names::cloud;

struct Dns(DnsServiceClient<Bearing>);

impl Dns {
    fn of(cloud: &Cloud, client: &Client) -> Self {
        Self(DnsServiceClient::new(
            client.iam.session.on(cloud.channel("flashdns")),
        ))
    }

    async fn zone(&mut self, name: &str, vpcs: &[&str]) -> Result<pb::Zone, Status> {
        let request = pb::CreateZoneRequest {
            name: name.into(),
            vpc_ids: vpcs.iter().map(|vpc| (*vpc).to_owned()).collect(),
            ..Default::default()
        };
        let made = self.0.create_zone(request).await?;
        Ok(made.into_inner().zone.unwrap())
    }

    async fn set(
        &mut self,
        zone: &str,
        (name, kind): (&str, RecordType),
        values: &[&str],
    ) -> Result<pb::RecordSet, Status> {
        let request = pb::CreateRecordSetRequest {
            zone_id: zone.into(),
            name: name.into(),
            r#type: kind.into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            ..Default::default()
        };
        let made = self.0.create_record_set(request).await?;
        Ok(made.into_inner().record_set.unwrap())
    }

    async fn delete_zone(&mut self, zone: &pb::Zone) -> Result<(), Status> {
        let request = pb::DeleteZoneRequest {
            id: zone.id.clone(),
            ..Default::default()
        };
        self.0.delete_zone(request).await.map(drop)
    }

    async fn delete_set(&mut self, set: &pb::RecordSet) {
        let request = pb::DeleteRecordSetRequest {
            id: set.id.clone(),
            ..Default::default()
        };
        self.0.delete_record_set(request).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_told_to_the_hosts_of_its_vpcs() {
    let cloud = cloud().await;
    let mut acme = cloud.tenant("acme").await;
    let subnet = acme.subnet().await;
    let vpc = subnet.vpc_id.clone();
    let port = acme.port(&subnet, "eth0").await;
    acme.create(new_vm("db", &[&port])).await.unwrap();
    let mut told = cloud.told(HOST).await;
    told.until(|known| !known.views.is_empty()).await;

    let mut dns = Dns::of(&cloud, &acme);
    // By the name of the VPC.
    let zone = dns.zone("shop.example", &["main"]).await.unwrap();
    assert_eq!(
        (zone.vpc_ids.as_slice(), zone.default_ttl),
        ([vpc].as_slice(), 60)
    );
    let apex = dns.set("shop.example", ("@", RecordType::A), &["10.0.1.9"]);
    let apex = apex.await.unwrap();
    assert_eq!(apex.zone_id, zone.id);
    let mail = ("@", RecordType::Mx);
    dns.set(&zone.id, mail, &["10  Mail.shop.example."])
        .await
        .unwrap();
    let in_zone = |known: &pb::DesiredNames| -> Vec<(String, u32, u32, Vec<Vec<u8>>)> {
        let zones = known.views.iter().flat_map(|view| &view.zones);
        let sets = zones.flat_map(|zone| &zone.record_sets);
        let mut sets: Vec<_> = sets
            .map(|set| (set.name.clone(), set.r#type, set.ttl, set.values.clone()))
            .collect();
        sets.sort();
        sets
    };
    let mail = b"\x00\x0a\x04mail\x04shop\x07example\x00".to_vec();
    let both = [
        (String::new(), 1, 60, vec![vec![10, 0, 1, 9]]),
        (String::new(), 15, 60, vec![mail]),
    ];
    told.until(|known| in_zone(known) == both).await;

    let request = pb::UpdateRecordSetRequest {
        id: apex.id.clone(),
        ttl: Some(300),
        values: Some(pb::RecordValues {
            values: vec!["10.0.1.8".into()],
        }),
        ..Default::default()
    };
    dns.0.update_record_set(request).await.unwrap();
    told.until(|known| in_zone(known)[0].2 == 300 && in_zone(known)[0].3 == [vec![10, 0, 1, 8]])
        .await;

    // Out of the VPC it is nobody's.
    let request = pb::UpdateZoneRequest {
        id: zone.id.clone(),
        vpc_ids: Some(pb::VpcIds::default()),
        ..Default::default()
    };
    dns.0.update_zone(request).await.unwrap();
    told.until(|known| in_zone(known).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_what_guests_are_answered() {
    let cloud = cloud().await;
    let mut acme = cloud.tenant("acme").await;
    let subnet = acme.subnet().await;
    let port = acme.port(&subnet, "eth0").await;
    acme.create(new_vm("db", &[&port])).await.unwrap();
    let mut told = cloud.told(HOST).await;
    told.until(|known| !known.views.is_empty() && !known.views[0].names.is_empty())
        .await;
    let mut dns = Dns::of(&cloud, &acme);
    let zone = dns.zone("shop.example", &["main"]).await.unwrap();
    let www = ("www", RecordType::Cname);
    let name = "db.web.acme.cloud.internal";
    dns.set(&zone.id, www, &[name]).await.unwrap();
    told.until(|known| {
        known.views[0]
            .zones
            .iter()
            .any(|zone| !zone.record_sets.is_empty())
    })
    .await;

    let address = port.ip_address.as_str();
    let reverse: Vec<&str> = address.split('.').rev().collect();
    let reverse = format!("{}.in-addr.arpa", reverse.join("."));
    let alias = format!("{name}.");
    for (asked, kind, code, zone, values) in [
        (
            name,
            RecordType::Unspecified,
            "NOERROR",
            "cloud.internal",
            vec![address],
        ),
        (
            "www.shop.example",
            RecordType::A,
            "NOERROR",
            "shop.example",
            vec![&alias, address],
        ),
        (
            &reverse,
            RecordType::Ptr,
            "NOERROR",
            "10.in-addr.arpa",
            vec![&alias],
        ),
        (name, RecordType::Mx, "NOERROR", "cloud.internal", vec![]),
        (
            "x.shop.example",
            RecordType::A,
            "NXDOMAIN",
            "shop.example",
            vec![],
        ),
        ("example.com", RecordType::A, "REFUSED", "", vec![]),
    ] {
        let request = pb::ResolveRequest {
            vpc_id: "main".into(),
            name: asked.into(),
            r#type: kind.into(),
            ..Default::default()
        };
        let answer = dns.0.resolve(request).await.unwrap().into_inner();
        let said: Vec<&str> = answer.records.iter().map(|it| it.value.as_str()).collect();
        assert_eq!(
            (answer.code.as_str(), answer.zone.as_str(), said),
            (code, zone, values),
            "{asked}"
        );
    }
    let wrong = pb::ResolveRequest {
        vpc_id: "main".into(),
        name: "a..b".into(),
        ..Default::default()
    };
    expect_error(
        dns.0.resolve(wrong).await,
        Code::InvalidArgument,
        "a name such as",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_is_refused_by_name() {
    let cloud = cloud().await;
    let mut acme = cloud.tenant("acme").await;
    acme.subnet().await;
    let mut dns = Dns::of(&cloud, &acme);
    for (name, words) in [
        ("com", "at least two labels"),
        ("cloud.internal", "not below cloud.internal"),
        ("db.web.acme.cloud.internal", "not below cloud.internal"),
        ("10.in-addr.arpa", "not for zones"),
    ] {
        expect_error(
            dns.zone(name, &["main"]).await,
            Code::InvalidArgument,
            words,
        );
    }
    let google = dns.zone("metadata.google.internal", &["main"]).await;
    let google = google.unwrap();
    let zone = dns.zone("shop.example", &["main"]).await.unwrap();
    expect_error(
        dns.zone("shop.example", &[]).await,
        Code::AlreadyExists,
        "zone",
    );
    expect_error(
        dns.zone("x.example", &["none"]).await,
        Code::NotFound,
        "VPC",
    );

    let a = RecordType::A;
    let www = dns.set(&zone.id, ("www", a), &["10.0.1.9"]).await.unwrap();
    for (at, values, code, words) in [
        (
            ("www", a),
            vec!["10.0.1.8"],
            Code::AlreadyExists,
            "record set",
        ),
        (
            ("www", RecordType::Cname),
            vec!["web.shop.example"],
            Code::FailedPrecondition,
            "alone",
        ),
        (
            ("@", RecordType::Cname),
            vec!["web.shop.example"],
            Code::InvalidArgument,
            "another name",
        ),
        (
            ("w.*", a),
            vec!["10.0.1.8"],
            Code::InvalidArgument,
            "first may be *",
        ),
        (
            ("mail", a),
            vec!["10.0.1"],
            Code::InvalidArgument,
            "IPv4 addresses",
        ),
        (
            ("mail", RecordType::Unspecified),
            vec!["10.0.1.1"],
            Code::InvalidArgument,
            "RECORD_TYPE_A",
        ),
        (("mail", a), vec![], Code::InvalidArgument, "1 to 100"),
    ] {
        expect_error(dns.set(&zone.id, at, &values).await, code, words);
    }
    dns.set(
        &zone.id,
        ("alias", RecordType::Cname),
        &["www.shop.example"],
    )
    .await
    .unwrap();
    expect_error(
        dns.set(&zone.id, ("alias", a), &["10.0.1.9"]).await,
        Code::FailedPrecondition,
        "alone",
    );
    expect_error(
        dns.delete_zone(&zone).await,
        Code::FailedPrecondition,
        "record sets",
    );
    dns.delete_set(&www).await;
    dns.set(&zone.id, ("www", a), &["10.0.1.7"]).await.unwrap();
    dns.delete_zone(&google).await.unwrap();
    dns.zone("metadata.google.internal", &["main"])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vpc_of_another_tenant_looks_absent() {
    let cloud = cloud().await;
    let mut globex = cloud.tenant("globex").await;
    let theirs = globex.subnet().await.vpc_id;
    let acme = cloud.tenant("acme").await;
    let mut dns = Dns::of(&cloud, &acme);
    expect_error(
        dns.zone("shop.example", &[&theirs]).await,
        Code::NotFound,
        "VPC",
    );
    // Two tenants may have zones of one name.
    dns.zone("shop.example", &[]).await.unwrap();
    let mut others = Dns::of(&cloud, &globex);
    others.zone("shop.example", &[&theirs]).await.unwrap();
}
