//! What peerings let through, in `table inet photon`: see [`super::peering`].
//!
//! What comes by an end must be from the other side's range and for this side's, and not for its gateways, which answer the VPC's
//! own guests alone: so nothing goes on to a third VPC, and nobody outside asks for names or has a way out. Who may reach whom is
//! judged where the ports are.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use photon_host::nft::expr::Verdict;
use photon_host::nft::schema::SetType::{Ifname, Ipv4Addr as V4};
use photon_host::nft::types::NfHook;

use super::desired::{Desired, Way};
use super::filter::statement::{
    Statement, accept, concat, drop, iif, is, lookup, not_within, notrack, oif, payload, range,
    set_zone, text, within,
};
use super::filter::{Statements, Table, target};
use super::peering::{End, ends};
use super::route_filter::ranges;

/// Before conntrack (-200, `NF_IP_PRI_CONNTRACK`).
const RAW: i32 = -300;

fn net(field: &'static str, net: Ipv4Net) -> Statement {
    let range = range(net.network().to_string(), net.broadcast().to_string());
    is(payload("ip", field), range)
}

/// The sets and chains.
pub(super) fn host(table: &mut Table, desired: &Desired) {
    let ends = ends(desired);
    let (mut crossings, mut entries) = (Vec::new(), BTreeMap::new());
    for end in &ends {
        crossings.push(concat([text(end.vpc.vrf()), text(&end.name)]));
        entries.insert(end.name.clone(), Verdict::Goto(target(&chain(table, end))));
    }
    table.set("crossings", &[Ifname, Ifname], false, crossings);
    table.map("entries", entries);
    let enter = vec![vec![lookup(iif(), "entries")]];
    table.base_chain("enter", NfHook::Prerouting, RAW, enter);
}

/// Of what comes by an end.
fn chain(table: &mut Table, end: &End<'_>) -> String {
    let (name, here) = (
        format!("{}-enters", end.name),
        format!("{}-here4", end.name),
    );
    let subnets = || end.vpc.subnets.iter();
    let ports = || {
        subnets()
            .flat_map(|subnet| &subnet.ports)
            .map(|port| port.address)
    };
    // Also what is behind a port of this host: its answers come by that.
    let routes = end.vpc.routes.iter();
    let behind = routes.filter_map(|(net, way)| match way {
        Way::Port(address) => ports().any(|it| it == *address).then_some(*net),
        _ => None,
    });
    let tracked = ports().map(Ipv4Net::from).chain(behind);
    table.set(&here, &[V4], true, ranges(tracked));
    let routers = format!("{}-routers4", end.name);
    let gateways = subnets().map(|subnet| text(subnet.gateway.to_string()));
    table.set(&routers, &[V4], false, gateways.collect());
    let through = || vec![net("saddr", end.other), net("daddr", end.own)];
    let then = |more: Statements| {
        let mut rule = through();
        rule.extend(more);
        rule
    };
    let to = |set: &str| within(payload("ip", "daddr"), set);
    let rules = vec![
        vec![to(&routers), drop()],
        then(vec![
            not_within(payload("ip", "daddr"), &here),
            notrack(),
            accept(),
        ]),
        then(vec![set_zone(end.vpc.zone), accept()]),
        vec![drop()],
    ];
    table.chain(&name, rules);
    name
}

/// What is routed from a VPC to the pair that leads out of it.
pub(super) fn forward() -> Statements {
    vec![within(concat([iif(), oif()]), "crossings"), accept()]
}
