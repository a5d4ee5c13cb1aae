use photon_resource::{Labels, Mac, Meta, NewMeta, Time};
use std::net::Ipv4Addr;
use std::time::Instant;

use super::*;
use crate::model::{
    Attachment, DeviceType, Direction, NewRule, NewSubnet, Node, PortStatus, Remote, Traffic,
};

pub fn meta(name: &str) -> Meta {
    NewMeta {
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: photon_resource::PrincipalId::generate(),
        name: name.into(),
        description: String::new(),
        labels: Labels::new(),
    }
    .into_meta(Time::EPOCH)
}

pub fn vpc() -> Vpc {
    Vpc {
        id: VpcId::generate(),
        meta: meta("main"),
        cidr: "10.0.0.0/8".parse().unwrap(),
        ipv6_cidr: None,
        table: 1000,
    }
}

pub fn subnet(vpc: &Vpc) -> Subnet {
    let cidr = "10.0.0.0/16".parse().unwrap();
    Subnet {
        id: SubnetId::generate(),
        vpc_id: vpc.id,
        meta: meta("front"),
        cidr,
        gateway: NewSubnet::parse_gateway(cidr, "").unwrap(),
        dhcp_enabled: true,
        dns_servers: vec![],
        ipv6: None,
        vni: 7,
    }
}

pub fn group(name: &str, remote: Option<SecurityGroupId>) -> SecurityGroup {
    let rule = NewRule {
        direction: Direction::Ingress,
        traffic: Traffic::Any,
        remote: remote.map_or(Remote::Anybody, Remote::Group),
        description: String::new(),
    };
    SecurityGroup {
        id: SecurityGroupId::generate(),
        meta: meta(name),
        rules: vec![rule.into_rule()],
        is_default: false,
    }
}

pub fn port(subnet: &Subnet, group: &SecurityGroup, host: u16, node: Option<&str>) -> Port {
    let [high, low] = host.to_be_bytes();
    Port {
        id: PortId::generate(),
        vpc_id: subnet.vpc_id,
        subnet_id: subnet.id,
        meta: meta("eth0"),
        address: Ipv4Addr::new(10, 0, high, low),
        ipv6_address: None,
        mac: Mac::generated(host.into()),
        security_groups: BTreeSet::from([group.id]),
        source_check: true,
        attachment: node.map(|node| Attachment {
            device_id: "vm".into(),
            device_type: DeviceType::Vm,
            node: node.into(),
            generation: 2,
            mtu: 0,
            status: PortStatus::Building,
        }),
    }
}

pub fn put_vpc(vpc: &Vpc) -> Changed {
    Changed::Vpc(vpc.id, Some(vpc.clone()))
}

pub fn put_subnet(subnet: &Subnet) -> Changed {
    Changed::Subnet(subnet.id, Some(subnet.clone()))
}

pub fn put_group(group: &SecurityGroup) -> Changed {
    Changed::SecurityGroup(group.id, Some(group.clone()))
}

pub fn put_port(port: &Port) -> Changed {
    Changed::Port(port.id, Some(port.clone()))
}

#[test]
fn a_host_hears_of_its_own_ports_and_of_members_elsewhere() {
    let (vpc, other_vpc) = (vpc(), vpc());
    let (subnet, other_subnet) = (subnet(&vpc), subnet(&other_vpc));
    let clients = group("clients", None);
    let servers = group("servers", Some(clients.id));
    let mine = port(&subnet, &servers, 2, Some("n1"));
    let elsewhere = port(&subnet, &clients, 3, Some("n2"));
    let detached = port(&subnet, &clients, 4, None);
    // In the group too, but in another routing domain.
    let foreign = port(&other_subnet, &clients, 5, Some("n2"));
    let everything = vec![
        put_vpc(&vpc),
        put_vpc(&other_vpc),
        put_subnet(&subnet),
        put_subnet(&other_subnet),
        put_group(&clients),
        put_group(&servers),
        put_port(&mine),
        put_port(&elsewhere),
        put_port(&detached),
        put_port(&foreign),
    ];
    let inventory = Inventory::new(everything, 9);

    let desired = inventory.desired("n1");
    assert_eq!(desired.revision, 9);
    assert_eq!(desired.vpcs.len(), 1);
    let seen = &desired.vpcs[0];
    assert_eq!(seen.vpc.id, vpc.id);
    assert_eq!(seen.subnets.len(), 1);
    assert_eq!(seen.subnets[0].ports, [&mine]);
    let by_id = |id| seen.groups.iter().find(|group| group.id == id).unwrap();
    assert_eq!(by_id(servers.id).rules, servers.rules);
    assert_eq!(by_id(clients.id).rules, &[]);
    assert_eq!(
        by_id(clients.id).members,
        BTreeSet::from([elsewhere.address.into(), detached.address.into()])
    );
    assert_eq!(inventory.desired("n3").vpcs, []);
}

