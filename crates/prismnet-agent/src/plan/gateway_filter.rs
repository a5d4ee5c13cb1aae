//! What comes and goes by the legs of NAT gateways, in `table bridge photon`.
//!
//! The leg inside is the VPC's way out: by it come packets from any address outside, which the gateway has let in, and packets
//! to any leave by it. Who may send and receive them is judged where guests' ports are. The leg outside is for the gateway's
//! own MAC and addresses. What else is on the bridge of an external network is none of the cloud's: it is not tracked, and
//! the host hears nothing of it.

use std::net::Ipv4Addr;

use photon_host::nft::schema::SetType::{EtherAddr, Ifname, Ipv4Addr as V4};
use photon_resource::Mac;

use super::desired::Desired;
use super::filter::statement::{
    accept, begins, concat, drop, ether_type, goto, ibridge, iif, lookup, not_within, notrack, oif,
    payload, text, within,
};
use super::filter::{Statements, Table};

/// The legs inside, each with its MAC and its address in the segment.
pub(super) fn legs(desired: &Desired) -> impl Iterator<Item = (String, Mac, Ipv4Addr)> {
    desired.gateways.iter().filter_map(|gateway| {
        let mut subnets = desired.vpcs.iter().flat_map(|vpc| &vpc.subnets);
        let segment = subnets.find(|subnet| subnet.id == gateway.transit())?;
        Some((
            gateway.inside_leg(),
            gateway.inside_mac,
            segment.default_via?,
        ))
    })
}

/// What comes by the bridge of an external network, or by a leg in one.
pub(super) fn outside() -> Vec<Statements> {
    vec![
        vec![within(iif(), "outside"), goto("source-outside")],
        vec![begins(iif(), "po"), drop()],
        vec![begins(ibridge(), "pe"), notrack(), accept()],
    ]
}

/// The host itself is not there.
pub(super) fn not_for_the_host() -> Statements {
    vec![begins(ibridge(), "pe"), drop()]
}

/// What comes by a leg inside, whose MAC is right.
pub(super) fn arrives() -> Statements {
    vec![within(iif(), "legs"), goto("source-leg")]
}

/// The gateway has judged it.
pub(super) fn comes_in() -> Statements {
    vec![within(iif(), "legs"), accept()]
}

/// It was judged where it left its port.
pub(super) fn leaves() -> Statements {
    vec![within(oif(), "legs"), accept()]
}

/// The sets and chains.
pub(super) fn bridge(table: &mut Table, desired: &Desired) {
    let inside = legs(desired).map(|(leg, ..)| text(leg)).collect();
    table.set("legs", &[Ifname], false, inside);
    let (mut outside, mut sources) = (Vec::new(), Vec::new());
    for gateway in &desired.gateways {
        let leg = gateway.outside_leg();
        outside.push(text(&leg));
        sources.extend(gateway.outside_addresses().map(|address| {
            concat([
                text(&leg),
                text(gateway.outside_mac.to_string()),
                text(address.to_string()),
            ])
        }));
    }
    table.set("outside", &[Ifname], false, outside);
    table.set("outside-sources4", &[Ifname, EtherAddr, V4], false, sources);
    table.chain(
        "source-leg",
        vec![
            vec![lookup(ibridge(), "zones")],
            vec![ether_type("ip"), accept()],
            vec![ether_type("arp"), goto("source-arp")],
            vec![drop()],
        ],
    );
    let from =
        |protocol, field| concat([iif(), payload("ether", "saddr"), payload(protocol, field)]);
    table.chain(
        "source-outside",
        vec![
            vec![notrack()],
            vec![
                ether_type("ip"),
                not_within(from("ip", "saddr"), "outside-sources4"),
                drop(),
            ],
            vec![ether_type("ip"), accept()],
            vec![
                ether_type("arp"),
                not_within(from("arp", "saddr ip"), "outside-sources4"),
                drop(),
            ],
            vec![ether_type("arp"), accept()],
            vec![drop()],
        ],
    );
}
