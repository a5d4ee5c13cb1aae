use photon_reconcile::Plan as _;

use super::*;
use crate::instance::example;

fn link(name: &str, index: u32, kind: Kind, master: Option<&str>, address: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind,
        master: master.map(str::to_owned),
        bridge_port: None,
        mtu: 1500,
        mac: None,
        up: true,
        carrier: true,
        addresses: address.parse().into_iter().collect(),
    }
}

/// A VRF, a bridge in it, and a TAP in that.
fn network(n: u32) -> Vec<Link> {
    let (vrf, bridge, tap) = (format!("pv{n}"), format!("pb{n}"), format!("pt{n}"));
    vec![
        link(
            &vrf,
            10 * n,
            Kind::Vrf { table: n },
            None,
            "169.254.169.254/32",
        ),
        link(&bridge, 10 * n + 1, Kind::Bridge, Some(&vrf), "10.0.1.1/24"),
        link(&tap, 10 * n + 2, Kind::Tun, Some(&bridge), ""),
    ]
}

fn endpoint(n: u32) -> Endpoint {
    Endpoint {
        vrf: format!("pv{n}"),
        index: 10 * n,
    }
}

fn applied(observed: &Observed) -> Observed {
    let plan = plan(observed);
    let mut known = observed.known.clone();
    known.extend(plan.know);
    known.retain(|vrf, _| !plan.forget.contains(vrf));
    let open = observed.open.difference(&plan.close);
    Observed {
        instances: observed.instances.clone(),
        links: observed.links.clone(),
        open: open.chain(&plan.open).cloned().collect(),
        known,
    }
}

/// Two tenants with the same address.
fn two() -> Observed {
    let instances = [(1, "pt1"), (2, "pt2")];
    Observed {
        instances: instances
            .map(|(n, tap)| Arc::new(example(n, tap, "10.0.1.10/24")))
            .into(),
        links: [network(1), network(2)].concat(),
        ..Observed::default()
    }
}

fn asks(observed: &Observed, vrf: &str) -> Option<Arc<Instance>> {
    let callers = observed.known.get(vrf)?;
    let known = callers.get(&"10.0.1.10".parse().unwrap())?;
    Some(known.instance.clone())
}

#[test]
fn the_same_address_is_each_vpcs_own_guest() {
    let there = two();
    let opened = plan(&there);
    assert_eq!(opened.open, [endpoint(1), endpoint(2)].into());
    let done = applied(&there);
    assert_eq!(asks(&done, "pv1"), Some(there.instances[0].clone()));
    assert_eq!(asks(&done, "pv2"), Some(there.instances[1].clone()));
    assert!(plan(&done).is_empty());
}

#[test]
fn an_address_that_two_guests_of_a_vpc_have_is_nobodys() {
    let mut there = two();
    there.links[5].master = Some("pb1".into());
    let done = applied(&there);
    assert_eq!(asks(&done, "pv1"), None);
    assert_eq!(asks(&done, "pv2"), None);
}

#[test]
fn a_guest_whose_tap_is_in_no_vrf_is_not_known() {
    for at in [1, 2] {
        let mut there = two();
        there.links[at].master = None;
        let done = applied(&there);
        assert_eq!(asks(&done, "pv1"), None);
        assert!(asks(&done, "pv2").is_some());
    }
}

#[test]
fn sockets_follow_their_device_and_address() {
    let mut there = applied(&two());
    // Made anew.
    there.links[0].index = 99;
    let anew = plan(&there);
    assert_eq!(anew.close, [endpoint(1)].into());
    let other = Endpoint {
        index: 99,
        ..endpoint(1)
    };
    assert_eq!(anew.open, [other].into());
    assert!(anew.know.is_empty() && anew.forget.is_empty());
    // Without the address, there is none; and who asked is forgotten.
    there.links[0].addresses.clear();
    let gone = plan(&there);
    assert_eq!((gone.close, gone.open), ([endpoint(1)].into(), [].into()));
    assert_eq!(gone.forget, ["pv1".to_owned()].into());
    // An address of that name elsewhere is not ours to answer at.
    for link in &mut there.links {
        link.kind = Kind::Other;
    }
    assert!(plan(&there).open.is_empty());
}

#[test]
fn a_vm_that_goes_is_known_no_more_and_its_address_is_the_next_ones() {
    let mut there = applied(&two());
    there.instances.remove(0);
    let without = applied(&there);
    assert_eq!(asks(&without, "pv1"), None);
    let next = Arc::new(example(3, "pt1", "10.0.1.10/24"));
    there.instances.push(next.clone());
    assert_eq!(asks(&applied(&there), "pv1"), Some(next));
}