#[test]
fn a_host_is_concerned_by_its_vpcs_and_by_ports_that_come_and_go() {
    let (vpc, other_vpc) = (vpc(), vpc());
    let (subnet, other_subnet) = (subnet(&vpc), subnet(&other_vpc));
    let group = group("all", None);
    let mut mine = port(&subnet, &group, 2, Some("n1"));
    let everything = vec![
        put_vpc(&vpc),
        put_vpc(&other_vpc),
        put_subnet(&subnet),
        put_subnet(&other_subnet),
        put_group(&group),
        put_port(&mine),
    ];
    let mut inventory = Inventory::new(everything, 10);
    assert_eq!(inventory.changed_for("n1"), 10);
    assert_eq!(inventory.changed_for("n2"), 10);

    // Another VPC's port is no matter of this host.
    let foreign = port(&other_subnet, &group, 3, Some("n2"));
    inventory.apply(put_port(&foreign), 11);
    assert_eq!(inventory.changed_for("n1"), 10);
    assert_eq!(inventory.changed_for("n2"), 11);

    // A neighbour in the same VPC is.
    let neighbour = port(&subnet, &group, 4, None);
    inventory.apply(put_port(&neighbour), 12);
    assert_eq!(inventory.changed_for("n1"), 12);

    // What the host itself reported is not, nor are labels.
    mine.attachment.as_mut().unwrap().status = PortStatus::Active;
    mine.meta.labels = Labels::from([("a".into(), "b".into())]);
    inventory.apply(put_port(&mine), 13);
    assert_eq!(inventory.changed_for("n1"), 12);

    let mut rules = group.clone();
    rules.rules.clear();
    inventory.apply(put_group(&rules), 14);
    assert_eq!(inventory.changed_for("n1"), 14);

    inventory.apply(put_subnet(&subnet), 15);
    assert_eq!(inventory.changed_for("n1"), 15);

    // The last port leaves: the host must hear of that.
    mine.attachment = None;
    inventory.apply(put_port(&mine), 16);
    assert_eq!(inventory.changed_for("n1"), 16);
    assert_eq!(inventory.desired("n1").vpcs, []);
    inventory.apply(Changed::Port(mine.id, None), 17);
    assert_eq!(inventory.changed_for("n1"), 16);
    assert_eq!(inventory.ports_of_node.get("n1"), None);
}

fn put_node(name: &str, address: [u8; 4]) -> Changed {
    let node = Node {
        name: name.into(),
        tunnel_address: address.into(),
    };
    Changed::Node(name.into(), Some(node))
}

