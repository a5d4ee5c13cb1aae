//! Security group rules as disjoint boxes of ports and addresses.
//!
//! nftables looks a concatenation of ranges up in one step, however many there are, but refuses ranges that
//! overlap in a set. So overlapping rules are cut into boxes that do not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use photon_resource::SecurityGroupId;

use super::desired::{Protocol, Remote, Rule};

/// Inclusive range.
pub type Range<T> = (T, T);

/// An address as a number, so that both families are cut alike.
pub trait Address: Copy {
    /// The family's whole range.
    const ALL: Range<u128>;
    /// Back from a number of [`Self::ALL`].
    fn text(number: u128) -> String;
    /// The range of a rule's remote in this family, if it has one.
    fn range(remote: &Remote) -> Option<Range<u128>>;
    /// The address as a number, if it is of this family.
    fn number(address: &IpAddr) -> Option<u128>;
}

impl Address for Ipv4Addr {
    const ALL: Range<u128> = (0, u32::MAX as u128);
    fn text(number: u128) -> String {
        // Numbers come from `ALL`.
        Self::from(number as u32).to_string()
    }
    fn range(remote: &Remote) -> Option<Range<u128>> {
        match remote {
            Remote::Any => Some(Self::ALL),
            Remote::Net(ipnet::IpNet::V4(net)) => Some((
                u32::from(net.network()).into(),
                u32::from(net.broadcast()).into(),
            )),
            _ => None,
        }
    }
    fn number(address: &IpAddr) -> Option<u128> {
        match address {
            IpAddr::V4(address) => Some(u32::from(*address).into()),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for Ipv6Addr {
    const ALL: Range<u128> = (0, u128::MAX);
    fn text(number: u128) -> String {
        Self::from(number).to_string()
    }
    fn range(remote: &Remote) -> Option<Range<u128>> {
        match remote {
            Remote::Any => Some(Self::ALL),
            Remote::Net(ipnet::IpNet::V6(net)) => {
                Some((net.network().into(), net.broadcast().into()))
            }
            _ => None,
        }
    }
    fn number(address: &IpAddr) -> Option<u128> {
        match address {
            IpAddr::V6(address) => Some((*address).into()),
            IpAddr::V4(_) => None,
        }
    }
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The number of the protocol (IANA). Names would need `/etc/protocols` on the host.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    fn ports(self, protocol: Protocol) -> Option<Range<u16>> {
        match (self, protocol) {
            (Self::Tcp, Protocol::Tcp(low, high)) | (Self::Udp, Protocol::Udp(low, high)) => {
                Some((low, high))
            }
            _ => None,
        }
    }
}

/// One box: a transport, ports, addresses.
pub type Cell = (Transport, Range<u16>, Range<u128>);

/// What rules with addresses allow in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByAddress {
    /// Any protocol from these addresses.
    pub any: Vec<Range<u128>>,
    /// ICMP from these.
    pub icmp: Vec<Range<u128>>,
    /// TCP and UDP; no two boxes overlap.
    pub cells: Vec<Cell>,
}

/// What rules with a remote group allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByGroup {
    /// Any protocol.
    pub any: bool,
    /// ICMP.
    pub icmp: bool,
    /// TCP and UDP; no two ranges of a transport overlap.
    pub ports: Vec<(Transport, Range<u16>)>,
}

/// Compiles the rules whose remote is addresses of family `A`.
pub fn by_address<A: Address>(rules: &[Rule]) -> ByAddress {
    let of = |wanted: fn(&Protocol) -> bool| {
        merged(
            rules
                .iter()
                .filter(|rule| wanted(&rule.protocol))
                .filter_map(|rule| A::range(&rule.remote))
                .collect(),
        )
    };
    ByAddress {
        any: of(|protocol| *protocol == Protocol::Any),
        icmp: of(|protocol| *protocol == Protocol::Icmp),
        cells: [Transport::Tcp, Transport::Udp]
            .into_iter()
            .flat_map(|transport| {
                cells::<A>(transport, rules)
                    .into_iter()
                    .map(move |(ports, addresses)| (transport, ports, addresses))
            })
            .collect(),
    }
}

/// Compiles the rules whose remote is a group.
pub fn by_group(rules: &[Rule]) -> BTreeMap<SecurityGroupId, ByGroup> {
    let mut groups: BTreeMap<SecurityGroupId, ByGroup> = BTreeMap::new();
    for rule in rules {
        let Remote::Group(id) = rule.remote else {
            continue;
        };
        let group = groups.entry(id).or_default();
        match rule.protocol {
            Protocol::Any => group.any = true,
            Protocol::Icmp => group.icmp = true,
            Protocol::Tcp(low, high) => group.ports.push((Transport::Tcp, (low, high))),
            Protocol::Udp(low, high) => group.ports.push((Transport::Udp, (low, high))),
        }
    }
    for group in groups.values_mut() {
        let ports = std::mem::take(&mut group.ports);
        for transport in [Transport::Tcp, Transport::Udp] {
            let of_transport = ports
                .iter()
                .filter(|(of, _)| *of == transport)
                .map(|(_, (low, high))| (u128::from(*low), u128::from(*high)))
                .collect();
            group.ports.extend(
                merged(of_transport)
                    .into_iter()
                    // Within u16, because they came from there.
                    .map(|(low, high)| (transport, (low as u16, high as u16))),
            );
        }
    }
    groups
}

/// Sorted, without overlaps, neighbours joined.
pub fn merged(mut ranges: Vec<Range<u128>>) -> Vec<Range<u128>> {
    ranges.sort_unstable();
    let mut result: Vec<Range<u128>> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match result.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = (*end).max(high),
            _ => result.push((low, high)),
        }
    }
    result
}

/// Cuts at every port where a rule begins or ends; between two cuts the addresses are the union of the rules
/// that cover it. Slices with the same addresses are joined again.
fn cells<A: Address>(transport: Transport, rules: &[Rule]) -> Vec<(Range<u16>, Range<u128>)> {
    let boxes: Vec<(Range<u16>, Range<u128>)> = rules
        .iter()
        .filter_map(|rule| Some((transport.ports(rule.protocol)?, A::range(&rule.remote)?)))
        .collect();
    let mut cuts: Vec<u32> = boxes
        .iter()
        .flat_map(|((low, high), _)| [u32::from(*low), u32::from(*high) + 1])
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut slices: Vec<(Range<u32>, Vec<Range<u128>>)> = Vec::new();
    for pair in cuts.windows(2) {
        let (low, high) = (pair[0], pair[1] - 1);
        let addresses = merged(
            boxes
                .iter()
                .filter(|((from, to), _)| u32::from(*from) <= low && high <= u32::from(*to))
                .map(|(_, addresses)| *addresses)
                .collect(),
        );
        match slices.last_mut() {
            Some(((_, end), before)) if *end + 1 == low && *before == addresses => *end = high,
            _ if addresses.is_empty() => {}
            _ => slices.push(((low, high), addresses)),
        }
    }
    slices
        .into_iter()
        .flat_map(|((low, high), addresses)| {
            // At most 65535: cuts are at most 65536 and a slice ends one before.
            let ports = (low as u16, high as u16);
            addresses.into_iter().map(move |range| (ports, range))
        })
        .collect()
}

#[cfg(test)]
mod tests;
