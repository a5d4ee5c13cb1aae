//! Into how many boxes of ports and addresses a host cuts a group's rules: its filter looks an address and a port up in one
//! step, in sets whose elements must not overlap.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{Direction, PortRange, Remote, Rule, Traffic};

/// Which of a group's rules are cut together: those of one set.
type Set = (Direction, bool, Transport);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Transport {
    Tcp,
    Udp,
}

/// As many as rules have at most: each range of ports counts as often as others begin or end within it. A host, which joins
/// what lies side by side, needs no more.
pub(super) fn cells(rules: &[Rule]) -> usize {
    let mut sets: Vec<(Set, PortRange)> = Vec::with_capacity(2 * rules.len());
    let mut plain = 0;
    for rule in rules {
        let (transport, ports) = match (rule.traffic, rule.remote) {
            (Traffic::Tcp(ports), Remote::Anybody | Remote::Cidr(_)) => (Transport::Tcp, ports),
            (Traffic::Udp(ports), Remote::Anybody | Remote::Cidr(_)) => (Transport::Udp, ports),
            // Of a group's ports, and of all traffic, there is one at most.
            _ => {
                plain += 1;
                continue;
            }
        };
        for ipv6 in [false, true] {
            let concerned = match rule.remote {
                Remote::Cidr(IpNet::V4(_)) => !ipv6,
                Remote::Cidr(IpNet::V6(_)) => ipv6,
                _ => true,
            };
            if concerned {
                sets.push(((rule.direction, ipv6, transport), ports));
            }
        }
    }
    let of = |set: Set| sets.iter().filter(move |(of, _)| *of == set);
    let all: BTreeSet<Set> = sets.iter().map(|(set, _)| *set).collect();
    let cut = all.into_iter().map(|set| {
        let ends =
            of(set).flat_map(|(_, ports)| [u32::from(ports.first), u32::from(ports.last) + 1]);
        let ends: BTreeSet<u32> = ends.collect();
        let ends: Vec<u32> = ends.into_iter().collect();
        let before = |end: u32| ends.partition_point(|other| *other < end);
        of(set)
            .map(|(_, ports)| before(u32::from(ports.last) + 1) - before(ports.first.into()))
            .sum::<usize>()
    });
    plain + cut.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use photon_resource::RuleId;
    use proptest::prelude::*;

    use super::*;

    fn tcp(first: u16, last: u16, remote: Remote) -> Rule {
        Rule {
            id: RuleId::generate(),
            direction: Direction::Ingress,
            traffic: Traffic::Tcp(PortRange { first, last }),
            remote,
            description: String::new(),
        }
    }

    fn from(net: &str) -> Remote {
        Remote::parse_cidr(net).unwrap()
    }

    #[test]
    fn what_lies_apart_is_not_cut() {
        let rules: Vec<_> = (0..100)
            .map(|n| tcp(1 + 10 * n, 5 + 10 * n, from("10.0.0.0/8")))
            .collect();
        assert_eq!(cells(&rules), 100);
        // Once for each family.
        assert_eq!(cells(&[tcp(1, 65535, Remote::Anybody)]), 2);
    }

    #[test]
    fn ranges_within_each_other_are_cut_at_every_end() {
        let rules: Vec<_> = (0..250)
            .map(|n| tcp(1 + n, 60_000 - n, from(&format!("10.{}.1.1/32", n % 250))))
            .collect();
        assert_eq!(cells(&rules), 62_500);
        // A rule of another direction, family or protocol changes nothing of that.
        let mut other = tcp(1, 65535, from("10.0.0.0/8"));
        other.direction = Direction::Egress;
        let all: Vec<_> = rules.into_iter().chain([other]).collect();
        assert_eq!(cells(&all), 62_501);
    }

    proptest! {
        /// Each slice between two ends, with each rule that covers it, is one.
        #[test]
        fn every_rule_counts_once_in_every_slice_that_it_covers(
            ranges in proptest::collection::vec((1u16..40, 0u16..40), 1..12)
        ) {
            let ranges: Vec<(u16, u16)> = ranges.iter().map(|(first, more)| (*first, first + more)).collect();
            let rules: Vec<_> = ranges.iter().map(|(first, last)| tcp(*first, *last, from("10.0.0.0/8"))).collect();
            let begins = |port: u16| port == 1 || ranges.iter().any(|(first, last)| *first == port || last + 1 == port);
            let covering = |port: u16| ranges.iter().filter(|(first, last)| (*first..=*last).contains(&port)).count();
            let slices: usize = (1..=100).filter(|port| begins(*port)).map(covering).sum();
            prop_assert_eq!(cells(&rules), slices);
        }
    }
}
