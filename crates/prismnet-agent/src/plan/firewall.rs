//! `table inet photon`: what guests may ask of the host, and what the host may route.
//!
//! A guest may ask the host for an address, for names and what it is, and ping its gateway; everything else of the host (its services,
//! its own addresses) is not there. Packets are routed from a VPC's VRF to its own bridges and peerings only, and there to addresses of
//! ports, to its gateway, or where a route of it leads: the host looks for no others, so that a guest's search through a network takes no place in the host's table of
//! neighbours, which is everybody's.

use photon_host::nft::expr::Expression;
use photon_host::nft::schema::SetType::{Ifname, Ipv4Addr, Ipv6Addr};
use photon_host::nft::types::{NfFamily, NfHook};

use super::desired::Desired;
use super::filter::Table;
use super::filter::statement::{
    accept, any_of, begins, concat, drop, iif, is, not_within, oif, payload, text, within,
};
use super::limits::Limits;
use super::{
    dial_filter, metadata_filter, peering_filter, resolver_filter, route_filter, tunnel_filter,
};

/// What the names of TAPs, bridges, VRFs, tunnels, and of gateways' and peerings' interfaces begin with (`photon_resource`): none of them is the host's, also when its VPC
/// is not on this host any more, and it is not gone yet.
const OURS: [&str; 8] = ["pt", "pb", "pv", "px", "pe", "pi", "po", "pr"];

/// Before a host's own firewall (0), which may drop more but not allow what is dropped here.
const PRIORITY: i32 = -10;
/// Before conntrack (-200, `NF_IP_PRI_CONNTRACK`).
const RAW: i32 = -300;

/// Renders the table.
pub fn render(desired: &Desired, limits: Limits) -> Table {
    let mut table = Table::new(NfFamily::INet);
    let (mut domains, mut lanes, mut exits) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gateways4, mut gateways6) = (Vec::new(), Vec::new());
    let (mut residents4, mut residents6) = (Vec::new(), Vec::new());
    for vpc in &desired.vpcs {
        let vrf = vpc.vrf();
        domains.push(text(&vrf));
        for subnet in &vpc.subnets {
            let bridge = subnet.bridge();
            domains.push(text(&bridge));
            // A routed packet has come by the VRF, as the hook sees it.
            lanes.push(concat([text(&vrf), text(&bridge)]));
            // What is none of the VPC's own addresses goes to its gateway.
            exits.extend(
                subnet
                    .default_via
                    .map(|_| concat([text(&vrf), text(&bridge)])),
            );
            for interface in [&vrf, &bridge] {
                gateways4.push(concat([
                    text(interface.as_str()),
                    text(subnet.gateway.to_string()),
                ]));
                if let Some((_, gateway)) = subnet.v6 {
                    gateways6.push(concat([
                        text(interface.as_str()),
                        text(gateway.to_string()),
                    ]));
                }
            }
            for port in &subnet.ports {
                let at = |address: String| concat([text(&bridge), text(address)]);
                residents4.push(at(port.address.to_string()));
                residents6.extend(port.address6.map(|address| at(address.to_string())));
            }
            for port in &subnet.remote_ports {
                let at = |address: String| concat([text(&bridge), text(address)]);
                residents4.push(at(port.address.to_string()));
                residents6.extend(port.address6.map(|address| at(address.to_string())));
            }
            if subnet.v6.is_some() {
                let link_local = subnet.gateway_mac().link_local();
                gateways6.push(concat([text(&bridge), text(link_local.to_string())]));
            }
        }
    }
    // The VRF is there once for each of its subnets' gateways; those differ, domains do not repeat.
    table.set("domains", &[Ifname], false, domains);
    table.set("lanes", &[Ifname, Ifname], false, lanes);
    table.set("exits", &[Ifname, Ifname], false, exits);
    table.set("gateways4", &[Ifname, Ipv4Addr], false, gateways4);
    table.set("gateways6", &[Ifname, Ipv6Addr], false, gateways6);
    table.set("residents4", &[Ifname, Ipv4Addr], false, residents4);
    table.set("residents6", &[Ifname, Ipv6Addr], false, residents6);

    let to_server = || is(payload("udp", "dport"), Expression::Number(67));
    let unknown = |prefix| vec![not_within(iif(), "domains"), begins(iif(), prefix), drop()];
    let mut input = tunnel_filter::host(&mut table, desired);
    input.extend(OURS.map(unknown));
    input.extend([
        vec![not_within(iif(), "domains"), accept()],
        vec![
            is(payload("ip", "daddr"), text("255.255.255.255")),
            to_server(),
            accept(),
        ],
        vec![
            within(concat([iif(), payload("ip", "daddr")]), "gateways4"),
            to_server(),
            accept(),
        ],
    ]);
    input.extend(resolver_filter::input(limits));
    input.push(dial_filter::input());
    input.extend(metadata_filter::input(limits));
    input.extend([
        vec![
            within(concat([iif(), payload("ip", "daddr")]), "gateways4"),
            is(payload("icmp", "type"), text("echo-request")),
            accept(),
        ],
        vec![
            within(concat([iif(), payload("ip6", "daddr")]), "gateways6"),
            is(payload("icmpv6", "type"), text("echo-request")),
            accept(),
        ],
        vec![
            is(
                payload("icmpv6", "type"),
                any_of([
                    "nd-neighbor-solicit",
                    "nd-neighbor-advert",
                    "nd-router-solicit",
                ]),
            ),
            accept(),
        ],
        vec![drop()],
    ]);
    table.base_chain("input", NfHook::Input, PRIORITY, input);
    let mut untracked = resolver_filter::untracked(limits);
    untracked.extend(metadata_filter::untracked(limits));
    untracked.extend(dial_filter::untracked());
    table.base_chain("untracked-answers", NfHook::Output, RAW, untracked);
    route_filter::host(&mut table, desired);
    peering_filter::host(&mut table, desired);
    let lane = || within(concat([iif(), oif()]), "lanes");
    let mut forward: Vec<_> = [("ip", "residents4"), ("ip6", "residents6")]
        .into_iter()
        .map(|(protocol, residents)| {
            let to = concat([oif(), payload(protocol, "daddr")]);
            vec![lane(), within(to, residents), accept()]
        })
        .collect();
    forward.push(route_filter::forward(lane()));
    forward.push(peering_filter::forward());
    forward.push(vec![within(concat([iif(), oif()]), "exits"), accept()]);
    for prefix in OURS {
        forward.push(vec![begins(iif(), prefix), drop()]);
        forward.push(vec![begins(oif(), prefix), drop()]);
    }
    table.base_chain("forward", NfHook::Forward, PRIORITY, forward);
    table
}
