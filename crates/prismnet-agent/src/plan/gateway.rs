//! A NAT gateway: what its namespace is told. Pure.
//!
//! ```text
//!   guest ─ VRF ─ segment 169.254.64.0/24 ─ in │ namespace │ out ─ external bridge ─ the host's interface
//!                       bridge filter           own tables,          bridge filter: its MAC and addresses
//!                                               own connections
//! ```
//! A veth is the seam between two tables of connections: what is tracked on one side is new on the other. So the namespace needs
//! no zones and no marks, whatever addresses a tenant has, and goes whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ipnet::Ipv4Net;
use photon_host::gateways::{Leg, State};

use super::desired::{Desired, Gateway, Subnet};
use super::networkd::bridge_mtu;

/// What the operator says of ways out by this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// The host's interface in each external network, by that one's name.
    pub interfaces: BTreeMap<String, String>,
    /// Networks that no guest reaches by a gateway.
    pub protected: BTreeSet<Ipv4Net>,
    /// How many connections one guest may have by a gateway. 0: any number.
    pub connections: u32,
}

/// The most that [`Egress::connections`] may be: what an `int` counts.
pub const MOST_NAT_CONNECTIONS: u32 = i32::MAX as u32;

/// Ethernet's.
const USUAL_MTU: u32 = 1500;

/// As many guests as are counted apart: of what would be one more nothing is let out.
const GUESTS: u32 = 65_536;

/// What the namespaces of all gateways are told, by name. One whose segment this host does not know has none.
pub fn states(desired: &Desired, tunnel_mtu: u32, egress: &Egress) -> BTreeMap<String, State> {
    let subnets = || desired.vpcs.iter().flat_map(|vpc| &vpc.subnets);
    let gateways = desired.gateways.iter();
    let states = gateways.filter_map(|gateway| {
        let segment = subnets().find(|subnet| subnet.id == gateway.transit())?;
        let state = state(gateway, segment, tunnel_mtu, egress)?;
        Some((gateway.namespace(), state))
    });
    states.collect()
}

fn state(gateway: &Gateway, segment: &Subnet, tunnel_mtu: u32, egress: &Egress) -> Option<State> {
    let own = segment.default_via?;
    let outside = gateway.outside.prefix_len();
    // The first has the network's prefix, the others are the gateway's alone.
    let (first, others) = gateway.addresses.split_first()?;
    let mut addresses = vec![format!("{first}/{outside}")];
    let others = others.iter().chain(gateway.floating.keys());
    addresses.extend(others.map(|address| format!("{address}/32")));
    Some(State {
        inside: Leg {
            host: gateway.inside_leg(),
            mac: gateway.inside_mac.to_string(),
            mtu: bridge_mtu(segment, tunnel_mtu).unwrap_or(USUAL_MTU),
            addresses: vec![format!("{own}/{}", segment.net.prefix_len())],
        },
        outside: Leg {
            host: gateway.outside_leg(),
            mac: gateway.outside_mac.to_string(),
            mtu: USUAL_MTU,
            addresses,
        },
        routes: vec![
            format!("{} via {} dev in", gateway.inside, segment.gateway),
            format!("default via {} dev out", gateway.router),
        ],
        filter: filter(gateway, segment.net, egress),
        floating: gateway
            .floating
            .iter()
            .map(|(address, fixed)| (address.to_string(), fixed.to_string()))
            .collect(),
    })
}

fn elements<T: std::fmt::Display>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<String> = all.map(|it| it.to_string()).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!(" elements = {{ {} }};", all.join(", ")),
    }
}

/// The namespace's table, in nft's language (`nft(8)`): replaced whole, in one transaction. Connections keep what was made of
/// them.
fn filter(gateway: &Gateway, segment: Ipv4Net, egress: &Egress) -> String {
    let floating = || gateway.floating.iter();
    let pairs = elements(floating().map(|(address, fixed)| format!("{address} : {fixed}")));
    let back = elements(floating().map(|(address, fixed)| format!("{fixed} : {address}")));
    let protected = elements(egress.protected.iter());
    let (inside, first) = (gateway.inside, gateway.addresses[0]);
    // A guest comes from the same address each time.
    let source = match gateway.addresses.as_slice() {
        [only] => only.to_string(),
        several => {
            let places = several.iter().enumerate();
            let places: Vec<String> = places
                .map(|(place, address)| format!("{place} : {address}"))
                .collect();
            format!(
                "jhash ip saddr mod {} seed 0x1 map {{ {} }}",
                several.len(),
                places.join(", ")
            )
        }
    };
    let mut text = String::from("table ip photon\ndelete table ip photon\ntable ip photon {\n");
    let _ = write!(
        text,
        " map floating {{ type ipv4_addr : ipv4_addr;{pairs} }}\n \
         map fixed {{ type ipv4_addr : ipv4_addr;{back} }}\n \
         set protected {{ type ipv4_addr; flags interval; auto-merge;{protected} }}\n \
         set guests {{ type ipv4_addr; flags dynamic; size {GUESTS}; }}\n"
    );
    // Nobody outside is inside, nor is anybody inside reached from outside by the address that it has there.
    let _ = write!(
        text,
        " chain source {{\n  type filter hook prerouting priority raw; policy accept;\n  \
           iifname \"out\" ip saddr {{ {inside}, {segment} }} counter drop\n  \
           iifname \"out\" ip daddr {{ {inside}, {segment} }} counter drop\n  \
           iifname \"in\" ip saddr != {{ {inside}, {segment} }} counter drop\n }}\n"
    );
    let _ = write!(
        text,
        " chain destination {{\n  type nat hook prerouting priority dstnat; policy accept;\n  \
           dnat to ip daddr map @floating\n }}\n"
    );
    // A guest that calls a floating IP of its own VPC comes from outside too, or the answer would not pass here.
    let _ = write!(
        text,
        " chain from {{\n  type nat hook postrouting priority srcnat; policy accept;\n  \
           oifname \"out\" snat to ip saddr map @fixed\n  \
           oifname \"out\" snat to {source} fully-random\n  \
           iifname \"in\" oifname \"in\" ct status dnat snat to ip saddr map @fixed\n  \
           iifname \"in\" oifname \"in\" ct status dnat snat to {first}\n }}\n"
    );
    let limit = match egress.connections {
        0 => String::new(),
        most => format!(
            "  iifname \"in\" ct state new add @guests {{ ip saddr ct count over {most} }} counter drop\n"
        ),
    };
    // What is link-local is nothing to a router (RFC 3927 section 7): outside it may be what tells the operator's own machines who
    // they are.
    let _ = write!(
        text,
        " chain forward {{\n  type filter hook forward priority filter; policy drop;\n  \
           ct state established,related accept\n  \
           ct state invalid drop\n  \
           ip daddr @protected counter drop\n  \
           ip daddr 169.254.0.0/16 counter drop\n\
         {limit}  \
           iifname \"in\" oifname \"in\" ct status dnat accept\n  \
           iifname \"in\" oifname \"out\" accept\n  \
           iifname \"out\" oifname \"in\" ct status dnat accept\n }}\n \
         chain input {{\n  type filter hook input priority filter; policy drop;\n  \
           iifname \"lo\" accept\n  \
           ct state established,related accept\n  \
           icmp type echo-request accept\n }}\n \
         chain segments {{\n  type filter hook forward priority mangle; policy accept;\n  \
           tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n }}\n}}\n"
    );
    text
}
