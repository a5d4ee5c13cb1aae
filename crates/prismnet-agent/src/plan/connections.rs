//! Which tracked connections the rules allow no longer.
//!
//! The filter lets packets of a known connection pass without looking at rules again. So when rules change, the
//! agent looks through the connections and takes those out of the kernel's table that could not be made any more;
//! what still comes of them is then judged as new, and dropped.

use std::net::IpAddr;

use ipnet::IpNet;
use photon_host::conntrack::Connection;
use photon_resource::SecurityGroupId;
use sha2::{Digest, Sha256};

use super::desired::{Desired, Group, Port, Protocol, Remote, Rule, Subnet, Vpc};
use super::difference::PeerRange;
use super::route;

/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Those of `connections` that are in a VPC of this host and that its rules would not let begin.
pub fn forbidden(desired: &Desired, connections: &[Connection]) -> Vec<Connection> {
    connections
        .iter()
        .filter(|connection| {
            desired
                .vpcs
                .iter()
                .find(|vpc| vpc.zone == connection.zone)
                .is_some_and(|vpc| !allows(vpc, connection))
        })
        .cloned()
        .collect()
}

/// Those of `connections` that went by a peering that is no more: to or from what was reached by it.
pub fn parted(gone: &[PeerRange], connections: &[Connection]) -> Vec<Connection> {
    let by = |range: &PeerRange, connection: &Connection| {
        let ends = [connection.source, connection.destination];
        let net = IpNet::from(range.net);
        range.zone == connection.zone && ends.iter().any(|end| net.contains(end))
    };
    let connections = connections.iter();
    connections
        .filter(|connection| gone.iter().any(|range| by(range, connection)))
        .cloned()
        .collect()
}

/// Changes when other connections may be allowed.
pub fn digest(desired: &Desired) -> String {
    let mut digest = Sha256::new();
    for (vpc, subnet, port) in desired.ports() {
        // The printed form of what is looked at below; it need not be the same in another version of this program,
        // which then looks once more.
        digest.update(format!(
            "{} {} {} {:?} {:?} {:?}\n",
            vpc.zone, subnet.gateway, port.address, port.address6, subnet.v6, port.groups
        ));
    }
    for vpc in &desired.vpcs {
        digest.update(format!("{} {:?} {:?}\n", vpc.zone, vpc.groups, vpc.routes));
    }
    digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn allows(vpc: &Vpc, connection: &Connection) -> bool {
    let port_of = |address: IpAddr| {
        let ports = vpc.subnets.iter().flat_map(|subnet| &subnet.ports);
        let own = ports.into_iter().find(|port| has(port, address));
        own.or_else(|| route::in_front_of(vpc, address))
    };
    if is_hosts_own(vpc, connection) {
        return true;
    }
    // Of an end that is on another host, that host judges.
    let sender = port_of(connection.source);
    let receiver = port_of(connection.destination);
    sender.is_none_or(|port| {
        permits(vpc, port, connection, connection.destination, |group| {
            &group.egress
        })
    }) && receiver.is_none_or(|port| {
        permits(vpc, port, connection, connection.source, |group| {
            &group.ingress
        })
    })
}

fn has(port: &Port, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => port.address == address,
        IpAddr::V6(address) => port.address6 == Some(address),
    }
}

/// What the filter accepts whatever the rules say: DHCP, and what the VPC's router itself says by ICMP.
fn is_hosts_own(vpc: &Vpc, connection: &Connection) -> bool {
    let is_router = |subnet: &Subnet, address: IpAddr| match address {
        IpAddr::V4(address) => subnet.gateway == address,
        IpAddr::V6(address) => subnet.v6.is_some_and(|(_, gateway)| {
            gateway == address || subnet.gateway_mac().link_local() == address
        }),
    };
    match connection.protocol {
        ICMP | ICMPV6 => vpc
            .subnets
            .iter()
            .any(|subnet| is_router(subnet, connection.source)),
        UDP => matches!(connection.ports, Some((68, 67) | (67, 68))),
        _ => false,
    }
}

