use proptest::prelude::*;

use super::*;

fn ports() -> impl Strategy<Value = (u16, u16)> {
    // Few values, so that rules overlap and touch.
    (prop_oneof![0_u16..12, 65530_u16..=65535], 0_u16..6)
        .prop_map(|(low, more)| (low, low.saturating_add(more)))
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        ports().prop_map(|(low, high)| Protocol::Tcp(low, high)),
        ports().prop_map(|(low, high)| Protocol::Udp(low, high)),
        Just(Protocol::Any),
        Just(Protocol::Icmp),
    ]
}

fn remote() -> impl Strategy<Value = Remote> {
    prop_oneof![
        Just(Remote::Any),
        (0_u32..8, 26_u8..=32).prop_map(|(low, prefix)| {
            Remote::Net(
                ipnet::Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + low * 16), prefix)
                    .unwrap()
                    .trunc()
                    .into(),
            )
        }),
        Just(Remote::Net("fd00::/64".parse().unwrap())),
    ]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    prop::collection::vec(
        (protocol(), remote()).prop_map(|(protocol, remote)| Rule { protocol, remote }),
        0..12,
    )
}

proptest! {
    #[test]
    fn boxes_allow_exactly_what_the_rules_do_and_never_overlap_in_a_set(
        rules in rules(),
        port in prop_oneof![0_u16..20, 65528_u16..=65535],
        address in 0x0a00_0000_u32 - 2..0x0a00_0100,
    ) {
        let compiled = by_address::<Ipv4Addr>(&rules);
        let number = u128::from(address);
        for transport in [Transport::Tcp, Transport::Udp] {
            let expected = rules.iter().any(|rule| {
                let covers_port = transport.ports(rule.protocol).is_some_and(|(low, high)| low <= port && port <= high);
                let covers = match &rule.remote {
                    Remote::Any => true,
                    Remote::Net(net) => net.contains(&IpAddr::V4(address.into())),
                    Remote::Group(_) => false,
                };
                covers_port && covers
            });
            let matching: Vec<usize> = compiled.cells.values().map(|cells| {
                cells.iter().filter(|(of, ports, addresses)| {
                    *of == transport && ports.0 <= port && port <= ports.1
                        && addresses.0 <= number && number <= addresses.1
                }).count()
            }).collect();
            prop_assert!(matching.iter().all(|boxes| *boxes <= 1), "{:?}", compiled.cells);
            prop_assert_eq!(matching.iter().sum::<usize>() > 0, expected, "{:?}", compiled.cells);
        }
        let boxes: usize = compiled.cells.values().map(Vec::len).sum();
        prop_assert!(boxes <= rules.len());
    }

    #[test]
    fn merged_ranges_are_sorted_and_apart(ranges in prop::collection::vec((0_u128..50, 0_u128..9), 0..20)) {
        let ranges: Vec<_> = ranges.into_iter().map(|(low, more)| (low, low + more)).collect();
        let result = merged(ranges.clone());
        for pair in result.windows(2) {
            prop_assert!(pair[0].1 + 1 < pair[1].0);
        }
        for point in 0..70 {
            let inside = |set: &[Range<u128>]| set.iter().any(|(low, high)| *low <= point && point <= *high);
            prop_assert_eq!(inside(&ranges), inside(&result));
        }
    }
}

#[test]
fn groups_join_their_ports() {
    let group = SecurityGroupId::generate();
    let rule = |protocol| Rule {
        protocol,
        remote: Remote::Group(group),
    };
    let compiled = by_group(&[
        rule(Protocol::Tcp(80, 90)),
        rule(Protocol::Tcp(91, 100)),
        rule(Protocol::Udp(53, 53)),
        rule(Protocol::Icmp),
    ]);
    assert_eq!(
        compiled[&group],
        ByGroup {
            any: false,
            icmp: true,
            ports: vec![(Transport::Tcp, (80, 100)), (Transport::Udp, (53, 53))],
        }
    );
}

#[test]
fn the_whole_address_space_does_not_overflow() {
    let rule = Rule {
        protocol: Protocol::Tcp(0, 65535),
        remote: Remote::Any,
    };
    let compiled = by_address::<Ipv6Addr>(&[rule.clone(), rule]);
    let whole = vec![(Transport::Tcp, (0, 65535), (0, u128::MAX))];
    assert_eq!(compiled.cells, BTreeMap::from([(128, whole)]));
}

/// What multiplies when it is cut: nested ports each for another address, and rows of addresses across columns of ports.
#[test]
fn rules_of_one_group_are_as_many_boxes_and_not_their_square() {
    let nested = (0..250_u8).map(|at| Rule {
        protocol: Protocol::Tcp(1 + u16::from(at), 60_000 - u16::from(at)),
        remote: Remote::Net(format!("10.{at}.1.1/32").parse().unwrap()),
    });
    let across = (0..125_u8).flat_map(|at| {
        let row = Rule {
            protocol: Protocol::Tcp(0, 65535),
            remote: Remote::Net(format!("10.0.{at}.1/32").parse().unwrap()),
        };
        let column = Rule {
            protocol: Protocol::Tcp(100 * u16::from(at), 100 * u16::from(at) + 9),
            remote: Remote::Any,
        };
        [row, column]
    });
    for (rules, sets) in [(nested.collect(), 1), (across.collect::<Vec<_>>(), 2)] {
        let compiled = by_address::<Ipv4Addr>(&rules);
        let boxes: usize = compiled.cells.values().map(Vec::len).sum();
        assert_eq!((boxes, compiled.cells.len()), (rules.len(), sets));
    }
}

#[test]
fn what_a_wider_network_allows_is_not_said_again() {
    let rule = |low, high, net: &str| Rule {
        protocol: Protocol::Tcp(low, high),
        remote: Remote::Net(net.parse().unwrap()),
    };
    let compiled = by_address::<Ipv4Addr>(&[
        rule(80, 90, "10.0.0.0/8"),
        rule(80, 85, "10.1.0.0/16"),
        rule(443, 443, "10.1.0.0/16"),
        rule(443, 443, "10.1.1.1/32"),
        rule(443, 443, "10.2.1.1/32"),
    ]);
    let ports: Vec<(Width, Range<u16>)> = compiled
        .cells
        .iter()
        .flat_map(|(width, cells)| cells.iter().map(|(_, ports, _)| (*width, *ports)))
        .collect();
    assert_eq!(ports, [(0, (443, 443)), (16, (443, 443)), (24, (80, 90))]);
}
