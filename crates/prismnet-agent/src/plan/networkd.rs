//! The `.netdev` and `.network` files of a host's networks (`systemd.netdev(5)`, `systemd.network(5)`; every key
//! here is known to systemd 257).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use photon_resource::bridge_name;

use super::FILE_PREFIX;
use super::desired::{Desired, Gateway, Port, Subnet, Tunnel, Vpc};
use super::gateway::Egress;
use super::limits::Limits;
use super::peering::{self, End};
use super::{metadata_filter, route, tunnel};

/// File names without directory, and contents.
pub type Files = BTreeMap<String, String>;

/// The highest metric that the kernel's documentation of VRF gives its catch-all route
/// (Documentation/networking/vrf.rst): any route of the VPC wins.
const CATCH_ALL_METRIC: u32 = 4_278_198_272;

/// Lease time in seconds. A guest asks again after half of it.
///
/// It bounds how long a guest waits for its address that calls itself otherwise than before, where the filter can't keep
/// that from networkd ([`super::guest_filter`]): networkd (257 at least) knows a lease by the client identifier alone and
/// offers a leased address to nobody else, though the MAC is the same. Shorter, and guests would lose their addresses while
/// networkd is being restarted.
const LEASE_SECONDS: u32 = 120;

/// DHCP's option with the MTU of the interface (RFC 2132 section 5.1).
const DHCP_MTU: u8 = 26;

/// Of an interface that nothing else is said of, in bytes.
const USUAL_MTU: u32 = 1500;

/// Renders all files of `desired`. Tunnels carry packets of `tunnel_mtu` bytes. Where there is a resolver, the guests of a
/// subnet without name servers are told of it.
pub fn render(desired: &Desired, tunnel_mtu: u32, limits: Limits, egress: &Egress) -> Files {
    let resolver = limits.resolver;
    let mut files = Files::new();
    for gateway in &desired.gateways {
        let (inside, outside) = (gateway.inside_leg(), gateway.outside_leg());
        let (segment, external) = (bridge_name(gateway.transit()), gateway.external_bridge());
        // The namespace makes the legs; networkd only puts them where they belong.
        put(
            &mut files,
            &inside,
            "network",
            leg_network(gateway, &inside, &segment),
        );
        put(
            &mut files,
            &outside,
            "network",
            leg_network(gateway, &outside, &external),
        );
        put(&mut files, &external, "netdev", external_device(gateway));
        put(&mut files, &external, "network", external_network(gateway));
        if let Some(interface) = egress.interfaces.get(&gateway.external_name) {
            let network = uplink_network(gateway, interface);
            put(&mut files, interface, "network", network);
        }
    }
    for (place, end) in peering::ends(desired).iter().enumerate() {
        // Both are made by the file of the first.
        if place % 2 == 0 {
            put(&mut files, &end.name, "netdev", pair_device(end));
        }
        put(
            &mut files,
            &end.name,
            "network",
            end_network(end, tunnel_mtu),
        );
    }
    for vpc in &desired.vpcs {
        let vrf = vpc.vrf();
        put(&mut files, &vrf, "netdev", vrf_device(vpc));
        put(&mut files, &vrf, "network", vrf_network(vpc, limits));
        for subnet in &vpc.subnets {
            let bridge = subnet.bridge();
            put(&mut files, &bridge, "netdev", bridge_device(subnet));
            put(
                &mut files,
                &bridge,
                "network",
                bridge_network(vpc, subnet, tunnel_mtu, resolver),
            );
            if let Some(tunnel) = &subnet.tunnel {
                let vxlan = subnet.vxlan();
                put(&mut files, &vxlan, "netdev", vxlan_device(subnet, tunnel));
                put(
                    &mut files,
                    &vxlan,
                    "network",
                    vxlan_network(subnet, tunnel_mtu),
                );
            }
            for port in &subnet.ports {
                let tap = port.tap();
                put(&mut files, &tap, "netdev", tap_device(port));
                put(
                    &mut files,
                    &tap,
                    "network",
                    tap_network(subnet, port, tunnel_mtu),
                );
            }
        }
    }
    files
}

fn put(files: &mut Files, interface: &str, kind: &str, contents: String) {
    files.insert(format!("{FILE_PREFIX}{interface}.{kind}"), contents);
}

