//! `table bridge photon`: what guests may send and receive.
//!
//! ```text
//!  from a guest                                            to a guest
//!  prerouting -300  source: right MAC and address?         postrouting 0  to-guest: for this MAC?
//!       │           too fast?                                   │    too fast?
//!       │           zone of the VPC, then conntrack             │    router and DHCP server: yes
//!  prerouting    0  from-guest: known connection: yes           │    known connection: yes
//!                   else its groups' egress rules               │    else its groups' ingress rules
//!  prerouting    1  count: one connection too many of the VPC?
//!  input      -300  only ARP for the gateway goes up to the host
//! ```
//!
//! A packet costs the same however many ports, groups and rules there are: ports are found in sets and maps,
//! a group's rules are a few lookups. Only the number of groups of the port, of groups named in their rules, and of
//! lengths of their rules' prefixes counts.
//!
//! Tunnels have chains of their own ([`super::tunnel_filter`]), as have gateways ([`super::gateway_filter`]) and ports that send on for
//! others ([`super::route_filter`]). What comes from or goes to a TAP or a tunnel is dropped also where its bridge is not one of ours: a port that is taken away leaves
//! the sets before its TAP is gone, and a guest may run on without it.
//!
//! The conntrack zone is the VPC's and not the bridge's: a connection between two subnets crosses two
//! bridges, and its answers must be known on both. Inside a VPC no address is twice.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use photon_host::nft::expr::{Expression, Verdict};
use photon_host::nft::schema::SetType::{EtherAddr, Ifname, Ipv4Addr as V4, Ipv6Addr as V6};
use photon_host::nft::types::{NfFamily, NfHook};

use super::desired::{Desired, Port, Vpc};
use super::filter::statement::{
    accept, any_of, begins, concat, ct_known, ct_state, drop, ether_type, goto, ibridge, iif, is,
    l4proto, lookup, masked, not_within, obridge, oif, payload, set_zone, text, transport_bits,
    within,
};
use super::filter::{Statements, Table, target};
use super::gateway::Egress;
use super::group_filter::{Direction, groups, profile};
use super::limits::{self, Limits};
use super::{
    dhcp_filter, dial_filter, gateway_filter, metadata_filter, resolver_filter, route_filter,
    tunnel_filter,
};

/// Before conntrack (-200, `NF_IP_PRI_CONNTRACK`).
const RAW: i32 = -300;
/// After it.
const FILTER: i32 = 0;

/// Neighbour discovery and multicast listener messages that any port must send (RFC 4861, 2710, 3810).
const NEIGHBOUR: [&str; 5] = [
    "nd-neighbor-solicit",
    "nd-router-solicit",
    "mld-listener-report",
    "mld-listener-done",
    "mld2-listener-report",
];

/// What the names of TAPs, tunnels and of gateways' legs begin with (`photon_resource`).
const PORTS: [&str; 3] = ["pt", "px", "pi"];

/// Protocol numbers (IANA): names would need `/etc/protocols` on the host.
pub(super) const ICMP: u32 = 1;
pub(super) const ICMPV6: u32 = 58;

