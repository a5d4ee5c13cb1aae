//! Connections that the host itself opens to guests for their owners (decision 0051), in both tables.
//!
//! They come from a gateway's address and ports that nothing else has. As with a resolver's answers, neither way is
//! tracked: the host's zone and the VPC's would each see half of a connection. No security group is asked; who may open one,
//! PlasmaVMC decides. What a guest sends to these ports meets the sockets of its own connections, or none: it can begin none.

use photon_host::nft::expr::Expression;
use photon_host::vrf_socket::DIALS_FROM;

use super::filter::Statements;
use super::filter::statement::{
    Statement, accept, begins, concat, ct_state, destination_port, ibridge, iif, is, l4proto,
    masked, notrack, oif, payload, range, text, within,
};
use super::guest_filter::from4;

fn ports() -> Expression<'static> {
    range(DIALS_FROM.start().to_string(), DIALS_FROM.end().to_string())
}

fn tcp() -> Statement {
    is(l4proto(), text("tcp"))
}

/// What a guest says on a connection of the host's; never the first word of one.
fn to_host() -> Statements {
    vec![
        tcp(),
        is(destination_port(), ports()),
        is(masked(payload("tcp", "flags"), "ack"), text("ack")),
    ]
}

/// For what guests send, once its sender's MAC is known to be right, and before it has a zone.
pub(super) fn answers() -> Statements {
    let mut rule = to_host();
    rule.extend([
        within(from4(), "sources4"),
        within(concat([ibridge(), payload("ip", "daddr")]), "gateways4"),
        notrack(),
        accept(),
    ]);
    rule
}

/// The same, before security groups.
pub(super) fn answered() -> Statements {
    let mut rule = vec![ct_state("untracked")];
    rule.extend(to_host());
    rule.push(accept());
    rule
}

/// What a VPC's gateway says to guests; `set4` has the addresses of its gateways.
pub(super) fn dials(set4: &str) -> Statements {
    vec![
        within(payload("ip", "saddr"), set4),
        tcp(),
        is(payload("th", "sport"), ports()),
        accept(),
    ]
}

/// Of `table inet photon`: what comes in, after what is not of a VPC.
pub(super) fn input() -> Statements {
    let mut rule = to_host();
    rule.extend([
        within(concat([iif(), payload("ip", "daddr")]), "gateways4"),
        accept(),
    ]);
    rule
}

/// Of `table inet photon`: what the host says, by the VRF and then by the bridge below it.
pub(super) fn untracked() -> [Statements; 2] {
    ["pv", "pb"].map(|prefix| {
        vec![
            begins(oif(), prefix),
            tcp(),
            is(payload("th", "sport"), ports()),
            notrack(),
        ]
    })
}
