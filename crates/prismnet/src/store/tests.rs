//! The stored form. What is written here was written by version 1 of each record: a change of these texts is a
//! change of what running clouds have on their disks, and needs a new version and a migration.

use std::collections::BTreeSet;

use photon_catalog::Stored;
use photon_resource::{Labels, Mac, NewMeta, Time};
use proptest::prelude::*;

use super::*;
use crate::model::{
    Attachment, DeviceType, Direction, Ipv6Subnet, Port, PortRange, PortStatus, Remote, Rule,
    SecurityGroup, Subnet, Traffic, Vpc,
};

const ID: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
const META: &str = r#""meta":{"org_id":"acme","project_id":"web","owner":"6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e","name":"main","description":"","labels":{"tier":"1"},"created_at":1000001,"updated_at":1000001,"revision":1}"#;

fn meta() -> photon_resource::Meta {
    NewMeta {
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: ID.parse().unwrap(),
        name: "main".into(),
        description: String::new(),
        labels: Labels::from([("tier".into(), "1".into())]),
    }
    .into_meta(Time::from_micros(1_000_001))
}

#[track_caller]
fn stored_as<R: Stored + PartialEq + std::fmt::Debug>(resource: &R, record: &str) {
    let record = record.replace("META", META).replace("ID", ID);
    let bytes = resource.stored_bytes().unwrap();
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), record);
    let read = R::restore(resource.id(), flaredb::decode("k", &bytes).unwrap()).unwrap();
    assert_eq!(read, *resource);
}

#[test]
fn vpcs() {
    let vpc = Vpc {
        id: ID.parse().unwrap(),
        meta: meta(),
        cidr: "10.0.0.0/16".parse().unwrap(),
        ipv6_cidr: Some("fd00::/48".parse().unwrap()),
        table: 1000,
    };
    stored_as(
        &vpc,
        r#"{"v":1,"d":{"id":"ID",META,"cidr":"10.0.0.0/16","ipv6_cidr":"fd00::/48","table":1000}}"#,
    );
}

#[test]
fn subnets() {
    let subnet = Subnet {
        id: ID.parse().unwrap(),
        vpc_id: ID.parse().unwrap(),
        meta: meta(),
        cidr: "10.0.1.0/24".parse().unwrap(),
        gateway: "10.0.1.1".parse().unwrap(),
        dhcp_enabled: true,
        dns_servers: vec!["9.9.9.9".parse().unwrap()],
        ipv6: Some(Ipv6Subnet {
            cidr: "fd00::/64".parse().unwrap(),
            gateway: "fd00::1".parse().unwrap(),
        }),
        vni: 7,
    };
    stored_as(
        &subnet,
        r#"{"v":1,"d":{"id":"ID","vpc_id":"ID",META,"cidr":"10.0.1.0/24","gateway":"10.0.1.1","dhcp_enabled":true,"dns_servers":["9.9.9.9"],"ipv6":{"cidr":"fd00::/64","gateway":"fd00::1"},"vni":7}}"#,
    );
}

