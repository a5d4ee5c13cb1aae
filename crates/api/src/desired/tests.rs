use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::flashdns::v1 as dns;
use crate::plasmavmc::v1 as vmc;
use crate::prismnet::v1 as net;

fn keyed<T: Clone + std::fmt::Debug>(
    item: impl Strategy<Value = T>,
    most: u32,
    id: fn(&mut T) -> &mut String,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::btree_map(0..most, item, 0..=most as usize).prop_map(move |items| {
        let named = items.into_iter().map(|(number, mut item)| {
            *id(&mut item) = format!("{number:04}");
            item
        });
        named.collect()
    })
}

fn port() -> impl Strategy<Value = net::DesiredPort> {
    (0..3_u8, any::<bool>()).prop_map(|(address, named)| net::DesiredPort {
        ip_address: format!("10.0.0.{address}"),
        hostname: if named { "a".into() } else { String::new() },
        ..Default::default()
    })
}

fn remote_port() -> impl Strategy<Value = net::RemotePort> {
    (0..3_u8).prop_map(|host| net::RemotePort {
        tunnel_address: format!("192.0.2.{host}"),
        ..Default::default()
    })
}

fn subnet() -> impl Strategy<Value = net::DesiredSubnet> {
    let ports = keyed(port(), 5, |it| &mut it.id);
    let remote_ports = keyed(remote_port(), 5, |it| &mut it.id);
    (any::<bool>(), ports, remote_ports).prop_map(|(dhcp_enabled, ports, remote_ports)| {
        net::DesiredSubnet {
            dhcp_enabled,
            default_via: if dhcp_enabled {
                "a".into()
            } else {
                String::new()
            },
            ports,
            remote_ports,
            ..Default::default()
        }
    })
}

fn group() -> impl Strategy<Value = net::DesiredGroup> {
    let members = prop::collection::btree_set(0..300_u32, 0..8);
    (0..3_u32, members).prop_map(|(rules, members)| net::DesiredGroup {
        rules: (0..rules)
            .map(|port| net::SecurityGroupRule {
                port_min: port,
                ..Default::default()
            })
            .collect(),
        member_addresses: members
            .into_iter()
            .map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string())
            .collect(),
        ..Default::default()
    })
}

fn network() -> impl Strategy<Value = net::DesiredNetwork> {
    let route = prop::option::of(0..3_u8).prop_map(|port| net::DesiredRoute {
        destination: "192.168.0.0/16".into(),
        way: port.map(|it| net::desired_route::Way::PortAddress(format!("10.0.0.{it}"))),
        ..Default::default()
    });
    let vpc = (
        1000..1002_u32,
        keyed(subnet(), 3, |it| &mut it.id),
        keyed(group(), 3, |it| &mut it.id),
        keyed(route, 3, |it| &mut it.id),
    );
    let vpc = vpc.prop_map(|(table, subnets, groups, routes)| net::DesiredVpc {
        table,
        subnets,
        groups,
        routes,
        ..Default::default()
    });
    let peering = (0..3_u8).prop_map(|number| net::DesiredPeering {
        sides: vec![net::DesiredPeeringSide {
            cidr: format!("10.{number}.0.0/16"),
            ..Default::default()
        }],
        ..Default::default()
    });
    let peerings = keyed(peering, 3, |it| &mut it.id);
    let tunnel = prop::option::of(prop::sample::select(vec!["192.0.2.1", "192.0.2.2"]));
    let gateway = (0..3_u8).prop_map(|address| net::DesiredGateway {
        addresses: vec![format!("203.0.113.{address}")],
        ..Default::default()
    });
    let gateways = keyed(gateway, 3, |it| &mut it.id);
    let parts = (keyed(vpc, 3, |it| &mut it.id), tunnel, gateways, peerings);
    parts.prop_map(|(vpcs, tunnel, gateways, peerings)| net::DesiredNetwork {
        vpcs,
        tunnel_address: tunnel.map(str::to_owned),
        gateways,
        peerings,
        ..Default::default()
    })
}

fn vms() -> impl Strategy<Value = vmc::DesiredVms> {
    let vm = (0..3_u64).prop_map(|spec_revision| vmc::DesiredVm {
        spec_revision,
        ..Default::default()
    });
    keyed(vm, 9, |it| &mut it.id).prop_map(|vms| vmc::DesiredVms {
        vms,
        ..Default::default()
    })
}

fn names() -> impl Strategy<Value = dns::DesiredNames> {
    let name = (0..3_u8).prop_map(|address| dns::DesiredName {
        addresses: vec![format!("10.0.0.{address}")],
        ..Default::default()
    });
    let set = (0..3_u32).prop_map(|ttl| dns::DesiredRecordSet {
        ttl,
        ..Default::default()
    });
    let zone = (0..2_u8, keyed(set, 5, |it| &mut it.id));
    let zone = zone.prop_map(|(name, record_sets)| dns::DesiredZone {
        name: format!("z{name}.example"),
        record_sets,
        ..Default::default()
    });
    let zones = keyed(zone, 3, |it| &mut it.id);
    let view = (0..2_u8, keyed(name, 9, |it| &mut it.id), zones);
    let view = view.prop_map(|(gateways, names, zones)| dns::DesiredView {
        zones,
        gateways: (0..gateways).map(|it| format!("10.0.{it}.1")).collect(),
        names,
        ..Default::default()
    });
    let suffix = prop::sample::select(vec!["cloud.internal", "c.example"]);
    (keyed(view, 3, |it| &mut it.id), suffix).prop_map(|(views, suffix)| dns::DesiredNames {
        views,
        suffix: Some(suffix.to_owned()),
        ..Default::default()
    })
}

