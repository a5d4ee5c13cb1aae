use proptest::prelude::*;
use prost::Message;

use super::*;
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

fn subnet() -> impl Strategy<Value = net::DesiredSubnet> {
    let ports = keyed(port(), 5, |it| &mut it.id);
    (any::<bool>(), ports).prop_map(|(dhcp_enabled, ports)| net::DesiredSubnet {
        dhcp_enabled,
        ports,
        ..Default::default()
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
    let vpc = (
        1000..1002_u32,
        keyed(subnet(), 3, |it| &mut it.id),
        keyed(group(), 3, |it| &mut it.id),
    );
    let vpc = vpc.prop_map(|(table, subnets, groups)| net::DesiredVpc {
        table,
        subnets,
        groups,
        ..Default::default()
    });
    keyed(vpc, 3, |it| &mut it.id).prop_map(|vpcs| net::DesiredNetwork {
        vpcs,
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

    #[test]
    fn vms_arrive_as_they_are(before in vms(), after in vms(), limit in 1..2000_usize) {
        prop_assert_eq!(told(&before, &after, limit), after);
    }

    #[test]
    fn the_same_again_is_no_news(network in network(), vms in vms()) {
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

#[test]
fn a_part_of_the_future_is_not_taken_for_everything() {
    let message = vmc::DesiredVms {
        part: 77,
        ..Default::default()
    };
    assert_eq!(message.kind(), None);
}