fn vrf_device(vpc: &Vpc) -> String {
    format!(
        "# VPC {}\n[NetDev]\nName={}\nKind=vrf\n\n[VRF]\nTable={}\n",
        vpc.id,
        vpc.vrf(),
        vpc.table
    )
}

/// What holds for every interface here: no address of the host's own, no waiting for a carrier (a bridge has
/// none before its first guest runs), and a guest that goes away takes nothing down.
const QUIET: &str =
    "IPv6AcceptRA=no\nLLDP=no\nEmitLLDP=no\nConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n";

fn vrf_network(vpc: &Vpc, limits: Limits) -> String {
    let mut text = format!(
        "# VPC {}\n[Match]\nName={}\nKind=vrf\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n\
         LinkLocalAddressing=no\n{QUIET}IPv4Forwarding=yes\n",
        vpc.id,
        vpc.vrf()
    );
    if limits.metadata {
        // Of the host alone: never a packet's sender by itself.
        let address = metadata_filter::ADDRESS;
        let _ = write!(text, "\n[Address]\nAddress={address}/32\nScope=host\n");
    }
    // Without these, what the VPC does not know would be looked up in the host's own routing table.
    for destination in ["0.0.0.0/0", "::/0"] {
        let _ = write!(
            text,
            "\n[Route]\nDestination={destination}\nType=unreachable\nTable={}\nMetric={CATCH_ALL_METRIC}\n",
            vpc.table
        );
    }
    for net in route::nowhere(vpc) {
        let _ = write!(
            text,
            "\n[Route]\nDestination={net}\nType=blackhole\nTable={}\n",
            vpc.table
        );
    }
    text
}

fn bridge_device(subnet: &Subnet) -> String {
    // Without a querier, snooping would cut multicast (and with it neighbour discovery) off after a while.
    format!(
        "# subnet {}\n[NetDev]\nName={}\nKind=bridge\nMACAddress={}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n\
         MulticastSnooping=no\n",
        subnet.id,
        subnet.bridge(),
        subnet.gateway_mac()
    )
}

fn bridge_network(vpc: &Vpc, subnet: &Subnet, tunnel_mtu: u32, resolver: bool) -> String {
    // Nobody asks where no port is.
    let inhabited = !subnet.ports.is_empty();
    let mut text = format!(
        "# subnet {}\n[Match]\nName={}\nKind=bridge\n\n[Link]\nRequiredForOnline=no\n{}\n[Network]\nVRF={}\n\
         {QUIET}IPv4Forwarding=yes\nLinkLocalAddressing={}\n",
        subnet.id,
        subnet.bridge(),
        mtu_line(bridge_mtu(subnet, tunnel_mtu)),
        vpc.vrf(),
        if subnet.v6.is_some() { "ipv6" } else { "no" },
    );
    if subnet.v6.is_some() {
        // Every host has the same address: detecting a duplicate would find it.
        text.push_str("IPv6DuplicateAddressDetection=0\n");
        if inhabited {
            text.push_str("IPv6SendRA=yes\n");
        }
    }
    let dhcp = subnet.dhcp && inhabited;
    if dhcp {
        text.push_str("DHCPServer=yes\n");
    }
    let _ = write!(
        text,
        "\n[Address]\nAddress={}/{}\n",
        subnet.gateway,
        subnet.net.prefix_len()
    );
    // In the VRF's table, where the bridge belongs.
    for (net, via) in route::by(vpc, subnet) {
        text.push_str("\n[Route]\n");
        if net != route::DEFAULT {
            let _ = writeln!(text, "Destination={net}");
        }
        let _ = writeln!(text, "Gateway={via}");
    }
    if let Some((net, gateway)) = subnet.v6 {
        let _ = write!(
            text,
            "\n[Address]\nAddress={gateway}/{}\nDuplicateAddressDetection=none\n",
            net.prefix_len()
        );
    }
    if dhcp {
        dhcp_server(&mut text, subnet, tunnel_mtu, resolver);
    }
    if let Some((net, _)) = subnet.v6.filter(|_| inhabited) {
        let _ = write!(
            text,
            "\n[IPv6SendRA]\nManaged=no\nOtherInformation=no\nEmitDomains=no\n{}\n[IPv6Prefix]\nPrefix={net}\n",
            dns(subnet, resolver, IpAddr::is_ipv6)
        );
    }
    text
}