/// Renders the table.
pub fn render(desired: &Desired, limits: Limits, egress: &Egress) -> Table {
    let mut table = Table::new(NfFamily::Bridge);
    sets(&mut table, desired, limits);
    resolver_filter::bridge(&mut table, desired, limits);
    metadata_filter::bridge(&mut table, limits);
    source_chains(&mut table, limits);
    from_guest(&mut table, limits);
    to_guest(&mut table, limits);
    limits::connections(&mut table, desired, limits);
    tunnel_filter::bridge(&mut table, desired);
    gateway_filter::bridge(&mut table, desired);
    route_filter::bridge(&mut table, desired, egress);
    let mut host = vec![
        stray(ibridge, iif, PORTS[0]),
        stray(ibridge, iif, PORTS[1]),
        stray(ibridge, iif, PORTS[2]),
        gateway_filter::not_for_the_host(),
        vec![not_within(ibridge(), "bridges"), accept()],
        // What another host sends is for guests alone.
        vec![within(iif(), "tunnels"), drop()],
        // Frames to the group 01:80:c2:00:00:0x come here without passing prerouting, and the bridge
        // learns from them.
        vec![
            is(
                masked(payload("ether", "daddr"), "ff:ff:ff:ff:ff:f0"),
                text("01:80:c2:00:00:00"),
            ),
            drop(),
        ],
    ];
    host.extend(metadata_filter::neighbour(limits));
    // The host would answer for any of its addresses.
    host.push(vec![
        ether_type("arp"),
        not_within(concat([ibridge(), payload("arp", "daddr ip")]), "gateways4"),
        drop(),
    ]);
    table.base_chain("host", NfHook::Input, RAW, host);
    for vpc in &desired.vpcs {
        groups(&mut table, vpc);
    }
    table
}

/// What comes or goes by an interface that is named as ours are, and whose bridge is none of ours.
fn stray(
    bridge: fn() -> Expression<'static>,
    port: fn() -> Expression<'static>,
    prefix: &str,
) -> Statements {
    vec![
        not_within(bridge(), "bridges"),
        begins(port(), prefix),
        drop(),
    ]
}

fn interface(name: &str) -> Expression<'static> {
    text(name)
}

/// What the fixed chains look up.
fn sets(table: &mut Table, desired: &Desired, limits: Limits) {
    let mut bridges = Vec::new();
    let mut zones = BTreeMap::new();
    let mut routers = BTreeMap::new();
    let mut gateways4 = Vec::new();
    for vpc in &desired.vpcs {
        let zone = format!("{}-zone", vpc.vrf());
        table.chain(&zone, vec![vec![set_zone(vpc.zone)]]);
        let router = router_chain(table, vpc, limits);
        for subnet in &vpc.subnets {
            let bridge = subnet.bridge();
            bridges.push(interface(&bridge));
            gateways4.push(concat([
                interface(&bridge),
                text(subnet.gateway.to_string()),
            ]));
            routers.insert(bridge.clone(), Verdict::Jump(target(&router)));
            zones.insert(bridge, Verdict::Jump(target(&zone)));
        }
    }
    let (mut macs, mut sources4) = (Vec::new(), Vec::new());
    let (mut sources6, mut speakers6) = (Vec::new(), Vec::new());
    let (mut answers4, mut answers6) = (Vec::new(), Vec::new());
    for (one, address4, address6) in answers(desired) {
        let from = |address: String| {
            concat([
                interface(&one.tap()),
                text(one.mac.to_string()),
                text(address),
            ])
        };
        answers4.push(from(address4.to_string()));
        answers6.extend(address6.map(|address| from(address.to_string())));
    }
    for (leg, mac, address) in gateway_filter::legs(desired) {
        let mac = || text(mac.to_string());
        macs.push(concat([interface(&leg), mac()]));
        sources4.push(concat([interface(&leg), mac(), text(address.to_string())]));
    }
    let (mut ingress, mut egress, mut advertise) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (vpc, _, port) in desired.ports() {
        let tap = port.tap();
        let mac = || text(port.mac.to_string());
        macs.push(concat([interface(&tap), mac()]));
        sources4.push(concat([
            interface(&tap),
            mac(),
            text(port.address.to_string()),
        ]));
        if let Some(address) = port.address6 {
            speakers6.push(interface(&tap));
            let own = [address, port.mac.link_local()];
            for address in own {
                sources6.push(concat([interface(&tap), mac(), text(address.to_string())]));
            }
            // The target address begins 8 bytes into the message (RFC 4861 section 4.4).
            let neighbour = format!("{tap}-neighbour");
            table.chain(
                &neighbour,
                own.into_iter()
                    .map(|address| vec![is(transport_bits(64, 128), number(address)), accept()])
                    .chain([vec![drop()]])
                    .collect(),
            );
            advertise.insert(tap.clone(), Verdict::Goto(target(&neighbour)));
        }
        ingress.insert(
            tap.clone(),
            Verdict::Goto(target(&profile(table, vpc, port, Direction::Ingress))),
        );
        egress.insert(
            tap,
            Verdict::Goto(target(&profile(table, vpc, port, Direction::Egress))),
        );
    }
    table.set("bridges", &[Ifname], false, bridges);
    table.set("gateways4", &[Ifname, V4], false, gateways4);
    table.set("macs", &[Ifname, EtherAddr], false, macs);
    table.set("sources4", &[Ifname, EtherAddr, V4], false, sources4);
    table.set("sources6", &[Ifname, EtherAddr, V6], false, sources6);
    table.set("answers4", &[Ifname, EtherAddr, V4], false, answers4);
    table.set("answers6", &[Ifname, EtherAddr, V6], false, answers6);
    table.set("speakers6", &[Ifname], false, speakers6);
    table.map("zones", zones);
    table.map("routers", routers);
    table.map("advertise", advertise);
    table.map("ingress", ingress);
    table.map("egress", egress);
}