/// All subnets, the ports of other hosts in them, and whose address each host has.
#[test]
fn a_host_of_a_vpc_hears_of_all_its_subnets_and_of_its_ports_on_other_hosts() {
    let (vpc, other_vpc) = (vpc(), vpc());
    let (front, other) = (subnet(&vpc), subnet(&other_vpc));
    let back = Subnet {
        id: SubnetId::generate(),
        ..front.clone()
    };
    let group = group("all", None);
    let mine = port(&front, &group, 2, Some("n1"));
    let near = port(&front, &group, 3, Some("n2"));
    let far = port(&back, &group, 4, Some("n2"));
    let nowhere = port(&back, &group, 5, None);
    let unheard_of = port(&back, &group, 6, Some("n3"));
    let foreign = port(&other, &group, 7, Some("n2"));
    let mut everything = vec![
        put_vpc(&vpc),
        put_vpc(&other_vpc),
        put_subnet(&front),
        put_subnet(&back),
        put_subnet(&other),
        put_group(&group),
        put_node("n2", [192, 0, 2, 2]),
    ];
    let ports = [&mine, &near, &far, &nowhere, &unheard_of, &foreign];
    everything.extend(ports.map(put_port));
    let mut inventory = Inventory::new(everything, 10);
    let remote = |inventory: &Inventory| -> BTreeMap<PortId, Ipv4Addr> {
        let desired = inventory.desired("n1");
        assert_eq!(desired.vpcs.len(), 1);
        assert_eq!(desired.vpcs[0].subnets.len(), 2);
        let subnets = desired.vpcs[0].subnets.iter();
        subnets
            .flat_map(|subnet| &subnet.remote_ports)
            .map(|(port, end)| (port.id, *end))
            .collect()
    };
    // A host without an end of its own has no use for others'.
    assert_eq!(inventory.desired("n1").tunnel_address, None);
    assert_eq!(remote(&inventory), BTreeMap::new());

    inventory.apply(put_node("n1", [192, 0, 2, 1]), 11);
    assert_eq!(inventory.changed_for("n1"), 11);
    let own = inventory.desired("n1").tunnel_address;
    assert_eq!(own, Some([192, 0, 2, 1].into()));
    let end: Ipv4Addr = [192, 0, 2, 2].into();
    let both = BTreeMap::from([(near.id, end), (far.id, end)]);
    assert_eq!(remote(&inventory), both);

    // Another host's end comes, moves and goes: of matter to who has a port in a VPC of its.
    inventory.apply(put_node("n3", [192, 0, 2, 3]), 12);
    assert_eq!(inventory.changed_for("n1"), 12);
    assert_eq!(
        remote(&inventory)[&unheard_of.id],
        Ipv4Addr::from([192, 0, 2, 3])
    );
    inventory.apply(put_node("n4", [192, 0, 2, 4]), 13);
    assert_eq!(inventory.changed_for("n1"), 12);
    assert_eq!(inventory.nodes_at(end), ["n2".to_owned()].into());
    inventory.apply(Changed::Node("n3".into(), None), 14);
    assert_eq!(remote(&inventory), both);

    // A port that leaves its host is no longer anywhere.
    let mut detached = near.clone();
    detached.attachment = None;
    inventory.apply(put_port(&detached), 15);
    assert_eq!(inventory.changed_for("n1"), 15);
    assert_eq!(remote(&inventory), BTreeMap::from([(far.id, end)]));
    inventory.apply(Changed::Port(far.id, None), 16);
    inventory.apply(Changed::Subnet(back.id, None), 17);
    assert_eq!(inventory.desired("n1").vpcs[0].subnets.len(), 1);
    assert_eq!(inventory.subnets_of_vpc[&vpc.id].len(), 1);
}

#[test]
fn a_thousand_ports_are_computed_at_once() {
    let vpc = vpc();
    let subnet = subnet(&vpc);
    let group = group("all", None);
    let mut everything = vec![put_vpc(&vpc), put_subnet(&subnet), put_group(&group)];
    for host in 2..1002 {
        everything.push(put_port(&port(&subnet, &group, host, Some("n1"))));
    }
    let inventory = Inventory::new(everything, 1);
    let start = Instant::now();
    let desired = crate::convert::desired(&inventory.desired("n1"));
    let took = start.elapsed();
    assert_eq!(desired.vpcs[0].subnets[0].ports.len(), 1000);
    assert_eq!(desired.vpcs[0].groups[0].member_addresses.len(), 1000);
    // The promise is 50 ms; a machine under load gets ten times as much before this test complains.
    assert!(took.as_millis() < 500, "{took:?}");
}

/// A host that reports what it found when it knew a revision speaks of the attachment that it knew then.
#[test]
fn a_report_is_of_the_attachment_that_its_host_knew() {
    let (vpc, group) = (vpc(), group("web", None));
    let subnet = subnet(&vpc);
    let mut port = port(&subnet, &group, 1, Some("n1"));
    let everything = vec![put_vpc(&vpc), put_subnet(&subnet), put_group(&group)];
    let mut inventory = Inventory::new(everything, 5);
    assert_eq!(inventory.generation_known(port.id, 99), None);
    inventory.apply(put_port(&port), 7);
    assert_eq!(inventory.generation_known(port.id, 6), None);
    assert_eq!(inventory.generation_known(port.id, 7), Some(2));
    // Another change of the port is no other attachment.
    port.meta.name = "eth1".into();
    inventory.apply(put_port(&port), 8);
    assert_eq!(inventory.generation_known(port.id, 7), Some(2));
    let attachment = port.attachment.take();
    inventory.apply(put_port(&port), 9);
    assert_eq!(inventory.generation_known(port.id, 9), None);
    port.attachment = attachment.map(|it| Attachment {
        generation: 5,
        ..it
    });
    inventory.apply(put_port(&port), 10);
    assert_eq!(inventory.generation_known(port.id, 9), None);
    assert_eq!(inventory.generation_known(port.id, 10), Some(5));
    // What there was before the server began is known from then on.
    let again = Inventory::new(vec![put_port(&port)], 3);
    assert_eq!(again.generation_known(port.id, 3), Some(5));
}