/// A pool of one address, which is the server's own and so is never given: only ports with a static lease
/// are answered. (`PoolSize=0` would mean the whole subnet.) Leases are not kept over a reload, or an address
/// that went from a deleted port to a new one would be refused until the old lease ends; an unknown client
/// that renews is answered from its static lease.
fn dhcp_server(text: &mut String, subnet: &Subnet, tunnel_mtu: u32, resolver: bool) {
    let offset = u32::from(subnet.gateway) - u32::from(subnet.net.network());
    let _ = write!(
        text,
        "\n[DHCPServer]\nServerAddress={}/{}\nPoolOffset={offset}\nPoolSize=1\nPersistLeases=no\n\
         DefaultLeaseTimeSec={LEASE_SECONDS}\nMaxLeaseTimeSec={LEASE_SECONDS}\nEmitRouter=yes\n\
         EmitNTP=no\nEmitSIP=no\nEmitPOP3=no\nEmitSMTP=no\nEmitLPR=no\nEmitTimezone=no\n{}",
        subnet.gateway,
        subnet.net.prefix_len(),
        dns(subnet, resolver, IpAddr::is_ipv4)
    );
    if let Some(mtu) = bridge_mtu(subnet, tunnel_mtu).filter(|_| subnet.tunnel.is_some()) {
        // The interface's MTU (RFC 2132 section 5.1), for guests that do not hear of it from their network card.
        let _ = writeln!(text, "SendOption={DHCP_MTU}:uint16:{mtu}");
    }
    for port in &subnet.ports {
        let _ = write!(
            text,
            "\n# port {}\n[DHCPServerStaticLease]\nMACAddress={}\nAddress={}\n",
            port.id, port.mac, port.address
        );
    }
}

/// Name servers of one family: those of the subnet, or its gateways if it has none and there is a resolver. Told "no"
/// explicitly, or networkd would give out the host's own.
fn dns(subnet: &Subnet, resolver: bool, family: fn(&IpAddr) -> bool) -> String {
    let gateway6 = subnet.v6.map(|(_, gateway)| gateway.into());
    let gateways = [Some(subnet.gateway.into()), gateway6]
        .into_iter()
        .flatten();
    let of_host = gateways.filter(|_| resolver && subnet.dns.is_empty());
    let servers: Vec<String> = subnet
        .dns
        .iter()
        .copied()
        .chain(of_host)
        .filter(family)
        .map(|server| server.to_string())
        .collect();
    if servers.is_empty() {
        "EmitDNS=no\n".to_owned()
    } else {
        format!("EmitDNS=yes\nDNS={}\n", servers.join(" "))
    }
}

fn leg_network(gateway: &Gateway, leg: &str, bridge: &str) -> String {
    format!(
        "# NAT gateway {}\n[Match]\nName={leg}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nBridge={bridge}\n\
         LinkLocalAddressing=no\n{QUIET}KeepConfiguration=yes\n",
        gateway.id
    )
}

fn external_device(gateway: &Gateway) -> String {
    format!(
        "# external network {}\n[NetDev]\nName={}\nKind=bridge\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n\
         MulticastSnooping=no\n",
        gateway.external,
        gateway.external_bridge()
    )
}

/// The host has no address in it.
fn external_network(gateway: &Gateway) -> String {
    format!(
        "# external network {}\n[Match]\nName={}\nKind=bridge\n\n[Link]\nRequiredForOnline=no\n\n[Network]\n\
         LinkLocalAddressing=no\n{QUIET}",
        gateway.external,
        gateway.external_bridge()
    )
}

/// Of the host's own interface, which its operator gave for this.
fn uplink_network(gateway: &Gateway, interface: &str) -> String {
    format!(
        "# external network {}\n[Match]\nName={interface}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nBridge={}\n\
         LinkLocalAddressing=no\n{QUIET}",
        gateway.external,
        gateway.external_bridge()
    )
}

fn pair_device(end: &End<'_>) -> String {
    format!(
        "# peering of VPC {}\n[NetDev]\nName={}\nKind=veth\n\n[Peer]\nName={}\n",
        end.vpc.id, end.name, end.peer
    )
}