/// A guest with ports in several subnets of a VPC answers by the one that its default route names, whichever it was asked
/// by: each port, with the addresses of the same guest's ports in the VPC's other subnets. In the same subnet a
/// neighbour would take the address for this port's.
pub(super) fn answers(
    desired: &Desired,
) -> impl Iterator<Item = (&Port, Ipv4Addr, Option<Ipv6Addr>)> {
    let mut of_guest: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (vpc, subnet, port) in desired.ports() {
        let ports = of_guest.entry((vpc.id, port.owner)).or_default();
        ports.push((subnet.id, port));
    }
    of_guest.into_values().flat_map(|ports| {
        let others = ports.clone();
        ports.into_iter().flat_map(move |(subnet, port)| {
            let others: Vec<_> = others
                .iter()
                .filter(|(elsewhere, _)| *elsewhere != subnet)
                .map(|(_, other)| (port, other.address, other.address6))
                .collect();
            others
        })
    })
}

/// The sets of a VPC with the addresses of its gateways, IPv4 and IPv6.
pub(super) fn gateways(vpc: &Vpc) -> (String, String) {
    let vrf = vpc.vrf();
    (format!("{vrf}-router4"), format!("{vrf}-router6"))
}

/// What the VPC's router itself says, from any of its addresses: echo replies and errors by ICMP, but no redirects, what it was
/// asked for as a resolver, and connections of the host's.
fn router_chain(table: &mut Table, vpc: &Vpc, limits: Limits) -> String {
    let own = vpc
        .subnets
        .iter()
        .map(|subnet| text(subnet.gateway.to_string()));
    let own6 = vpc.subnets.iter().filter_map(|subnet| {
        let (_, gateway) = subnet.v6?;
        Some([gateway, subnet.gateway_mac().link_local()].map(|address| text(address.to_string())))
    });
    let (set4, set6) = gateways(vpc);
    table.set(&set4, &[V4], false, own.collect());
    table.set(&set6, &[V6], false, own6.flatten().collect());
    let chain = format!("{}-router", vpc.vrf());
    let mut rules = vec![
        // A guest that was told of a way past the router would keep to it when its routes are changed.
        vec![
            within(payload("ip", "saddr"), &set4),
            is(payload("icmp", "type"), text("redirect")),
            drop(),
        ],
        vec![
            within(payload("ip6", "saddr"), &set6),
            is(payload("icmpv6", "type"), text("nd-redirect")),
            drop(),
        ],
        vec![
            within(payload("ip", "saddr"), &set4),
            is(l4proto(), Expression::Number(ICMP)),
            accept(),
        ],
        vec![
            within(payload("ip6", "saddr"), &set6),
            is(l4proto(), Expression::Number(ICMPV6)),
            accept(),
        ],
    ];
    rules.extend(resolver_filter::answers(limits, &set4, &set6));
    rules.push(dial_filter::dials(&set4));
    table.chain(&chain, rules);
    chain
}

