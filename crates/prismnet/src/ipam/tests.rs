use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn pool(cidr: &str, gateway: &str) -> Pool {
    Pool::new(cidr.parse().unwrap(), gateway.parse().unwrap(), None)
}

#[test]
fn a_24_has_253_addresses_and_then_none() {
    let mut pool = pool("10.0.1.0/24", "10.0.1.1");
    let given: BTreeSet<_> = std::iter::from_fn(|| pool.take_next()).collect();
    assert_eq!(given.len(), 253);
    assert_eq!(pool.capacity(), 253);
    assert_eq!(given.first().unwrap().to_string(), "10.0.1.2");
    assert_eq!(given.last().unwrap().to_string(), "10.0.1.254");
    assert_eq!(pool.take_next(), None);
}

#[test]
fn a_freed_address_comes_again_only_after_the_range_was_cycled() {
    let mut pool = pool("10.0.1.0/29", "10.0.1.1");
    let first = pool.take_next().unwrap();
    pool.give_back(first);
    let rest: Vec<_> = (0..4).map(|_| pool.take_next().unwrap()).collect();
    assert!(!rest.contains(&first));
    assert_eq!(pool.take_next(), Some(first));
}

#[test]
fn the_search_goes_on_where_it_was_before_a_restart() {
    let mut pool = Pool::new(
        "10.0.1.0/24".parse().unwrap(),
        Ipv4Addr::new(10, 0, 1, 1),
        Some(Ipv4Addr::new(10, 0, 1, 40)),
    );
    assert_eq!(pool.take_next(), Some(Ipv4Addr::new(10, 0, 1, 41)));
    // One of another subnet says nothing.
    let mut other = Pool::new(
        "10.0.1.0/24".parse().unwrap(),
        Ipv4Addr::new(10, 0, 1, 1),
        Some(Ipv4Addr::new(10, 0, 2, 40)),
    );
    assert_eq!(other.take_next(), Some(Ipv4Addr::new(10, 0, 1, 2)));
}

#[test]
fn a_large_subnet_costs_little() {
    let mut pool = pool("10.0.0.0/8", "10.0.0.1");
    for _ in 0..10_000 {
        pool.take_next().unwrap();
    }
    // 10,000 addresses in a row, and the broadcast address.
    assert!(pool.chunks.len() <= 4, "{}", pool.chunks.len());
    assert_eq!(pool.capacity(), (1 << 24) - 3);
}

#[derive(Clone, Debug)]
enum Step {
    Next,
    Take(u32),
    GiveBack(u32),
}

fn steps(size: u32) -> impl Strategy<Value = Vec<Step>> {
    // A little beyond both ends too.
    let offset = 0..size + 8;
    let step = prop_oneof![
        3 => Just(Step::Next),
        1 => offset.clone().prop_map(Step::Take),
        2 => offset.prop_map(Step::GiveBack),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// The same as a set searched from one address to the next.
    #[test]
    fn it_behaves_as_the_obvious_model(prefix in 19u8..30, gateway in 1u32..6, start: u32, steps in steps(40)) {
        let cidr = Ipv4Net::new(Ipv4Addr::new(10, 9, 0, 0), prefix).unwrap().trunc();
        let size = 1u32 << (32 - prefix);
        let base = u32::from(cidr.network());
        let at = |offset: u32| Ipv4Addr::from(base + offset);
        let start = start % size;

        let mut pool = Pool::new(cidr, at(gateway), Some(at(start)));
        let reserved = BTreeSet::from([0, gateway, size - 1]);
        let mut taken = BTreeSet::new();
        let mut cursor = (start + 1) % size;

        for step in steps {
            match step {
                Step::Next => {
                    let expected = (0..size)
                        .map(|ahead| (cursor + ahead) % size)
                        .find(|offset| !taken.contains(offset) && !reserved.contains(offset));
                    prop_assert_eq!(pool.take_next(), expected.map(at));
                    if let Some(offset) = expected {
                        taken.insert(offset);
                        cursor = (offset + 1) % size;
                    }
                }
                Step::Take(offset) => {
                    let new = offset < size && !reserved.contains(&offset) && taken.insert(offset);
                    prop_assert_eq!(pool.take(at(offset)), new);
                }
                Step::GiveBack(offset) => {
                    prop_assert_eq!(pool.give_back(at(offset)), taken.remove(&offset));
                }
            }
            prop_assert_eq!(pool.taken(), taken.len() as u64);
        }
    }
}