fn end_network(end: &End<'_>, tunnel_mtu: u32) -> String {
    format!(
        "# peering of VPC {}\n[Match]\nName={}\n\n[Link]\nRequiredForOnline=no\n{}\n[Network]\nVRF={}\n\
         LinkLocalAddressing=no\n{QUIET}IPv4Forwarding=yes\n\n[Address]\nAddress={}/31\n\n[Route]\nDestination={}\nGateway={}\n",
        end.vpc.id,
        end.name,
        mtu_line(Some(end_mtu(end, tunnel_mtu))),
        end.vpc.vrf(),
        end.address,
        end.other,
        end.gateway
    )
}

/// What every guest of the VPC can receive: so who sends too much to it learns that from its own router. The other end's may be
/// another, of which that one's router tells.
pub fn end_mtu(end: &End<'_>, tunnel_mtu: u32) -> u32 {
    let subnets = end.vpc.subnets.iter();
    let carried = subnets.map(|subnet| bridge_mtu(subnet, tunnel_mtu).unwrap_or(USUAL_MTU));
    carried.min().unwrap_or(USUAL_MTU)
}

fn tap_device(port: &Port) -> String {
    // VNetHeader: the guest's network card may leave checksums and segmentation to the host.
    format!(
        "# port {}\n[NetDev]\nName={}\nKind=tap\n\n[Tap]\nUser={owner}\nGroup={owner}\nVNetHeader=yes\n",
        port.id,
        port.tap(),
        owner = port.owner
    )
}

fn tap_network(subnet: &Subnet, port: &Port, tunnel_mtu: u32) -> String {
    format!(
        "# port {}\n[Match]\nName={}\n\n[Link]\nRequiredForOnline=no\n{}\n[Network]\nBridge={}\n\
         LinkLocalAddressing=no\n{QUIET}KeepConfiguration=yes\n",
        port.id,
        port.tap(),
        mtu_line(tap_mtu(subnet, port, tunnel_mtu)),
        subnet.bridge()
    )
}

fn vxlan_device(subnet: &Subnet, tunnel: &Tunnel) -> String {
    // Independent: of no link, so that it stays when the underlay's is configured again.
    format!(
        "# subnet {}\n[NetDev]\nName={}\nKind=vxlan\n\n[VXLAN]\nVNI={}\nLocal={}\nDestinationPort={}\nMacLearning=no\n\
         Independent=yes\n",
        subnet.id,
        subnet.vxlan(),
        tunnel.vni,
        tunnel.local,
        tunnel::PORT
    )
}

fn vxlan_network(subnet: &Subnet, tunnel_mtu: u32) -> String {
    format!(
        "# subnet {}\n[Match]\nName={}\nKind=vxlan\n\n[Link]\nRequiredForOnline=no\n{}\n[Network]\nBridge={}\n\
         LinkLocalAddressing=no\n{QUIET}KeepConfiguration=yes\n\n[Bridge]\nLearning=no\nUnicastFlood=no\n\
         MulticastFlood=no\nNeighborSuppression=yes\n",
        subnet.id,
        subnet.vxlan(),
        mtu_line(Some(tunnel_mtu)),
        subnet.bridge()
    )
}

/// What the TAP carries, in bytes; `None`: the usual. Where the subnet goes on on other hosts, no less is lost to a guest on
/// the same host than to one elsewhere, so that who sends too much learns it at once.
pub fn tap_mtu(subnet: &Subnet, port: &Port, tunnel_mtu: u32) -> Option<u32> {
    let carried = subnet.tunnel.as_ref().map(|_| tunnel_mtu);
    let asked = Some(port.mtu).filter(|mtu| *mtu > carried.unwrap_or(USUAL_MTU));
    asked.or(carried)
}

/// The same of the bridge: what its largest port may send, or it would tell guests less in its advertisements.
pub fn bridge_mtu(subnet: &Subnet, tunnel_mtu: u32) -> Option<u32> {
    let ports = subnet.ports.iter();
    let largest = ports.filter_map(|port| tap_mtu(subnet, port, tunnel_mtu));
    let carried = subnet.tunnel.as_ref().map(|_| tunnel_mtu);
    largest.chain(carried).max()
}

fn mtu_line(mtu: Option<u32>) -> String {
    mtu.map(|mtu| format!("MTUBytes={mtu}\n"))
        .unwrap_or_default()
}
