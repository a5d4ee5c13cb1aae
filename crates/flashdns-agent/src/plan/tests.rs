use photon_reconcile::Plan as _;
use uuid::Uuid;

use super::*;

fn vpc(n: u128) -> VpcId {
    Uuid::from_u128(n).into()
}

fn wanted(vpcs: &[(u128, &[&str])]) -> Arc<Desired> {
    let of = |(n, gateways): &(u128, &[&str])| {
        let gateways = gateways.iter().map(|it| it.parse().unwrap());
        let of = Vpc {
            gateways: gateways.collect(),
            ..Vpc::default()
        };
        (vpc(*n), Arc::new(of))
    };
    Arc::new(Desired {
        suffix: "cloud.internal".into(),
        vpcs: vpcs.iter().map(of).collect(),
    })
}

fn link(name: &str, index: u32, kind: Kind, master: Option<String>, address: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind,
        master,
        bridge_port: None,
        mtu: 1500,
        mac: None,
        up: true,
        carrier: true,
        addresses: address.parse().into_iter().collect(),
    }
}

/// The VRF of a VPC, and a bridge in it with this address.
fn network(n: u128, index: u32, address: &str) -> Vec<Link> {
    let vrf = vrf_name(vpc(n));
    vec![
        link(&vrf, index, Kind::Vrf { table: 1000 }, None, ""),
        link(
            &format!("pb{n}"),
            index + 1,
            Kind::Bridge,
            Some(vrf),
            address,
        ),
    ]
}

fn observed(desired: Arc<Desired>, links: Vec<Link>) -> Observed {
    Observed {
        desired,
        links,
        open: BTreeSet::new(),
        answered: BTreeMap::new(),
    }
}

/// What is there after a plan was applied.
fn applied(mut observed: Observed) -> Observed {
    let plan = plan(&observed);
    observed.open = observed.open.difference(&plan.close).cloned().collect();
    observed.open.extend(plan.open);
    let suffix = observed.desired.suffix.clone();
    let all = observed.desired.vpcs.iter();
    observed.answered = all
        .map(|(id, vpc)| (*id, (vpc.clone(), suffix.clone())))
        .collect();
    observed
}

#[test]
fn two_vpcs_with_one_address_have_sockets_each() {
    let links = [network(1, 10, "10.0.0.1/24"), network(2, 20, "10.0.0.1/24")].concat();
    let observed = observed(wanted(&[(1, &["10.0.0.1"]), (2, &["10.0.0.1"])]), links);
    let plan = plan(&observed);
    let at: Vec<_> = plan
        .open
        .iter()
        .map(|it| (it.vpc, it.index, it.protocol))
        .collect();
    assert_eq!(
        at,
        [
            (vpc(1), 10, Protocol::Udp),
            (vpc(1), 10, Protocol::Tcp),
            (vpc(2), 20, Protocol::Udp),
            (vpc(2), 20, Protocol::Tcp),
        ]
    );
    assert_eq!(plan.answer, BTreeSet::from([vpc(1), vpc(2)]));
    assert!(super::plan(&applied(observed)).is_empty());
}

#[test]
fn there_is_no_socket_without_its_vrf_or_its_address() {
    let wanted = wanted(&[(1, &["10.0.0.1", "10.0.1.1"])]);
    let vrf = vrf_name(vpc(1));
    let not_there = [
        vec![],
        // A bridge that is not in the VRF, though it has the address; one in another's.
        vec![
            link(&vrf, 10, Kind::Vrf { table: 1000 }, None, ""),
            link("pb", 11, Kind::Bridge, None, "10.0.0.1/24"),
        ],
        network(2, 20, "10.0.0.1/24"),
        // Something else of that name.
        vec![
            link(&vrf, 10, Kind::Other, None, ""),
            link("pb", 11, Kind::Bridge, Some(vrf.clone()), "10.0.0.1/24"),
        ],
    ];
    for links in not_there {
        assert_eq!(plan(&observed(wanted.clone(), links)).open, BTreeSet::new());
    }
    let there = plan(&observed(wanted, network(1, 10, "10.0.0.1/24")));
    assert_eq!(there.open.len(), 2);
}

#[test]
fn a_vrf_that_was_made_anew_has_new_sockets() {
    let wanted = wanted(&[(1, &["10.0.0.1"])]);
    let mut observed = applied(observed(wanted, network(1, 10, "10.0.0.1/24")));
    observed.links = network(1, 30, "10.0.0.1/24");
    let plan = plan(&observed);
    assert!(plan.close.iter().all(|it| it.index == 10) && plan.close.len() == 2);
    assert!(plan.open.iter().all(|it| it.index == 30) && plan.open.len() == 2);
    // The names are the same.
    assert_eq!(plan.answer, BTreeSet::new());
}

#[test]
fn a_vpc_that_has_left_is_forgotten() {
    let here = wanted(&[(1, &["10.0.0.1"])]);
    let mut observed = applied(observed(here, network(1, 10, "10.0.0.1/24")));
    observed.desired = wanted(&[]);
    let plan = plan(&observed);
    assert_eq!(plan.close.len(), 2);
    assert_eq!(plan.forget, BTreeSet::from([vpc(1)]));
    assert!(plan.open.is_empty() && plan.answer.is_empty());
}
