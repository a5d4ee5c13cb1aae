//! Security group rules as boxes of ports and addresses, in sets in which no two overlap.
//!
//! nftables looks a concatenation of ranges up in one step, however many there are, but refuses ranges that
//! overlap in a set. Cutting overlapping rules into boxes that do not would make up to the square of their number, so each
//! length of prefix has a set of its own: two networks of one length are the same or apart, and the ports of the same are
//! joined. A group has no more boxes than rules, and no more sets than lengths.

use std::cmp::Reverse;
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

/// Bits of an address that a network leaves open: 0 for a single address.
pub type Width = u32;

/// What rules with addresses allow in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByAddress {
    /// Any protocol from these addresses.
    pub any: Vec<Range<u128>>,
    /// ICMP from these.
    pub icmp: Vec<Range<u128>>,
    /// TCP and UDP, by how wide the network is; no two boxes of a width overlap.
    pub cells: BTreeMap<Width, Vec<Cell>>,
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
        cells: cells::<A>(rules),
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

/// The networks of a transport, widest first, each with its ports.
type Networks = BTreeMap<(Reverse<Width>, Range<u128>), Vec<Range<u128>>>;

/// Joins the ports of each network, and leaves out what a wider network allows anyway. Only what is wholly within it: to
/// cut out the rest would be to multiply again.
fn cells<A: Address>(rules: &[Rule]) -> BTreeMap<Width, Vec<Cell>> {
    let mut cells: BTreeMap<Width, Vec<Cell>> = BTreeMap::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut networks = Networks::new();
        for rule in rules {
            let (Some((low, high)), Some(addresses)) =
                (transport.ports(rule.protocol), A::range(&rule.remote))
            else {
                continue;
            };
            let network = networks.entry((Reverse(width(addresses)), addresses));
            network.or_default().push((low.into(), high.into()));
        }
        let mut wider: Vec<(Range<u128>, Vec<Range<u128>>)> = Vec::new();
        for ((Reverse(width), addresses), ports) in networks {
            let around = wider
                .iter()
                .filter(|((low, high), _)| *low <= addresses.0 && addresses.1 <= *high)
                .flat_map(|(_, ports)| ports.iter().copied());
            let allowed = merged(around.collect());
            let mut ports = merged(ports);
            ports.retain(|(low, high)| {
                let holds = |(from, to): &Range<u128>| from <= low && high <= to;
                !allowed.iter().any(holds)
            });
            if ports.is_empty() {
                continue;
            }
            // Within u16, because they came from there.
            let boxes = ports
                .iter()
                .map(|(low, high)| (transport, (*low as u16, *high as u16), addresses));
            cells.entry(width).or_default().extend(boxes);
            wider.push((addresses, ports));
        }
    }
    cells
}

/// A network's addresses are 2 to the power of this.
fn width((low, high): Range<u128>) -> Width {
    (high - low).count_ones()
}

#[cfg(test)]
mod tests;
