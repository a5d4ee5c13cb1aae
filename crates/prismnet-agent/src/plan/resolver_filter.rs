//! What guests may ask of the resolver at their gateways (decision 0046), in both tables.
//!
//! A question is let through before connections are known, and its answer too: neither is tracked, so that many questions
//! take no room in the host's table of connections, which is everybody's, and no security group is about them. Who asks is
//! held to its addresses as always. The address that is asked is one that only the host can have: of any gateway of the VPC,
//! on the guest's own host. A gateway is never on the other side of a tunnel.

use std::collections::BTreeMap;

use photon_host::nft::expr::{Expression, Verdict};
use photon_host::nft::schema::SetType::Ifname;

use super::desired::Desired;
use super::filter::statement::{
    Rate, accept, any_of, begins, concat, counted, ct_state, destination_port, drop, faster, goto,
    ibridge, iif, is, l4proto, lookup, notrack, obridge, oif, payload, within,
};
use super::filter::{Statements, Table, target};
use super::guest_filter::{from4, from6, gateways};
use super::limits::{Limits, TAPS};

/// Where resolvers are asked (RFC 1035 section 4.2).
const PORT: u32 = 53;

/// What is nobody's but the resolver's: asked at this port, by UDP or TCP.
fn to_resolver() -> Statements {
    vec![
        is(l4proto(), any_of(["tcp", "udp"])),
        is(destination_port(), Expression::Number(PORT)),
    ]
}

fn from_resolver() -> Statements {
    vec![
        is(l4proto(), any_of(["tcp", "udp"])),
        is(payload("th", "sport"), Expression::Number(PORT)),
    ]
}

fn then(mut rule: Statements, more: impl IntoIterator<Item = Statements>) -> Statements {
    rule.extend(more.into_iter().flatten());
    rule
}

/// The sets and chains of `table bridge photon`; those of tunnels on every host, the others where guests have a resolver.
pub(super) fn bridge(table: &mut Table, desired: &Desired, limits: Limits) {
    let (mut questions, mut elsewhere) = (BTreeMap::new(), BTreeMap::new());
    for vpc in &desired.vpcs {
        let asked = format!("{}-questions", vpc.vrf());
        let not_here = format!("{}-elsewhere", vpc.vrf());
        let (set4, set6) = gateways(vpc);
        if limits.resolver {
            let to = |protocol, set: &str| {
                vec![within(payload(protocol, "daddr"), set), goto("question")]
            };
            table.chain(&asked, vec![to("ip", &set4), to("ip6", &set6)]);
        }
        let gateway = [("ip", &set4), ("ip6", &set6)].into_iter();
        let gateway = gateway.flat_map(|(protocol, set)| {
            ["saddr", "daddr"].map(|field| vec![within(payload(protocol, field), set), drop()])
        });
        table.chain(&not_here, gateway.collect());
        for bridge in vpc.subnets.iter().map(|subnet| subnet.bridge()) {
            questions.insert(bridge.clone(), Verdict::Jump(target(&asked)));
            elsewhere.insert(bridge, Verdict::Jump(target(&not_here)));
        }
    }
    table.map("elsewhere", elsewhere);
    if !limits.resolver {
        return;
    }
    table.map("questions", questions);
    let mut question = Vec::new();
    let rate = limits.port_queries_per_second;
    if let Some(limit) = Rate::questions(rate) {
        // An element keeps the limit with which it was made: another limit has another set.
        let set = format!("asked-{rate}-questions");
        table.meters(&set, Ifname, TAPS, true);
        question.push(vec![faster(iif(), &set, limit), counted(), drop()]);
    }
    question.push(vec![notrack(), accept()]);
    table.chain("question", question);
}

/// For what guests send, once its sender's MAC is known to be right, and before it has a zone, with which it would be
/// tracked: questions from addresses of theirs.
pub(super) fn asks(limits: Limits) -> Vec<Statements> {
    if !limits.resolver {
        return Vec::new();
    }
    let from = [(from4(), "sources4"), (from6(), "sources6")];
    let rules = from.map(|(from, set)| {
        let of_guest = vec![within(from, set)];
        then(
            to_resolver(),
            [of_guest, vec![lookup(ibridge(), "questions")]],
        )
    });
    rules.into()
}

/// The same, before security groups: what is not tracked was let through as a question.
pub(super) fn asked(limits: Limits) -> Vec<Statements> {
    let rule = then(vec![ct_state("untracked")], [to_resolver(), vec![accept()]]);
    if limits.resolver {
        vec![rule]
    } else {
        Vec::new()
    }
}

/// Answers of a VPC's resolver, to guests; `set4` and `set6` have the addresses of its gateways.
pub(super) fn answers(limits: Limits, set4: &str, set6: &str) -> Vec<Statements> {
    if !limits.resolver {
        return Vec::new();
    }
    let from = [("ip", set4), ("ip6", set6)].map(|(protocol, set)| {
        let of_gateway = vec![within(payload(protocol, "saddr"), set)];
        then(of_gateway, [from_resolver(), vec![accept()]])
    });
    from.into()
}

/// For what comes by a tunnel and what leaves by one: nothing from or to a gateway.
pub(super) fn not_elsewhere(leaves: bool) -> Statements {
    let bridge = if leaves { obridge() } else { ibridge() };
    vec![lookup(bridge, "elsewhere")]
}

/// Of `table inet photon`: what comes in, after what is not of a VPC.
pub(super) fn input(limits: Limits) -> Vec<Statements> {
    if !limits.resolver {
        return Vec::new();
    }
    let to = [("ip", "gateways4"), ("ip6", "gateways6")].map(|(protocol, set)| {
        let to_gateway = vec![within(concat([iif(), payload(protocol, "daddr")]), set)];
        then(to_resolver(), [to_gateway, vec![accept()]])
    });
    to.into()
}

/// Of `table inet photon`: what the host itself says as a resolver, by the VRF and then by the bridge below it, is not
/// tracked: it would be in the host's own zone, and take room there.
pub(super) fn untracked(limits: Limits) -> Vec<Statements> {
    if !limits.resolver {
        return Vec::new();
    }
    let out = ["pv", "pb"].map(|prefix| {
        let by_ours = vec![begins(oif(), prefix)];
        then(by_ours, [from_resolver(), vec![notrack()]])
    });
    out.into()
}

/// Kernel settings by which a socket without a device would hear every VPC: off, always.
pub(super) const DEAF: [&str; 2] = ["net/ipv4/tcp_l3mdev_accept", "net/ipv4/udp_l3mdev_accept"];
