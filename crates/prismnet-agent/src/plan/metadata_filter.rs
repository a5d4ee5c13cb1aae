//! What guests may ask of the host about themselves (169.254.169.254), in both tables: as with the resolver
//! ([`super::resolver_filter`]), nothing of it is tracked, and no security group is about it.
//!
//! The address is on the VRF of every host: what is sent to it never leaves the host, and what comes from elsewhere with it
//! is dropped. Who asks is known by its address, to which the filter holds it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use photon_host::nft::expr::Expression;
use photon_host::nft::schema::SetType::Ifname;

use super::filter::statement::{
    Rate, accept, begins, counted, ct_state, destination_port, drop, ether_type, faster, goto, iif,
    is, l4proto, notrack, oif, payload, text, within,
};
use super::filter::{Statements, Table};
use super::guest_filter::from4;
use super::limits::{Limits, TAPS};

/// Where guests ask, as they do in Amazon's clouds: link-local, which no VPC's range has anything of.
pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where it is asked: HTTP.
const PORT: u32 = 80;

/// What the VRF of a VPC has for it.
pub(super) fn addresses(limits: Limits) -> BTreeSet<IpNet> {
    let ours = limits.metadata.then(|| IpNet::from(IpAddr::from(ADDRESS)));
    ours.into_iter().collect()
}

/// Packets of one port to it a second: a request takes about ten.
const PACKETS_PER_SECOND: u64 = 2000;

fn ours(field: &'static str) -> Statements {
    vec![is(payload("ip", field), text(ADDRESS.to_string()))]
}

fn to_service() -> Statements {
    let mut rule = ours("daddr");
    rule.push(is(l4proto(), text("tcp")));
    rule.push(is(destination_port(), Expression::Number(PORT)));
    rule
}

fn from_service() -> Statements {
    let mut rule = ours("saddr");
    rule.push(is(l4proto(), text("tcp")));
    rule.push(is(payload("th", "sport"), Expression::Number(PORT)));
    rule
}

fn when(
    limits: Limits,
    rule: Statements,
    end: impl IntoIterator<Item = Statements>,
) -> Vec<Statements> {
    if !limits.metadata {
        return Vec::new();
    }
    vec![rule.into_iter().chain(end.into_iter().flatten()).collect()]
}

/// The chain of `table bridge photon`, where guests are told.
pub(super) fn bridge(table: &mut Table, limits: Limits) {
    if !limits.metadata {
        return;
    }
    let mut rules = Vec::new();
    if let Some(limit) = Rate::questions(PACKETS_PER_SECOND) {
        table.meters("askers-metadata", Ifname, TAPS, true);
        rules.push(vec![
            faster(iif(), "askers-metadata", limit),
            counted(),
            drop(),
        ]);
    }
    rules.push(vec![notrack(), accept()]);
    table.chain("metadata", rules);
}

/// For what guests send, where the resolver's questions are looked at: from addresses of theirs.
pub(super) fn asks(limits: Limits) -> Vec<Statements> {
    let of_guest = vec![within(from4(), "sources4"), goto("metadata")];
    when(limits, to_service(), [of_guest])
}

/// The same, before security groups: what is not tracked was let through.
pub(super) fn asked(limits: Limits) -> Vec<Statements> {
    let mut rule = vec![ct_state("untracked")];
    rule.extend(to_service());
    when(limits, rule, [vec![accept()]])
}

/// What it says to guests.
pub(super) fn answers(limits: Limits) -> Vec<Statements> {
    when(limits, from_service(), [vec![accept()]])
}

/// A guest with a route of its own to it asks for its MAC: its own host has it.
pub(super) fn neighbour(limits: Limits) -> Vec<Statements> {
    let asked_for = is(payload("arp", "daddr ip"), text(ADDRESS.to_string()));
    when(limits, vec![ether_type("arp"), asked_for], [vec![accept()]])
}

/// For what comes by a tunnel and what leaves by one: nothing from or to it, on any host.
pub(super) fn not_elsewhere() -> Vec<Statements> {
    let fields = ["saddr", "daddr"].into_iter();
    fields
        .map(|field| ours(field).into_iter().chain([drop()]).collect())
        .collect()
}

/// Of `table inet photon`: what comes in, after what is not of a VPC.
pub(super) fn input(limits: Limits) -> Vec<Statements> {
    when(limits, to_service(), [vec![accept()]])
}

/// Of `table inet photon`: what the host itself says there is not tracked, by the VRF and then by the bridge below it.
pub(super) fn untracked(limits: Limits) -> Vec<Statements> {
    let out = ["pv", "pb"].into_iter();
    out.flat_map(|prefix| {
        let mut rule = vec![begins(oif(), prefix)];
        rule.extend(from_service());
        when(limits, rule, [vec![notrack()]])
    })
    .collect()
}