/// Tells `before` and then `after` in messages of at most so many bytes; says what the receiver has in the end.
fn told<D: DesiredMessage>(before: &D, after: &D, limit: usize) -> D {
    let mut first = before.clone();
    first.label(Kind::Full { more: false }, "e", 1);
    let mut change = D::difference(before, after);
    assert_eq!(change.is_empty(), before == after);
    change.label(Kind::Change { more: false }, "e", 2);
    let mut known = D::default();
    for (message, full) in [(first, true), (change, false)] {
        let pieces = message.pieces(limit);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.into_iter().enumerate() {
            let more = index < last;
            let kind = if full {
                Kind::Full { more }
            } else {
                Kind::Change { more }
            };
            assert_eq!(piece.kind(), Some(kind));
            assert_eq!(piece.position(), ("e", if full { 1 } else { 2 }));
            known.amend(piece);
        }
    }
    known
}

proptest! {
    #[test]
    fn networks_arrive_as_they_are(before in network(), after in network(), limit in 1..2000_usize) {
        prop_assert_eq!(told(&before, &after, limit), after);
    }

    /// What an agent of the release before takes for no rules at all is not told to it.
    #[test]
    fn who_does_not_know_of_kept_rules_is_given_them(before in network(), after in network()) {
        let mut change = net::DesiredNetwork::difference(&before, &after).with_rules(&after);
        for vpc in &mut change.vpcs {
            for group in &mut vpc.groups {
                prop_assert!(!group.keeps_rules);
            }
        }
        let mut known = before.clone();
        known.amend(change);
        prop_assert_eq!(known, after);
    }

    #[test]
    fn vms_arrive_as_they_are(before in vms(), after in vms(), limit in 1..2000_usize) {
        prop_assert_eq!(told(&before, &after, limit), after);
    }

    #[test]
    fn names_arrive_as_they_are(before in names(), after in names(), limit in 1..2000_usize) {
        prop_assert_eq!(told(&before, &after, limit), after);
    }

    #[test]
    fn the_same_again_is_no_news(network in network(), vms in vms(), names in names()) {
        let mut known = names.clone();
        prop_assert!(!known.amend(names));
        let mut known = network.clone();
        prop_assert!(!known.amend(network));
        let mut known = vms.clone();
        prop_assert!(!known.amend(vms));
    }
}

/// A group of ten thousand is told in bounded messages, and its next member in a small one.
#[test]
fn a_large_group_is_told_in_pieces_and_a_member_alone() {
    let mut before = net::DesiredNetwork {
        vpcs: vec![net::DesiredVpc {
            id: "vpc".into(),
            groups: vec![net::DesiredGroup {
                id: "group".into(),
                member_addresses: (0..40_000_u32)
                    .map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string())
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    before.label(Kind::Full { more: false }, "e", 1);
    let pieces = before.clone().pieces(MESSAGE_BYTES);
    assert!(pieces.len() > 1);
    let longest = pieces.iter().map(Message::encoded_len).max();
    assert!(longest <= Some(MESSAGE_BYTES), "{longest:?}");
    let mut after = before.clone();
    after.vpcs[0].groups[0]
        .member_addresses
        .push("10.9.0.1".into());
    let change = net::DesiredNetwork::difference(&before, &after);
    assert!(change.encoded_len() < 100, "{}", change.encoded_len());
}

/// A port that comes to another host of a VPC of ten thousand: what each host with a port of the VPC hears of it.
#[test]
fn a_port_elsewhere_is_told_in_less_than_two_kilobytes() {
    let id = |number: u32| format!("{number:08}-0000-4000-8000-000000000000");
    let member = |number: u32| std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
    let rule = net::SecurityGroupRule {
        id: id(0),
        direction: 1,
        protocol: 2,
        port_min: 30_000,
        port_max: 32_767,
        remote_cidr: "fd00:1111:2222:3333::/64".into(),
        ..Default::default()
    };
    let network = |ports: u32| net::DesiredNetwork {
        vpcs: vec![net::DesiredVpc {
            id: id(1),
            table: 1000,
            subnets: vec![net::DesiredSubnet {
                id: id(2),
                cidr: "10.0.0.0/16".into(),
                gateway: "10.0.0.1".into(),
                ipv6_cidr: "fd00:1111:2222:3333::/64".into(),
                ipv6_gateway: "fd00:1111:2222:3333::1".into(),
                vni: 1 << 23,
                remote_ports: (0..ports)
                    .map(|number| net::RemotePort {
                        id: id(number),
                        mac_address: "fa:16:3e:00:00:00".into(),
                        ip_address: member(number),
                        ipv6_address: "fd00:1111:2222:3333:f816:3eff:fe00:0".into(),
                        tunnel_address: "192.0.2.200".into(),
                    })
                    .collect(),
                ..Default::default()
            }],
            groups: vec![net::DesiredGroup {
                id: id(3),
                rules: vec![rule.clone(); 250],
                member_addresses: (0..ports).map(member).collect(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let (before, after) = (network(9_999), network(10_000));
    for (before, after) in [(&before, &after), (&after, &before)] {
        let change = net::DesiredNetwork::difference(before, after);
        let [piece] = &change.pieces(MESSAGE_BYTES)[..] else {
            panic!("a change of one port is one message");
        };
        assert!(piece.encoded_len() < 2048, "{}", piece.encoded_len());
    }
}

#[test]
fn a_part_of_the_future_is_not_taken_for_everything() {
    let message = vmc::DesiredVms {
        part: 77,
        ..Default::default()
    };
    assert_eq!(message.kind(), None);
}
