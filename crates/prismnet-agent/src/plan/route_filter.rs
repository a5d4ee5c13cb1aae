//! What routes let through, in both tables.
//!
//! A port without source check sends on for others: from any IPv4 address, but not from one that means something on every host,
//! nor from one of the cluster's own networks, nor from one in a subnet of its VPC, which is a port's or the router's. So it is
//! no member of a group that it is not in, and answers for no neighbour. Its MAC, what it answers by ARP, and its IPv6 addresses
//! are held to as any port's.
//!
//! The host routes to the bridge of a port that a route leads to what that route is for, and there to addresses of ports as
//! always: what is on the bridge's own network and nobody's is not looked for.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use photon_host::nft::expr::{Expression, Verdict};
use photon_host::nft::schema::SetType::Ipv4Addr as V4;

use super::desired::Desired;
use super::filter::statement::{accept, drop, iif, is, lookup, oif, payload, range, text, within};
use super::filter::{Statements, Table, target};
use super::gateway::Egress;
use super::route;
use super::rules::{Address, merged};

/// What is no one's to send from (RFC 6890, RFC 1112 for what is beyond multicast).
const NEVER: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Networks as elements of a set of ranges, in which none may overlap.
pub(super) fn ranges(nets: impl Iterator<Item = Ipv4Net>) -> Vec<Expression<'static>> {
    let ends = nets.map(|net| {
        (
            u32::from(net.network()).into(),
            u32::from(net.broadcast()).into(),
        )
    });
    let joined = merged(ends.collect()).into_iter();
    let shown = <Ipv4Addr as Address>::text;
    joined
        .map(|(low, high)| range(shown(low), shown(high)))
        .collect()
}

/// The sets and chains of `table bridge photon`.
pub(super) fn bridge(table: &mut Table, desired: &Desired, egress: &Egress) {
    let never = NEVER.into_iter().chain(egress.protected.iter().copied());
    table.set("never4", &[V4], true, ranges(never));
    let (mut unchecked, mut asking) = (BTreeMap::new(), BTreeMap::new());
    for vpc in &desired.vpcs {
        let ports = vpc.subnets.iter().flat_map(|subnet| &subnet.ports);
        let ports: Vec<String> = ports
            .filter(|it| !it.source_check)
            .map(|it| it.tap())
            .collect();
        if ports.is_empty() {
            continue;
        }
        let (own, chain) = (
            format!("{}-own4", vpc.vrf()),
            format!("{}-others", vpc.vrf()),
        );
        let nets = vpc.subnets.iter().map(|subnet| subnet.net);
        table.set(&own, &[V4], true, ranges(nets));
        let from = |protocol, field| {
            let from = |set: &str| vec![within(payload(protocol, field), set), drop()];
            vec![from("never4"), from(&own), vec![accept()]]
        };
        let chain_arp = format!("{chain}-arp");
        table.chain(&chain, from("ip", "saddr"));
        table.chain(&chain_arp, from("arp", "saddr ip"));
        for tap in ports {
            asking.insert(tap.clone(), Verdict::Goto(target(&chain_arp)));
            unchecked.insert(tap, Verdict::Goto(target(&chain)));
        }
    }
    table.map("unchecked-asking", asking);
    table.map("unchecked", unchecked);
}

/// For what a guest sends by IPv4 from none of its own addresses.
pub(super) fn others() -> Statements {
    vec![lookup(iif(), "unchecked")]
}

/// The same when it asks for a neighbour: who sends from an address of its own beside the port's asks by that (`arp_announce` of
/// Linux, by default).
pub(super) fn others_ask() -> Statements {
    vec![
        is(payload("arp", "operation"), text("request")),
        lookup(iif(), "unchecked-asking"),
    ]
}

/// The sets and chains of `table inet photon`.
pub(super) fn host(table: &mut Table, desired: &Desired) {
    let mut detours = BTreeMap::new();
    for vpc in &desired.vpcs {
        for subnet in &vpc.subnets {
            let led = route::to_ports(vpc, subnet);
            if led.is_empty() {
                continue;
            }
            let bridge = subnet.bridge();
            let (chain, own) = (format!("{bridge}-detours"), format!("{bridge}-own4"));
            table.set(&own, &[V4], true, ranges([subnet.net].into_iter()));
            let set = format!("{bridge}-led4");
            table.set(&set, &[V4], true, ranges(led.into_iter()));
            let to = |set: &str| within(payload("ip", "daddr"), set);
            table.chain(
                &chain,
                vec![vec![to(&own), drop()], vec![to(&set), accept()]],
            );
            detours.insert(bridge, Verdict::Jump(target(&chain)));
        }
    }
    table.map("detours", detours);
}

/// What is routed within a VPC, and to none of its ports.
pub(super) fn forward(lane: super::filter::statement::Statement) -> Statements {
    vec![lane, lookup(oif(), "detours")]
}
