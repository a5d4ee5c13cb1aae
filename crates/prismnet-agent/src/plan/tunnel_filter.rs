//! What comes and goes by tunnels, in both tables.
//!
//! The sender's host has judged who a packet is from and whether it may leave its port, the receiver's judges whether it may
//! come in: what comes by a tunnel passes no egress rules, what leaves by one no ingress rules. Connections are known on
//! both. What is between a guest and the router of its own host (ARP, neighbour discovery, DHCP) has no business in a
//! tunnel, nor has what is for all, nor what the host itself is to hear.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use photon_host::nft::expr::Expression;
use photon_host::nft::schema::SetType::{EtherAddr, Ifname, Ipv4Addr as V4};
use photon_host::nft::types::NfHook;

use super::desired::Desired;
use super::filter::statement::{
    accept, any_of, concat, ct_known, ct_state, drop, ether_type, goto, ibridge, iif, is, lookup,
    masked, not_within, notrack, oif, payload, text, within,
};
use super::filter::{Statements, Table};
use super::tunnel::PORT;
use super::{metadata_filter, resolver_filter};

/// Before conntrack (-200, `NF_IP_PRI_CONNTRACK`).
const RAW: i32 = -300;

/// Router and neighbour discovery, redirects (RFC 4861).
const DISCOVERY: [&str; 5] = [
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
    "nd-router-solicit",
    "nd-router-advert",
    "nd-redirect",
];

/// Where what comes by a tunnel is looked at.
pub(super) fn arrives() -> Statements {
    vec![within(iif(), "tunnels"), goto("source-tunnel")]
}

/// What came by a tunnel was judged where it left its port; to be asked after known connections.
pub(super) fn judged_already() -> Statements {
    vec![within(iif(), "tunnels"), accept()]
}

/// Where what leaves by a tunnel is looked at.
pub(super) fn leaves() -> Statements {
    vec![within(oif(), "tunnels"), goto("to-tunnel")]
}

/// The sets and chains of `table bridge photon`.
pub(super) fn bridge(table: &mut Table, desired: &Desired) {
    let (mut tunnels, mut routers, mut macs) = (Vec::new(), Vec::new(), Vec::new());
    for subnet in desired.vpcs.iter().flat_map(|vpc| &vpc.subnets) {
        if subnet.tunnel.is_none() {
            continue;
        }
        let vxlan = subnet.vxlan();
        let at = |mac: String| concat([text(&vxlan), text(mac)]);
        tunnels.push(text(&vxlan));
        routers.push(at(subnet.gateway_mac().to_string()));
        let ports = subnet.remote_ports.iter();
        macs.extend(ports.map(|port| at(port.mac.to_string())));
    }
    table.set("tunnels", &[Ifname], false, tunnels);
    table.set("remote-macs", &[Ifname, EtherAddr], false, macs);
    // A frame that another host has routed has the gateway's MAC, which is the same everywhere.
    table.set("remote-routers", &[Ifname, EtherAddr], false, routers);

    let sender = || concat([iif(), payload("ether", "saddr")]);
    let mut source = not_for_tunnels();
    source.extend(metadata_filter::not_elsewhere());
    source.push(resolver_filter::not_elsewhere(false));
    source.extend([
        vec![within(sender(), "remote-macs"), goto("source-remote")],
        vec![within(sender(), "remote-routers"), goto("source-remote")],
        vec![drop()],
    ]);
    let source_remote = vec![
        vec![lookup(ibridge(), "zones")],
        vec![ether_type("ip"), accept()],
        vec![ether_type("ip6"), accept()],
        vec![drop()],
    ];
    table.chain("source-remote", source_remote);
    table.chain("source-tunnel", source);
    let receiver = concat([oif(), payload("ether", "daddr")]);
    let mut to = not_for_tunnels();
    to.extend(metadata_filter::not_elsewhere());
    to.push(resolver_filter::not_elsewhere(true));
    to.extend([
        vec![not_within(receiver, "remote-macs"), drop()],
        vec![ct_known(), accept()],
        vec![ct_state("invalid"), drop()],
        vec![accept()],
    ]);
    table.chain("to-tunnel", to);
}

fn not_for_tunnels() -> Vec<Statements> {
    let mut rules = vec![
        vec![
            is(
                masked(payload("ether", "daddr"), "01:00:00:00:00:00"),
                text("01:00:00:00:00:00"),
            ),
            drop(),
        ],
        vec![ether_type("arp"), drop()],
        vec![is(payload("icmpv6", "type"), any_of(DISCOVERY)), drop()],
    ];
    // DHCP and DHCPv6, from clients and servers.
    rules.extend([67, 68, 546, 547].map(|port| {
        let to = is(payload("udp", "dport"), Expression::Number(port));
        vec![to, drop()]
    }));
    rules
}

/// In `table inet photon`: only hosts that have ports of this host's VPCs may send to the host's end of its tunnels. What
/// carries tenants' packets is not tracked, or one tenant's many connections would fill the host's own zone.
///
/// Gives the rules for what comes in.
pub(super) fn host(table: &mut Table, desired: &Desired) -> Vec<Statements> {
    let (mut ends, mut peers) = (BTreeSet::<Ipv4Addr>::new(), BTreeSet::<Ipv4Addr>::new());
    for subnet in desired.vpcs.iter().flat_map(|vpc| &vpc.subnets) {
        ends.extend(subnet.tunnel.as_ref().map(|tunnel| tunnel.local));
        peers.extend(subnet.remote_ports.iter().map(|port| port.host));
    }
    let addresses = |all: &BTreeSet<Ipv4Addr>| {
        let texts = all.iter().map(|address| text(address.to_string()));
        texts.collect::<Vec<_>>()
    };
    table.set("tunnel-ends", &[V4], false, addresses(&ends));
    table.set("tunnel-peers", &[V4], false, addresses(&peers));
    let vxlan = || is(payload("udp", "dport"), Expression::Number(PORT.into()));
    let ours = |field| within(payload("ip", field), "tunnel-ends");
    for (name, hook, field) in [
        ("untracked-in", NfHook::Prerouting, "daddr"),
        ("untracked-out", NfHook::Output, "saddr"),
    ] {
        let rule = vec![vxlan(), ours(field), notrack()];
        table.base_chain(name, hook, RAW, vec![rule]);
    }
    vec![vec![
        vxlan(),
        ours("daddr"),
        not_within(payload("ip", "saddr"), "tunnel-peers"),
        drop(),
    ]]
}