/// An address as the number that a comparison with bits wants.
fn number(address: Ipv6Addr) -> Expression<'static> {
    text(format!("{:#034x}", u128::from(address)))
}

/// Who sends a packet, by which TAP.
pub(super) fn from4() -> Expression<'static> {
    concat([iif(), payload("ether", "saddr"), payload("ip", "saddr")])
}

/// See [`from4`].
pub(super) fn from6() -> Expression<'static> {
    concat([iif(), payload("ether", "saddr"), payload("ip6", "saddr")])
}

/// Who a packet says it is from. Ends in a verdict for every packet.
fn source_chains(table: &mut Table, limits: Limits) {
    let mac = || concat([iif(), payload("ether", "saddr")]);
    let mut source: Vec<_> = PORTS.map(|prefix| stray(ibridge, iif, prefix)).into();
    source.extend(gateway_filter::outside());
    source.extend([
        vec![not_within(ibridge(), "bridges"), accept()],
        tunnel_filter::arrives(),
        vec![not_within(mac(), "macs"), drop()],
        gateway_filter::arrives(),
    ]);
    // Before anything that costs more.
    source.extend(limits::sending(table, limits));
    source.extend(resolver_filter::asks(limits));
    source.push(dial_filter::answers());
    source.extend(metadata_filter::asks(limits));
    source.extend([
        vec![lookup(ibridge(), "zones")],
        vec![ether_type("ip"), goto("source-ip")],
        vec![ether_type("ip6"), goto("source-ip6")],
        vec![ether_type("arp"), goto("source-arp")],
        vec![drop()],
    ]);
    table.base_chain("source", NfHook::Prerouting, RAW, source);
    table.chain(
        "source-ip",
        vec![
            vec![within(from4(), "sources4"), accept()],
            // Answers only: what they begin is dropped once connections are known.
            vec![within(from4(), "answers4"), accept()],
            // A DHCP client without an address (RFC 2131 section 4.1).
            vec![
                is(payload("ip", "saddr"), text("0.0.0.0")),
                is(payload("ip", "daddr"), text("255.255.255.255")),
                is(payload("udp", "sport"), Expression::Number(68)),
                is(payload("udp", "dport"), Expression::Number(67)),
                accept(),
            ],
            route_filter::others(),
            vec![drop()],
        ],
    );
    table.chain(
        "source-ip6",
        vec![
            vec![within(from6(), "sources6"), accept()],
            vec![within(from6(), "answers6"), accept()],
            // Who has no IPv6 address of ours does not speak IPv6.
            vec![not_within(iif(), "speakers6"), drop()],
            // Before it has an address: duplicate detection, router solicitation, listener reports.
            vec![
                is(payload("ip6", "saddr"), text("::")),
                is(payload("icmpv6", "type"), any_of(NEIGHBOUR)),
                accept(),
            ],
            vec![drop()],
        ],
    );
    table.chain(
        "source-arp",
        vec![
            vec![
                not_within(concat([iif(), payload("arp", "saddr ether")]), "macs"),
                drop(),
            ],
            vec![
                within(
                    concat([iif(), payload("ether", "saddr"), payload("arp", "saddr ip")]),
                    "sources4",
                ),
                accept(),
            ],
            // For the router's MAC, to answer by it.
            vec![
                is(payload("arp", "operation"), text("request")),
                within(
                    concat([iif(), payload("ether", "saddr"), payload("arp", "saddr ip")]),
                    "answers4",
                ),
                accept(),
            ],
            // A probe asks whether an address is free, and claims nothing (RFC 5227).
            vec![
                is(payload("arp", "operation"), text("request")),
                is(payload("arp", "saddr ip"), text("0.0.0.0")),
                accept(),
            ],
            route_filter::others_ask(),
            vec![drop()],
        ],
    );
}