#[test]
fn ports() {
    let attachment = |status| Attachment {
        device_id: "vm".into(),
        device_type: DeviceType::LoadBalancer,
        node: "n1".into(),
        generation: 9,
        mtu: 8950,
        status,
    };
    let mut port = Port {
        id: ID.parse().unwrap(),
        vpc_id: ID.parse().unwrap(),
        subnet_id: ID.parse().unwrap(),
        meta: meta(),
        address: "10.0.1.2".parse().unwrap(),
        ipv6_address: Some("fd00::2".parse().unwrap()),
        mac: Mac::generated(0x00ab_cdef),
        security_groups: BTreeSet::from([ID.parse().unwrap()]),
        source_check: true,
        attachment: Some(attachment(PortStatus::Error("no TAP".into()))),
    };
    stored_as(
        &port,
        r#"{"v":1,"d":{"id":"ID","vpc_id":"ID","subnet_id":"ID",META,"address":"10.0.1.2","ipv6_address":"fd00::2","mac_tail":11259375,"security_groups":["ID"],"attachment":{"device_id":"vm","device_type":"load_balancer","node":"n1","after":0,"generation":9,"mtu":8950,"status":{"error":"no TAP"}}}}"#,
    );
    // As it was written before attachments were counted.
    let before = r#"{"v":1,"d":{"id":"ID","vpc_id":"ID","subnet_id":"ID",META,"address":"10.0.1.2","ipv6_address":"fd00::2","mac_tail":11259375,"security_groups":["ID"],"attachment":{"device_id":"vm","device_type":"load_balancer","node":"n1","after":9,"status":{"error":"no TAP"}}}}"#;
    let before = before.replace("META", META).replace("ID", ID);
    let read = Port::restore(port.id, flaredb::decode("k", before.as_bytes()).unwrap()).unwrap();
    assert_eq!(read.attachment.as_ref().unwrap().generation, 0);
    port.attachment.as_mut().unwrap().generation = 0;
    port.attachment.as_mut().unwrap().mtu = 0;
    assert_eq!(read, port);
    for status in [PortStatus::Building, PortStatus::Active] {
        port.attachment = Some(Attachment {
            device_type: DeviceType::Vm,
            ..attachment(status)
        });
        let bytes = port.stored_bytes().unwrap();
        let read = Port::restore(port.id, flaredb::decode("k", &bytes).unwrap()).unwrap();
        assert_eq!(read, port);
    }
}

#[test]
fn security_groups() {
    let rule = |direction, traffic, remote| Rule {
        id: ID.parse().unwrap(),
        direction,
        traffic,
        remote,
        description: String::new(),
    };
    let ports = PortRange {
        first: 22,
        last: 23,
    };
    let group = SecurityGroup {
        id: ID.parse().unwrap(),
        meta: meta(),
        rules: vec![
            rule(
                Direction::Ingress,
                Traffic::Tcp(ports),
                Remote::Cidr("10.0.0.0/8".parse().unwrap()),
            ),
            rule(
                Direction::Ingress,
                Traffic::Udp(ports),
                Remote::Group(ID.parse().unwrap()),
            ),
            rule(Direction::Egress, Traffic::Icmp, Remote::Anybody),
            rule(Direction::Egress, Traffic::Any, Remote::Anybody),
        ],
        is_default: true,
    };
    stored_as(
        &group,
        concat!(
            r#"{"v":1,"d":{"id":"ID",META,"rules":["#,
            r#"{"id":"ID","direction":"ingress","traffic":{"tcp":[22,23]},"remote":{"cidr":"10.0.0.0/8"},"description":""},"#,
            r#"{"id":"ID","direction":"ingress","traffic":{"udp":[22,23]},"remote":{"group":"ID"},"description":""},"#,
            r#"{"id":"ID","direction":"egress","traffic":"icmp","remote":"anybody","description":""},"#,
            r#"{"id":"ID","direction":"egress","traffic":"any","remote":"anybody","description":""}"#,
            r#"],"is_default":true}}"#
        ),
    );
}

proptest! {
    /// A damaged record is an error, never a panic.
    #[test]
    fn damaged_records_are_refused(at in 0usize..400, byte: u8, cut in 0usize..500) {
        let vpc = Vpc {
            id: ID.parse().unwrap(),
            meta: meta(),
            cidr: "10.0.0.0/16".parse().unwrap(),
            ipv6_cidr: None,
            table: 1000,
        };
        let mut bytes = vpc.stored_bytes().unwrap();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(cut.max(1));
        let _ = flaredb::decode::<<Vpc as Stored>::Record>("k", &bytes);
        let change = |key: &str| flaredb::Change {
            key: key.to_owned(),
            value: Some(bytes.clone()),
            revision: 1,
        };
        for key in ["vpc/x", "subnet/x", "port/x", "security-group/x", "other", "vpc"] {
            let _ = changed(&change(key));
        }
    }
}
