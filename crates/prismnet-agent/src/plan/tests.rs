//! Golden files, and what must hold of every plan.

mod many_rules;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use photon_host::nft::Commands;
use photon_resource::{Mac, PortId, SecurityGroupId, SubnetId, VpcId};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::desired::*;
use super::filter::{Digests, Table, observed_digests, statement};
use super::gateway::Egress;
use super::limits::{self, Limits};
use super::{firewall, guest_filter, networkd};

pub fn id<T: From<Uuid>>(number: u128) -> T {
    Uuid::from_u128(number).into()
}

/// A VPC with one subnet of two ports, with IPv6.
pub fn small() -> Desired {
    let group: SecurityGroupId = id(0x90);
    let port = |number: u8| Port {
        id: id::<PortId>(0x40 + u128::from(number)),
        mac: Mac::from([0xfa, 0x16, 0x3e, 0, 0, number]),
        address: Ipv4Addr::new(10, 0, 1, number),
        address6: Some(format!("fd00::f816:3eff:fe00:{number:x}").parse().unwrap()),
        groups: BTreeSet::from([group]),
        source_check: true,
        owner: 0x6000_0000 + u32::from(number),
        mtu: 0,
    };
    Desired {
        revision: 7,
        vpcs: vec![Vpc {
            id: id::<VpcId>(0x10),
            table: 1000,
            zone: 77,
            subnets: vec![Subnet {
                id: id::<SubnetId>(0x20),
                net: "10.0.1.0/24".parse().unwrap(),
                gateway: Ipv4Addr::new(10, 0, 1, 1),
                dhcp: true,
                dns: vec!["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()],
                v6: Some(("fd00::/64".parse().unwrap(), "fd00::1".parse().unwrap())),
                ports: vec![port(11), port(12)],
                tunnel: None,
                remote_ports: Vec::new(),
                default_via: None,
            }],
            groups: BTreeMap::from([(
                group,
                Group {
                    ingress: vec![
                        Rule {
                            protocol: Protocol::Any,
                            remote: Remote::Group(group),
                        },
                        Rule {
                            protocol: Protocol::Tcp(22, 22),
                            remote: Remote::Net("10.0.0.0/8".parse().unwrap()),
                        },
                    ],
                    egress: vec![Rule {
                        protocol: Protocol::Any,
                        remote: Remote::Any,
                    }],
                    members: BTreeSet::from([
                        IpAddr::from([10, 0, 1, 11]),
                        IpAddr::from([10, 0, 1, 12]),
                    ]),
                },
            )]),
            routes: BTreeMap::new(),
        }],
        gateways: Vec::new(),
        peerings: Vec::new(),
    }
}

/// [`spanning`] with a peering: the other VPC has no port on this host, and one elsewhere.
pub fn peered() -> Desired {
    let mut desired = spanning();
    let mut other = desired.vpcs[0].clone();
    other.id = id(0x11);
    other.table = 1001;
    other.zone = 78;
    other.groups = BTreeMap::new();
    other.subnets.truncate(1);
    let subnet = &mut other.subnets[0];
    *subnet = Subnet {
        id: id(0x28),
        net: "10.8.1.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(10, 8, 1, 1),
        v6: None,
        ports: Vec::new(),
        tunnel: Some(Tunnel {
            vni: 9,
            local: Ipv4Addr::new(192, 0, 2, 1),
        }),
        remote_ports: vec![RemotePort {
            mac: Mac::from([0xfa, 0x16, 0x3e, 0, 8, 31]),
            address: Ipv4Addr::new(10, 8, 1, 31),
            address6: None,
            host: Ipv4Addr::new(192, 0, 2, 3),
        }],
        ..subnet.clone()
    };
    desired.vpcs.push(other);
    let side = |side, vpc, net: &str| PeeringSide {
        id: id(side),
        vpc: id(vpc),
        net: net.parse().unwrap(),
    };
    desired.peerings.push(Peering {
        sides: [
            side(0xb0, 0x10, "10.0.0.0/16"),
            side(0xb1, 0x11, "10.8.0.0/16"),
        ],
    });
    desired
}

/// The same on a host with tunnels, with one port elsewhere, and a second subnet that has ports elsewhere alone.
pub fn spanning() -> Desired {
    let mut desired = small();
    let remote = |subnet: u8, number: u8| RemotePort {
        mac: Mac::from([0xfa, 0x16, 0x3e, 0, subnet, number]),
        address: Ipv4Addr::new(10, 0, subnet, number),
        address6: (subnet == 1)
            .then(|| format!("fd00::f816:3eff:fe00:1{number:x}").parse().unwrap()),
        host: Ipv4Addr::new(192, 0, 2, 2),
    };
    let tunnel = |vni| {
        let local = Ipv4Addr::new(192, 0, 2, 1);
        Some(Tunnel { vni, local })
    };
    let vpc = &mut desired.vpcs[0];
    vpc.subnets.push(Subnet {
        id: id(0x21),
        net: "10.0.2.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(10, 0, 2, 1),
        v6: None,
        ports: Vec::new(),
        tunnel: tunnel(8),
        remote_ports: vec![remote(2, 22)],
        ..vpc.subnets[0].clone()
    });
    vpc.subnets[0].tunnel = tunnel(7);
    vpc.subnets[0].remote_ports = vec![remote(1, 13)];
    desired
}

/// Compares with a file that was read by eye. After a change, `PHOTON_REGENERATE=1` writes it; read the
/// difference before it is committed.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/plan/tests")
        .join(name);
    if std::env::var_os("PHOTON_REGENERATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (line, wanted)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(line, wanted, "{name}:{}", number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

#[test]
fn rendered_files_are_those_reviewed() {
    let mut text = String::new();
    for (name, contents) in networkd::render(&small(), 1450, Limits::default(), &Egress::default())
    {
        text.push_str(&format!("==> {name}\n{contents}\n"));
    }
    golden("networkd.golden", &text);
    let mut text = String::new();
    for (name, contents) in
        networkd::render(&spanning(), 1450, Limits::default(), &Egress::default())
    {
        text.push_str(&format!("==> {name}\n{contents}\n"));
    }
    golden("networkd-tunnels.golden", &text);
}

/// A port that sends on for others, a route to it, one to the gateway and one nowhere.
#[test]
fn routes_are_those_reviewed() {
    let mut desired = small();
    with_gateway(&mut desired);
    let vpc = &mut desired.vpcs[0];
    vpc.subnets[0].ports[1].source_check = false;
    let way = |text: &str, way| (text.parse().unwrap(), way);
    vpc.routes = BTreeMap::from([
        way("0.0.0.0/0", Way::Port(Ipv4Addr::new(10, 0, 1, 12))),
        way("192.168.0.0/16", Way::Port(Ipv4Addr::new(10, 0, 1, 12))),
        way("198.51.100.0/24", Way::NatGateway),
        way("192.0.2.0/24", Way::Nowhere),
    ]);
    let egress = Egress {
        protected: BTreeSet::from([
            "192.168.1.0/24".parse().unwrap(),
            "169.254.1.0/24".parse().unwrap(),
        ]),
        ..Egress::default()
    };
    let mut text = String::new();
    for (name, contents) in networkd::render(&desired, 1450, Limits::default(), &egress) {
        if name.contains("-pv") || name.contains("-pb") {
            text.push_str(&format!("==> {name}\n{contents}\n"));
        }
    }
    let usual = Limits::default();
    let without = {
        let mut desired = desired.clone();
        desired.vpcs[0].routes.clear();
        desired.vpcs[0].subnets[0].ports[1].source_check = true;
        lines(&guest_filter::render(&desired, usual, &Egress::default()).replace())
            + &lines(&firewall::render(&desired, usual).replace())
    };
    let with = lines(&guest_filter::render(&desired, usual, &egress).replace())
        + &lines(&firewall::render(&desired, usual).replace());
    // What there is for them beside what is always there.
    let usual: BTreeSet<&str> = without.lines().collect();
    for line in with.lines().filter(|line| !usual.contains(line)) {
        text.push_str(line);
        text.push('\n');
    }
    golden("routes.golden", &text);
}

/// Two VPCs, of which one has no port here.
#[test]
fn peerings_are_those_reviewed() {
    let desired = peered();
    let mut text = String::new();
    for (name, contents) in networkd::render(&desired, 1450, Limits::default(), &Egress::default())
    {
        if name.contains("-pr") {
            text.push_str(&format!("==> {name}\n{contents}\n"));
        }
    }
    let without = Desired {
        peerings: Vec::new(),
        ..desired.clone()
    };
    let usual = lines(&firewall::render(&without, Limits::default()).replace());
    let usual: BTreeSet<&str> = usual.lines().collect();
    let with = lines(&firewall::render(&desired, Limits::default()).replace());
    for line in with.lines().filter(|line| !usual.contains(line)) {
        text.push_str(line);
        text.push('\n');
    }
    golden("peering.golden", &text);
}

/// Rules as JSON, a line each: what the kernel is told.
fn lines(commands: &Commands) -> String {
    commands
        .iter()
        .map(|command| format!("{command}\n"))
        .collect()
}

#[test]
fn rendered_filters_are_those_reviewed() {
    let text =
        lines(&guest_filter::render(&small(), Limits::default(), &Egress::default()).replace())
            + &lines(&firewall::render(&small(), Limits::default()).replace());
    golden("filter.golden", &text);
    let text =
        lines(&guest_filter::render(&spanning(), Limits::default(), &Egress::default()).replace())
            + &lines(&firewall::render(&spanning(), Limits::default()).replace());
    golden("filter-tunnels.golden", &text);
}

#[test]
fn without_limits_nothing_is_counted() {
    let text = lines(&guest_filter::render(&small(), Limits::NONE, &Egress::default()).replace());
    for counted in ["dynamic", "limit", "ct count", "connections"] {
        assert!(!text.contains(counted), "{counted}: {text}");
    }
    let one = Limits {
        port_packets_per_second: 1000,
        ..Limits::NONE
    };
    let text = lines(&guest_filter::render(&small(), one, &Egress::default()).replace());
    assert!(text.contains(r#""rate":1000,"rate_unit":"packets""#));
    assert!(!text.contains(r#""rate_unit":"bytes""#));
}

/// What packets leave behind in the kernel is no difference from what should be, in either way that nft prints flags.
#[test]
fn elements_that_packets_make_are_not_looked_at() {
    let set = |flags: Value, elements: Value| json!({"set": {"name": "sent-bytes", "type": "ifname", "flags": flags, "elem": elements}});
    for flags in [json!("dynamic"), json!(["dynamic", "timeout"])] {
        assert_eq!(
            observed_digests(&[set(flags.clone(), json!(["pt1"]))]),
            observed_digests(&[set(flags, json!([]))])
        );
    }
    assert_ne!(
        observed_digests(&[set(json!(["interval"]), json!(["a"]))]),
        observed_digests(&[set(json!(["interval"]), json!([]))])
    );
}

/// The lines that tell guests of name servers, of the bridges.
fn name_servers(desired: &Desired, resolver: bool) -> Vec<String> {
    let limits = Limits {
        resolver,
        ..Limits::default()
    };
    let files = networkd::render(desired, 1450, limits, &Egress::default());
    let lines = files.values().flat_map(|text| text.lines());
    let told = lines.filter(|line| line.starts_with("DNS=") || line.starts_with("EmitDNS="));
    told.map(str::to_owned).collect()
}

#[test]
fn guests_without_name_servers_are_told_of_the_hosts_resolver() {
    let mut desired = small();
    let own = [
        "EmitDNS=yes",
        "DNS=9.9.9.9",
        "EmitDNS=yes",
        "DNS=2620:fe::fe",
    ];
    assert_eq!(name_servers(&desired, true), own);
    assert_eq!(name_servers(&desired, false), own);
    desired.vpcs[0].subnets[0].dns.clear();
    assert_eq!(
        name_servers(&desired, true),
        ["EmitDNS=yes", "DNS=10.0.1.1", "EmitDNS=yes", "DNS=fd00::1"]
    );
    assert_eq!(name_servers(&desired, false), ["EmitDNS=no", "EmitDNS=no"]);
}

/// A host without a resolver lets no question through: nobody would answer, and something else might one day.
#[test]
fn without_a_resolver_no_question_is_let_through() {
    let none = Limits {
        resolver: false,
        ..Limits::default()
    };
    for desired in [small(), spanning()] {
        let host = lines(&firewall::render(&desired, none).replace());
        let guests = lines(&guest_filter::render(&desired, none, &Egress::default()).replace());
        assert!(!(host + &guests).contains(":53"));
    }
    let text =
        lines(&guest_filter::render(&small(), Limits::default(), &Egress::default()).replace());
    assert!(text.contains(r#""burst":2000"#), "{text}");
    let unlimited = Limits {
        port_queries_per_second: 0,
        ..Limits::default()
    };
    let text = lines(&guest_filter::render(&small(), unlimited, &Egress::default()).replace());
    assert!(text.contains(":53") && !text.contains("asked-"), "{text}");
}

/// As with the resolver: nobody would answer. That nothing of it passes a tunnel holds all the same.
#[test]
fn where_guests_are_not_told_what_they_are_nothing_is_let_through() {
    let none = Limits {
        metadata: false,
        ..Limits::default()
    };
    let told = |desired: &Desired, limits| {
        let files = networkd::render(desired, 1450, limits, &Egress::default());
        let files: String = files.into_values().collect();
        let host = lines(&firewall::render(desired, limits).replace());
        let guests = lines(&guest_filter::render(desired, limits, &Egress::default()).replace());
        let texts = [files, host, guests].concat();
        texts.matches("169.254.169.254").count()
    };
    // From it and to it, in what comes and what leaves.
    let in_tunnels = 4;
    assert_eq!(told(&small(), none), in_tunnels);
    assert_eq!(told(&spanning(), none), in_tunnels);
    assert!(told(&small(), Limits::default()) > in_tunnels);
}

#[test]
fn what_a_guest_may_send_its_interfaces_carry() {
    let lines = |desired: &Desired| -> Vec<String> {
        let files = networkd::render(desired, 1450, Limits::default(), &Egress::default());
        let networks = files.iter().filter(|(name, _)| name.ends_with(".network"));
        let all = networks.flat_map(|(_, text)| text.lines());
        all.filter(|line| line.starts_with("MTUBytes="))
            .map(str::to_owned)
            .collect()
    };
    let mut desired = small();
    let ports = &mut desired.vpcs[0].subnets[0].ports;
    ports[0].mtu = 1450;
    assert!(lines(&desired).is_empty());
    // Its own TAP, and the bridge.
    desired.vpcs[0].subnets[0].ports[1].mtu = 8950;
    assert_eq!(lines(&desired), ["MTUBytes=8950", "MTUBytes=8950"]);
}

/// Ports 11 and 12 in one subnet, 21 in another.
#[test]
fn a_guest_answers_by_its_card_in_another_subnet_and_not_as_a_neighbour_in_the_same() {
    let mut desired = small();
    let vpc = &mut desired.vpcs[0];
    let mut other = vpc.subnets[0].clone();
    other.id = id(0x21);
    other.net = "10.0.2.0/24".parse().unwrap();
    other.gateway = Ipv4Addr::new(10, 0, 2, 1);
    other.v6 = None;
    other.ports.truncate(1);
    other.ports[0].id = id(0x55);
    other.ports[0].address = Ipv4Addr::new(10, 0, 2, 21);
    other.ports[0].address6 = None;
    vpc.subnets.push(other);
    let answers = |desired: &Desired| {
        let mut answers: Vec<_> = guest_filter::answers(desired)
            .map(|(port, address, _)| (port.address.octets()[3], address.octets()[3]))
            .collect();
        answers.sort_unstable();
        answers
    };
    // 11 and 21 are one guest's, 12 is another's.
    assert_eq!(answers(&desired), [(11, 21), (21, 11)]);
    // All three are one guest's.
    let owner = desired.vpcs[0].subnets[0].ports[0].owner;
    desired.vpcs[0].subnets[0].ports[1].owner = owner;
    assert_eq!(answers(&desired), [(11, 21), (12, 21), (21, 11), (21, 12)]);
    // In another VPC its address is somebody else's.
    let mut apart = desired.vpcs[0].clone();
    apart.id = id(0x11);
    apart.subnets.remove(0);
    desired.vpcs[0].subnets.pop();
    desired.vpcs.push(apart);
    assert_eq!(answers(&desired), []);
}

#[test]
fn a_gateway_has_one_mac_everywhere_and_it_is_local_and_unicast() {
    let subnet = &small().vpcs[0].subnets[0];
    let bytes = subnet.gateway_mac().octets();
    assert_eq!(bytes[0] & 3, 2);
    assert_eq!(
        subnet.gateway_mac(),
        small().vpcs[0].subnets[0].gateway_mac()
    );
}

#[test]
fn zones_are_distinct_never_the_hosts_and_stay_when_others_come() {
    let all: BTreeSet<VpcId> = (0..2000).map(id).collect();
    let zones_of_all = zones(&all);
    let distinct: BTreeSet<u16> = zones_of_all.values().copied().collect();
    assert_eq!(distinct.len(), all.len());
    assert!(!distinct.contains(&0));
    // Alone, nearly each has the zone that it has among 2000: only those that wanted a taken one moved.
    let moved = all
        .iter()
        .filter(|id| zones(&BTreeSet::from([**id]))[id] != zones_of_all[id])
        .count();
    assert!(moved < 100, "{moved}");
}

#[test]
fn link_local_addresses_are_modified_eui64() {
    // The example of RFC 2464 section 4.
    let mac = Mac::from([0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde]);
    assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
}

fn rule() -> impl Strategy<Value = Rule> {
    let protocol = prop_oneof![
        Just(Protocol::Any),
        Just(Protocol::Icmp),
        (0_u16..20, 0_u16..20).prop_map(|(low, more)| Protocol::Tcp(low, low + more)),
        (65500_u16..65535, 0_u16..35)
            .prop_map(|(low, more)| Protocol::Udp(low, low.saturating_add(more))),
    ];
    let remote = prop_oneof![
        Just(Remote::Any),
        (any::<u32>(), 0_u8..=32).prop_map(|(address, prefix)| Remote::Net(IpNet::V4(
            Ipv4Net::new(address.into(), prefix).unwrap().trunc()
        ))),
        (any::<u128>(), 0_u8..=128).prop_map(|(address, prefix)| Remote::Net(IpNet::V6(
            ipnet::Ipv6Net::new(address.into(), prefix).unwrap().trunc()
        ))),
        // One more than there are: a rule may name a group that was not sent.
        (0_u128..4).prop_map(|number| Remote::Group(id(0x900 + number))),
    ];
    (protocol, remote).prop_map(|(protocol, remote)| Rule { protocol, remote })
}

fn group() -> impl Strategy<Value = Group> {
    (
        prop::collection::vec(rule(), 0..6),
        prop::collection::vec(rule(), 0..4),
        prop::collection::btree_set(any::<[u8; 4]>().prop_map(IpAddr::from), 0..4),
    )
        .prop_map(|(ingress, egress, members)| Group {
            ingress,
            egress,
            members,
        })
}

/// VPCs whose subnets, addresses and MACs repeat those of others, as tenants' do.
fn vpc(number: u128) -> impl Strategy<Value = Vpc> {
    let port = (0_u8..4, prop::collection::btree_set(0_u128..4, 0..3));
    let subnet = (
        prop::collection::btree_map(0_u8..5, port, 0..4),
        any::<bool>(),
        any::<bool>(),
        prop::option::of(prop::collection::btree_map(0_u8..4, 2_u8..5, 0..4)),
    );
    (
        prop::collection::btree_map(0_u8..3, subnet, 0..3),
        prop::collection::vec(group(), 0..4),
    )
        .prop_map(move |(subnets, groups)| Vpc {
            id: id(0x10 + number),
            table: 1000 + number as u32,
            zone: 1 + number as u16,
            routes: subnets
                .keys()
                .map(|subnet| {
                    let net = format!("192.168.{subnet}.0/24").parse().unwrap();
                    (net, Way::Port(Ipv4Addr::new(10, 0, *subnet, 1)))
                })
                .chain([("192.0.2.0/24".parse().unwrap(), Way::Nowhere)])
                .collect(),
            subnets: subnets
                .into_iter()
                .map(|(subnet, (ports, dhcp, has_v6, remote))| {
                    (
                        subnet,
                        ports,
                        dhcp,
                        has_v6,
                        remote.is_some(),
                        remote.unwrap_or_default(),
                    )
                })
                .map(|(subnet, ports, dhcp, has_v6, has_tunnel, remote)| Subnet {
                    id: id(number << 16 | u128::from(subnet) << 8),
                    net: format!("10.0.{subnet}.0/24").parse().unwrap(),
                    gateway: Ipv4Addr::new(10, 0, subnet, 254),
                    dhcp,
                    dns: Vec::new(),
                    v6: has_v6.then(|| {
                        (
                            format!("fd00:0:0:{subnet}::/64").parse().unwrap(),
                            format!("fd00:0:0:{subnet}::1").parse().unwrap(),
                        )
                    }),
                    tunnel: has_tunnel.then(|| Tunnel {
                        vni: 1 + number as u32 * 256 + u32::from(subnet),
                        local: Ipv4Addr::new(192, 0, 2, 1),
                    }),
                    default_via: None,
                    remote_ports: remote
                        .into_iter()
                        .filter(|_| has_tunnel)
                        .map(|(port, host)| RemotePort {
                            mac: Mac::from([0xfa, 0x16, 0x3e, 1, subnet, port]),
                            address: Ipv4Addr::new(10, 0, subnet, 100 + port),
                            address6: has_v6.then(|| {
                                let address = format!("fd00:0:0:{subnet}::1:{port:x}");
                                address.parse().unwrap()
                            }),
                            host: Ipv4Addr::new(192, 0, 2, host),
                        })
                        .collect(),
                    ports: ports
                        .into_iter()
                        .map(|(port, (_, groups))| Port {
                            id: id(1 << 64
                                | number << 16
                                | u128::from(subnet) << 8
                                | u128::from(port)),
                            mac: Mac::from([0xfa, 0x16, 0x3e, 0, subnet, port]),
                            address: Ipv4Addr::new(10, 0, subnet, port),
                            address6: has_v6
                                .then(|| format!("fd00:0:0:{subnet}::{port:x}").parse().unwrap()),
                            groups: groups.into_iter().map(|group| id(0x900 + group)).collect(),
                            source_check: port % 2 == 0,
                            owner: 0x6000_0000,
                            mtu: 1450,
                        })
                        .collect(),
                })
                .collect(),
            groups: groups
                .into_iter()
                .enumerate()
                .map(|(group, contents)| (id(0x900 + group as u128), contents))
                .collect(),
        })
}

pub fn desired() -> impl Strategy<Value = Desired> {
    let vpcs = (prop::option::of(vpc(0)), prop::option::of(vpc(1)));
    (1_u64.., vpcs, any::<bool>()).prop_map(|(revision, (first, second), has_gateway)| {
        let mut desired = Desired {
            revision,
            vpcs: first.into_iter().chain(second).collect(),
            gateways: Vec::new(),
            peerings: Vec::new(),
        };
        if has_gateway && !desired.vpcs.is_empty() {
            with_gateway(&mut desired);
        }
        desired
    })
}

/// Gives the first VPC a gateway on this host, with two addresses and a floating IP.
pub fn with_gateway(desired: &mut Desired) {
    let outside = |last| Ipv4Addr::new(203, 0, 113, last);
    let vpc = &mut desired.vpcs[0];
    vpc.subnets.push(Subnet {
        id: id(0xa0),
        net: "169.254.64.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(169, 254, 64, 1),
        dhcp: false,
        dns: Vec::new(),
        v6: None,
        ports: Vec::new(),
        tunnel: None,
        remote_ports: Vec::new(),
        default_via: Some(Ipv4Addr::new(169, 254, 64, 2)),
    });
    desired.gateways.push(Gateway {
        id: id(0xa0),
        inside: "10.0.0.0/16".parse().unwrap(),
        external: id(0xe0),
        external_name: "uplink".into(),
        outside: "203.0.113.0/24".parse().unwrap(),
        router: outside(1),
        addresses: vec![outside(10), outside(12)],
        floating: BTreeMap::from([(outside(11), Ipv4Addr::new(10, 0, 1, 11))]),
        inside_mac: Mac::from([2, 0, 0, 0, 0, 0xa0]),
        outside_mac: Mac::from([6, 0, 0, 0, 0, 0xa0]),
    });
}

#[test]
fn a_gateways_namespace() {
    let mut desired = small();
    with_gateway(&mut desired);
    let egress = Egress {
        interfaces: BTreeMap::from([("uplink".to_owned(), "enp3s0.100".to_owned())]),
        protected: BTreeSet::from(["192.0.2.0/24".parse().unwrap()]),
        connections: 1000,
    };
    let states = super::gateway::states(&desired, 1450, &egress);
    let (name, state) = states.first_key_value().unwrap();
    let mut text = format!("{name}\n{}\n", state.filter);
    for leg in [&state.inside, &state.outside] {
        text += &format!("{leg:?}\n");
    }
    text += &format!("{:?}\n{:?}\n", state.routes, state.floating);
    for (name, contents) in networkd::render(&desired, 1450, Limits::default(), &egress) {
        if ["pe", "pi", "po", "enp"]
            .iter()
            .any(|it| name.contains(&format!("photon-{it}")))
        {
            text += &format!("=== {name}\n{contents}");
        }
    }
    golden("gateway.golden", &text);
    let text =
        lines(&guest_filter::render(&desired, Limits::default(), &Egress::default()).replace())
            + &lines(&firewall::render(&desired, Limits::default()).replace());
    golden("filter-gateway.golden", &text);
}

/// What this machine's kernel has for bridges. The rack's has all; on a lesser one, what it lacks is left out
/// or replaced by its like of the same type, so that everything else is still put before the kernel.
#[derive(Clone, Copy)]
struct Kernel {
    conntrack: bool,
    bridge_names: bool,
    /// Of nft: before 1.0.9 its JSON could not name sets that packets fill.
    meters: bool,
}

impl Kernel {
    fn of_this_machine() -> Self {
        let takes = |statements| {
            let mut table = Table::new(photon_host::nft::types::NfFamily::Bridge);
            table.chain("probe", vec![statements]);
            nft("bridge", &[table.replace()]).is_ok()
        };
        Self {
            conntrack: takes(vec![statement::set_zone(7)]),
            bridge_names: takes(vec![statement::is(
                statement::ibridge(),
                statement::text("pb0"),
            )]),
            meters: {
                let mut table = Table::new(photon_host::nft::types::NfFamily::Bridge);
                limits::sending(&mut table, Limits::default());
                nft("bridge", &[table.replace()]).is_ok()
            },
        }
    }

    fn fit(self, commands: Commands) -> Commands {
        commands
            .into_iter()
            .map(|command| command.to_string())
            .filter(|command| self.conntrack || !command.contains(r#"{"ct":{"key""#))
            .filter(|command| self.conntrack || !command.contains(r#""ct count""#))
            .filter(|command| self.meters || !names_meters(command))
            .map(|command| match self.bridge_names {
                true => command,
                false => command
                    .replace("ibriport", "iifname")
                    .replace("obriport", "oifname"),
            })
            .map(|command| serde_json::from_str(&command).expect("it is still JSON"))
            .collect()
    }
}

fn names_meters(command: &str) -> bool {
    let is_set = command.contains(r#":{"set":{"#);
    command.contains(r#"{"set":{"op":"#)
        || (is_set && (command.contains(r#""dynamic""#) || command.contains("-connections-")))
        || (is_set
            && ["sent-", "received-", "asked-", "askers-"]
                .iter()
                .any(|name| command.contains(name)))
}

static KERNEL: std::sync::LazyLock<Kernel> = std::sync::LazyLock::new(Kernel::of_this_machine);

/// Feeds transactions to the real nft, one after the other, in a network namespace that ends with it; the
/// last line of the answer is the table as it is then.
fn nft(family: &str, transactions: &[Commands]) -> Result<Vec<Value>, String> {
    let directory = tempfile::tempdir().unwrap();
    let mut script = String::from("set -e\n");
    for (number, commands) in transactions.iter().enumerate() {
        let path = directory.path().join(format!("{number}.json"));
        std::fs::write(&path, json!({ "nftables": commands }).to_string()).unwrap();
        script.push_str(&format!("nft -j -f {}\n", path.display()));
    }
    script.push_str(&format!("nft -j -s list ruleset {family}\n"));
    // Who is root already needs no namespace of users, which nobody gets in a chroot (user_namespaces(7)).
    let me = std::fs::metadata("/proc/self").expect("/proc is there");
    let user = (std::os::unix::fs::MetadataExt::uid(&me) != 0).then_some("--map-root-user");
    let output = std::process::Command::new("unshare")
        .arg("--net")
        .args(user)
        .args(["sh", "-c", &script])
        .output()
        .expect("unshare (util-linux) runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let answer: Value = serde_json::from_slice(&output.stdout).expect("nft answers JSON");
    Ok(answer["nftables"].as_array().expect("an array").clone())
}

/// What there is in the kernel after `before` and then the change from it to `after`.
fn exchanged(before: &Table, after: &Table, kernel: Kernel) -> Result<Digests, String> {
    let family = before.family_name();
    let first = kernel.fit(before.replace());
    let printed = observed_digests(&nft(family, std::slice::from_ref(&first))?);
    let memory = before
        .digests()
        .into_iter()
        .map(|(name, written)| {
            let printed = printed.get(&name).cloned().unwrap_or_default();
            (name, (written, printed))
        })
        .collect();
    let mut transactions = vec![first];
    if let Some(change) = after.difference(Some(&printed), &memory) {
        transactions.push(kernel.fit(change.commands));
    }
    Ok(observed_digests(&nft(family, &transactions)?))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The real nft and kernel take every table and every change of one into another, and an exchange ends
    /// where writing the whole table would.
    #[test]
    fn the_kernel_takes_what_is_rendered(before in desired(), after in desired()) {
        let kernel = *KERNEL;
        let with_limits = |desired: &Desired| guest_filter::render(desired, Limits::default(), &Egress::default());
        let host = |desired: &Desired| firewall::render(desired, Limits::default());
        for render in [&with_limits as &dyn Fn(&Desired) -> Table, &host] {
            let (before, after) = (render(&before), render(&after));
            let there = exchanged(&before, &after, kernel);
            prop_assert!(there.is_ok(), "{}", there.unwrap_err());
            let directly = exchanged(&after, &after, kernel);
            prop_assert_eq!(there, directly);
        }
    }
}

#[test]
fn a_set_in_another_order_is_the_same_and_a_rule_in_another_order_is_not() {
    let set = |elements: Value| json!({"set": {"name": "s", "type": "ifname", "elem": elements}});
    let rule =
        |verdict: &str| json!({"rule": {"chain": "c", "handle": 3, "expr": [{verdict: null}]}});
    assert_eq!(
        observed_digests(&[set(json!(["a", "b"]))]),
        observed_digests(&[set(json!(["b", "a"]))])
    );
    assert_ne!(
        observed_digests(&[rule("accept"), rule("drop")]),
        observed_digests(&[rule("drop"), rule("accept")])
    );
}