fn from_guest(table: &mut Table, limits: Limits) {
    let to = |port: u32| is(payload("udp", "dport"), Expression::Number(port));
    let mut rules = vec![
        vec![not_within(ibridge(), "bridges"), accept()],
        vec![ether_type("arp"), accept()],
    ];
    rules.extend(resolver_filter::asked(limits));
    rules.push(dial_filter::answered());
    rules.extend(metadata_filter::asked(limits));
    rules.extend(vec![
        gateway_filter::comes_in(),
        // Only the host is router and DHCP server. A client takes an answer from whatever port.
        vec![to(68), drop()],
        vec![to(546), drop()],
        vec![
            is(
                payload("icmpv6", "type"),
                any_of(["nd-router-advert", "nd-redirect"]),
            ),
            drop(),
        ],
        vec![
            is(payload("icmpv6", "type"), text("nd-neighbor-advert")),
            lookup(iif(), "advertise"),
        ],
        vec![
            is(payload("icmpv6", "type"), text("nd-neighbor-advert")),
            drop(),
        ],
        vec![is(payload("icmpv6", "type"), any_of(NEIGHBOUR)), accept()],
        dhcp_filter::nameless_client(),
        dhcp_filter::asks(is(payload("ip", "daddr"), text("255.255.255.255"))),
        dhcp_filter::asks(within(
            concat([ibridge(), payload("ip", "daddr")]),
            "gateways4",
        )),
        vec![ct_known(), accept()],
        vec![ct_state("invalid"), drop()],
        vec![within(from4(), "answers4"), drop()],
        vec![within(from6(), "answers6"), drop()],
        tunnel_filter::judged_already(),
        vec![lookup(iif(), "egress")],
        vec![drop()],
    ]);
    table.base_chain("from-guest", NfHook::Prerouting, FILTER, rules);
}

fn to_guest(table: &mut Table, limits: Limits) {
    let mut rules: Vec<_> = PORTS.map(|prefix| stray(obridge, oif, prefix)).into();
    rules.extend([
        vec![not_within(obridge(), "bridges"), accept()],
        tunnel_filter::leaves(),
        // A frame that is flooded because the bridge has not learnt its destination is not for all.
        vec![
            is(
                masked(payload("ether", "daddr"), "01:00:00:00:00:00"),
                text("00:00:00:00:00:00"),
            ),
            not_within(concat([oif(), payload("ether", "daddr")]), "macs"),
            drop(),
        ],
        gateway_filter::leaves(),
    ]);
    rules.extend(limits::receiving(table, limits));
    rules.extend(metadata_filter::answers(limits));
    rules.extend([
        vec![ether_type("arp"), accept()],
        // Those of guests were looked at where they came in.
        vec![
            is(
                payload("icmpv6", "type"),
                any_of([
                    "nd-neighbor-solicit",
                    "nd-neighbor-advert",
                    "nd-router-advert",
                ]),
            ),
            accept(),
        ],
        // The subnet's DHCP server and the router; nobody else can have their addresses.
        vec![
            within(concat([obridge(), payload("ip", "saddr")]), "gateways4"),
            is(payload("udp", "sport"), Expression::Number(67)),
            is(payload("udp", "dport"), Expression::Number(68)),
            accept(),
        ],
        vec![lookup(obridge(), "routers")],
        // A neighbour's search for a DHCP server.
        vec![is(payload("udp", "dport"), Expression::Number(67)), drop()],
        vec![ct_known(), accept()],
        vec![ct_state("invalid"), drop()],
        vec![lookup(oif(), "ingress")],
        vec![drop()],
    ]);
    table.base_chain("to-guest", NfHook::Postrouting, FILTER, rules);
}