fn permits(
    vpc: &Vpc,
    port: &Port,
    connection: &Connection,
    remote: IpAddr,
    rules: impl Fn(&Group) -> &Vec<Rule>,
) -> bool {
    port.groups
        .iter()
        .filter_map(|id| vpc.groups.get(id))
        .flat_map(rules)
        .any(|rule| covers(rule.protocol, connection) && reaches(vpc, &rule.remote, remote))
}

fn covers(protocol: Protocol, connection: &Connection) -> bool {
    let to = |low: u16, high: u16| {
        connection
            .ports
            .is_some_and(|(_, destination)| (low..=high).contains(&destination))
    };
    match protocol {
        Protocol::Any => true,
        Protocol::Tcp(low, high) => connection.protocol == TCP && to(low, high),
        Protocol::Udp(low, high) => connection.protocol == UDP && to(low, high),
        Protocol::Icmp => match connection.source {
            IpAddr::V4(_) => connection.protocol == ICMP,
            IpAddr::V6(_) => connection.protocol == ICMPV6,
        },
    }
}

fn reaches(vpc: &Vpc, remote: &Remote, address: IpAddr) -> bool {
    let is_member = |id: &SecurityGroupId| {
        vpc.groups
            .get(id)
            .is_some_and(|group| group.members.contains(&address))
    };
    match remote {
        // Of either family.
        Remote::Any => true,
        Remote::Net(net) => net.contains(&address),
        Remote::Group(id) => is_member(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::desired::Way;
    use crate::plan::tests::{id, small};

    const ZONE: u16 = 77;

    fn connection(protocol: u8, source: &str, destination: &str, port: u16) -> Connection {
        Connection {
            zone: ZONE,
            protocol,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ports: matches!(protocol, TCP | UDP).then_some((40000, port)),
            icmp: None,
        }
    }

    /// Two ports of one group, 10.0.1.11 and .12: in from the group, TCP 22 in from 10/8, everything out.
    fn cut(desired: &Desired, connection: Connection) -> bool {
        !forbidden(desired, &[connection]).is_empty()
    }

    fn ingress(rules: Vec<Rule>) -> Desired {
        let mut desired = small();
        desired.vpcs[0]
            .groups
            .values_mut()
            .for_each(|group| group.ingress = rules.clone());
        desired
    }

    fn rule(protocol: Protocol, remote: Remote) -> Rule {
        Rule { protocol, remote }
    }

    #[test]
    fn what_the_rules_allow_goes_on() {
        let desired = small();
        for (protocol, port) in [(TCP, 80), (UDP, 53), (ICMP, 0)] {
            assert!(!cut(
                &desired,
                connection(protocol, "10.0.1.11", "10.0.1.12", port)
            ));
        }
        assert!(!cut(&desired, connection(TCP, "10.9.9.9", "10.0.1.12", 22)));
        assert!(!cut(
            &desired,
            connection(TCP, "fd00::f816:3eff:fe00:b", "10.0.1.99", 22)
        ));
    }

    #[test]
    fn what_they_allow_no_longer_is_cut() {
        let desired = small();
        assert!(cut(&desired, connection(TCP, "10.9.9.9", "10.0.1.12", 23)));
        assert!(cut(&desired, connection(UDP, "10.9.9.9", "10.0.1.12", 22)));
        assert!(cut(&desired, connection(TCP, "11.9.9.9", "10.0.1.12", 22)));
        let nothing = ingress(Vec::new());
        assert!(cut(&nothing, connection(TCP, "10.0.1.11", "10.0.1.12", 22)));
        assert!(cut(&nothing, connection(ICMP, "10.0.1.11", "10.0.1.12", 0)));
    }

    #[test]
    fn each_end_is_asked_for_its_own_direction() {
        let mut desired = small();
        let group = desired.vpcs[0].groups.values_mut().next().unwrap();
        group.egress.clear();
        assert!(cut(&desired, connection(TCP, "10.0.1.11", "10.9.9.9", 80)));
        assert!(!cut(&desired, connection(TCP, "10.9.9.9", "10.0.1.12", 22)));
    }

    #[test]
    fn protocols_ports_and_remotes_are_told_apart() {
        let from = "10.0.1.11";
        let cases = [
            (rule(Protocol::Tcp(80, 90), Remote::Any), TCP, 80, false),
            (rule(Protocol::Tcp(80, 90), Remote::Any), TCP, 90, false),
            (rule(Protocol::Tcp(80, 90), Remote::Any), TCP, 91, true),
            (rule(Protocol::Tcp(80, 90), Remote::Any), UDP, 80, true),
            (rule(Protocol::Udp(53, 53), Remote::Any), UDP, 53, false),
            (rule(Protocol::Icmp, Remote::Any), ICMP, 0, false),
            (rule(Protocol::Icmp, Remote::Any), TCP, 80, true),
            (
                rule(Protocol::Any, Remote::Net("10.0.1.8/29".parse().unwrap())),
                TCP,
                80,
                false,
            ),
            (
                rule(Protocol::Any, Remote::Net("10.0.2.0/24".parse().unwrap())),
                TCP,
                80,
                true,
            ),
            (rule(Protocol::Any, Remote::Group(id(0x90))), TCP, 80, false),
            (rule(Protocol::Any, Remote::Group(id(0x91))), TCP, 80, true),
        ];
        for (rule, protocol, port, expected) in cases {
            let shown = format!("{rule:?} {protocol} {port}");
            let desired = ingress(vec![rule]);
            let seen = cut(&desired, connection(protocol, from, "10.0.1.12", port));
            assert_eq!(seen, expected, "{shown}");
        }
    }

    #[test]
    fn other_zones_and_the_hosts_own_service_are_left_alone() {
        let nothing = ingress(Vec::new());
        let mut other = connection(TCP, "10.0.1.11", "10.0.1.12", 80);
        other.zone = ZONE + 1;
        assert!(!cut(&nothing, other));
        assert!(!cut(&nothing, connection(ICMP, "10.0.1.1", "10.0.1.12", 0)));
        let mut dhcp = connection(UDP, "10.0.1.1", "10.0.1.12", 68);
        dhcp.ports = Some((67, 68));
        assert!(!cut(&nothing, dhcp));
        // The gateway's address excuses no other protocol.
        assert!(cut(&nothing, connection(TCP, "10.0.1.1", "10.0.1.12", 22)));
    }

    #[test]
    fn who_is_behind_a_port_is_judged_by_it() {
        let mut desired = small();
        let vpc = &mut desired.vpcs[0];
        let way = Way::Port("10.0.1.12".parse().unwrap());
        vpc.routes.insert("192.168.0.0/16".parse().unwrap(), way);
        let before = digest(&desired);
        // In by TCP 22 from 10/8, whoever of those behind it is meant.
        let ssh = |port| connection(TCP, "10.9.9.9", "192.168.7.7", port);
        assert!(!cut(&desired, ssh(22)));
        assert!(cut(&desired, ssh(23)));
        let group = desired.vpcs[0].groups.values_mut().next().unwrap();
        group.egress.clear();
        assert!(cut(
            &desired,
            connection(TCP, "192.168.7.7", "10.9.9.9", 80)
        ));
        assert!(!cut(&desired, connection(TCP, "192.0.2.7", "10.9.9.9", 80)));
        assert_ne!(before, digest(&desired));
    }

    #[test]
    fn what_went_by_a_peering_that_is_no_more_is_cut() {
        let gone = [PeerRange {
            zone: ZONE,
            net: "10.9.0.0/16".parse().unwrap(),
        }];
        let mut other = connection(TCP, "10.9.9.9", "10.0.1.12", 22);
        let cut =
            |connection: &Connection| !parted(&gone, std::slice::from_ref(connection)).is_empty();
        assert!(cut(&other));
        assert!(cut(&connection(UDP, "10.0.1.12", "10.9.0.1", 53)));
        assert!(!cut(&connection(TCP, "10.8.9.9", "10.0.1.12", 22)));
        other.zone = ZONE + 1;
        assert!(!cut(&other));
    }

    #[test]
    fn the_digest_changes_with_rules_and_members() {
        let before = digest(&small());
        assert_eq!(before, digest(&small()));
        assert_ne!(before, digest(&ingress(Vec::new())));
        let mut desired = small();
        let group = desired.vpcs[0].groups.values_mut().next().unwrap();
        group.members.clear();
        assert_ne!(before, digest(&desired));
    }
}
