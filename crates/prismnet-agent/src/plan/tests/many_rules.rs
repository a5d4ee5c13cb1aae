//! As many rules as a project may have, put before the real nft and kernel.

use std::time::{Duration, Instant};

use super::*;

/// Elements that a project's quota of `security_group_cells` comes to (prismnet's settings).
const CELLS: u32 = 20_000;
/// Rules of a group (prismnet's `MAX_RULES`).
const RULES: u32 = 250;
/// What a transaction may take on a host: the agent gives nft a minute, and others' changes wait for it.
const BOUND: Duration = Duration::from_secs(20);

/// A VPC whose groups have so many rules in all, none of which can be joined with another; each port has as many of the
/// groups as it may.
fn full(rules_with: u16) -> Desired {
    let mut desired = small();
    let vpc = &mut desired.vpcs[0];
    vpc.groups = (0..CELLS / RULES)
        .map(|group| {
            let rule = |number: u32| {
                let own = group * RULES + number;
                let from = Ipv4Addr::from(0x0a00_0000 + own * 2);
                Rule {
                    protocol: Protocol::Tcp(rules_with + number as u16, 60_000 - number as u16),
                    remote: Remote::Net(Ipv4Net::new(from, 32).unwrap().into()),
                }
            };
            let group_id = id(0x900 + u128::from(group));
            let group = Group {
                ingress: (0..RULES).map(rule).collect(),
                ..Group::default()
            };
            (group_id, group)
        })
        .collect();
    let all: Vec<_> = vpc.groups.keys().copied().collect();
    let port = vpc.subnets[0].ports[0].clone();
    vpc.subnets[0].ports = (all.chunks(16).zip(11..))
        .map(|(groups, number)| Port {
            id: id(0x40 + u128::from(number)),
            mac: Mac::from([0xfa, 0x16, 0x3e, 0, 0, number]),
            address: Ipv4Addr::new(10, 0, 1, number),
            groups: groups.iter().copied().collect(),
            ..port.clone()
        })
        .collect();
    desired
}

#[test]
fn the_kernel_takes_as_many_cells_as_a_project_may_have() {
    let kernel = *KERNEL;
    let render =
        |desired: &Desired| guest_filter::render(desired, Limits::default(), &Egress::default());
    let (before, mut after) = (full(1), full(1));
    // One rule of one group is another one.
    let first = after.vpcs[0].groups.values_mut().next().unwrap();
    first.ingress[0].protocol = Protocol::Tcp(443, 443);
    let (before, after) = (render(&before), render(&after));

    let whole = kernel.fit(before.replace());
    let begun = Instant::now();
    let listing = nft("bridge", std::slice::from_ref(&whole)).unwrap();
    let loaded = begun.elapsed();
    let elements: usize = (listing.iter())
        .filter(|object| {
            object["set"]["name"]
                .as_str()
                .is_some_and(|name| name.contains("-ports4-"))
        })
        .map(|object| object["set"]["elem"].as_array().map_or(0, Vec::len))
        .sum();

    let printed = observed_digests(&listing);
    let memory = (before.digests().into_iter())
        .map(|(name, written)| {
            let printed = printed.get(&name).cloned().unwrap_or_default();
            (name, (written, printed))
        })
        .collect();
    let change = after.difference(Some(&printed), &memory).unwrap();
    let change = kernel.fit(change.commands);
    let begun = Instant::now();
    nft("bridge", &[whole, change.clone()]).unwrap();
    let both = begun.elapsed();
    eprintln!(
        "{elements} elements: written and listed in {loaded:?}, with the change of one rule ({} commands) in {both:?}",
        change.len()
    );
    assert!(elements >= CELLS as usize, "only {elements} elements");
    assert!(loaded < BOUND && both < 2 * BOUND, "{loaded:?} {both:?}");
    // What is changed is that group's, not all.
    assert!(change.len() < 100, "{} commands", change.len());
}
