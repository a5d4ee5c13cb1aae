use photon_resource::{NewMeta, Time};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::RecordType;

fn vpc(n: u128) -> VpcId {
    Uuid::from_u128(n).into()
}

fn port_id(n: u128) -> PortId {
    Uuid::from_u128(n).into()
}

fn vm_id(n: u128) -> VmId {
    Uuid::from_u128(n).into()
}

/// The port `n` of a VM in a VPC.
fn port(n: u128, of_vpc: u128, of_vm: u128, node: &str) -> Changed {
    let port = Port {
        id: port_id(n),
        vpc_id: vpc(of_vpc),
        vm_id: vm_id(of_vm),
        node: node.into(),
        addresses: vec![format!("10.0.0.{n}").parse().unwrap()],
    };
    Changed::Port(port.id, Some(port))
}

fn vm(n: u128, org: &str, name: &str, ports: &[u128]) -> Changed {
    let vm = Vm {
        id: vm_id(n),
        org_id: org.parse().unwrap(),
        project_id: "web".parse().unwrap(),
        name: name.into(),
        ports: ports.iter().map(|n| port_id(*n)).collect(),
    };
    Changed::Vm(vm.id, Some(vm))
}

fn subnet(n: u128, of_vpc: u128) -> Changed {
    let subnet = Subnet {
        id: Uuid::from_u128(n).into(),
        vpc_id: vpc(of_vpc),
        networks: vec!["10.0.0.0/24".parse().unwrap()],
        gateways: vec!["10.0.0.1".parse().unwrap()],
    };
    Changed::Subnet(subnet.id, Some(subnet))
}

fn zone(n: u128, vpcs: &[u128]) -> Changed {
    let meta = NewMeta {
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: Uuid::from_u128(1).into(),
        name: format!("z{n}.example"),
        description: String::new(),
        labels: Default::default(),
    };
    let zone = Zone {
        id: Uuid::from_u128(n).into(),
        meta: meta.into_meta(Time::EPOCH),
        vpc_ids: vpcs.iter().map(|n| vpc(*n)).collect(),
        default_ttl: 60,
    };
    Changed::Zone(zone.id, Some(zone))
}

fn record_set(n: u128, of_zone: u128) -> Changed {
    let Changed::Zone(zone_id, Some(zone)) = zone(of_zone, &[]) else {
        unreachable!()
    };
    let set = RecordSet {
        id: Uuid::from_u128(n).into(),
        meta: zone.meta,
        zone_id,
        kind: RecordType::A,
        ttl: None,
        values: vec!["10.0.0.9".into()],
    };
    Changed::RecordSet(set.id, Some(set))
}

fn with(changes: impl IntoIterator<Item = Changed>) -> Inventory {
    let mut inventory = Inventory::default();
    for change in changes {
        inventory.apply(change);
    }
    inventory
}

/// Name and addresses of all that a host is told, by VPC.
fn told(inventory: &Inventory, node: &str) -> Vec<(VpcId, Vec<String>)> {
    let desired = inventory.desired(node);
    let view = |view: &DesiredView<'_>| {
        let name = |(name, of): (&String, &DesiredName<'_>)| format!("{name} {:?}", of.addresses);
        (view.vpc_id, view.names.iter().map(name).collect())
    };
    desired.views.iter().map(view).collect()
}

#[test]
fn a_vpc_is_a_view_of_its_own() {
    let inventory = with([
        subnet(1, 1),
        subnet(2, 2),
        port(11, 1, 21, "n1"),
        port(12, 2, 22, "n1"),
        vm(21, "acme", "db", &[11]),
        vm(22, "globex", "db", &[12]),
    ]);
    assert_eq!(
        told(&inventory, "n1"),
        [
            (vpc(1), vec!["db.web.acme [10.0.0.11]".to_owned()]),
            (vpc(2), vec!["db.web.globex [10.0.0.12]".to_owned()]),
        ]
    );
    assert_eq!(told(&inventory, "n2"), []);
}

#[test]
fn a_vm_in_two_vpcs_has_one_address_in_each() {
    let inventory = with([
        vm(21, "acme", "db", &[12, 11, 13]),
        port(11, 1, 21, "n1"),
        port(12, 2, 21, "n1"),
        port(13, 1, 21, "n1"),
    ]);
    assert_eq!(
        told(&inventory, "n1"),
        [
            (vpc(1), vec!["db.web.acme [10.0.0.11]".to_owned()]),
            (vpc(2), vec!["db.web.acme [10.0.0.12]".to_owned()]),
        ]
    );
}

#[test]
fn an_interface_that_leaves_gives_the_name_to_the_next() {
    let mut inventory = with([
        port(11, 1, 21, "n1"),
        port(12, 1, 21, "n1"),
        vm(21, "acme", "db", &[11, 12]),
    ]);
    inventory.apply(vm(21, "acme", "db", &[12]));
    let next = vec!["db.web.acme [10.0.0.12]".to_owned()];
    assert_eq!(told(&inventory, "n1"), [(vpc(1), next.clone())]);
    inventory.apply(Changed::Port(port_id(11), None));
    assert_eq!(told(&inventory, "n1"), [(vpc(1), next)]);
}

#[test]
fn a_name_follows_its_vm() {
    let mut inventory = with([port(11, 1, 21, "n1"), port(12, 1, 22, "n2")]);
    // PlasmaVMC has not told of them yet.
    assert_eq!(told(&inventory, "n1"), [(vpc(1), vec![])]);
    inventory.apply(vm(22, "acme", "a", &[12]));
    let before = inventory.changed_for("n1");
    inventory.apply(vm(22, "acme", "b", &[12]));
    assert!(inventory.changed_for("n1") > before);
    let renamed = vec!["b.web.acme [10.0.0.12]".to_owned()];
    assert_eq!(told(&inventory, "n1"), [(vpc(1), renamed)]);
    inventory.apply(Changed::Port(port_id(12), None));
    assert_eq!(told(&inventory, "n1"), [(vpc(1), vec![])]);
}

#[test]
fn only_who_is_concerned_is_told() {
    let mut inventory = with([
        port(11, 1, 21, "n1"),
        port(12, 2, 22, "n2"),
        vm(21, "acme", "a", &[11]),
    ]);
    let n1 = inventory.changed_for("n1");
    inventory.apply(vm(22, "acme", "b", &[12]));
    inventory.apply(subnet(2, 2));
    assert_eq!(inventory.changed_for("n1"), n1);
    // What is as it was is no news.
    let revision = inventory.revision();
    inventory.apply(vm(21, "acme", "a", &[11]));
    inventory.apply(port(11, 1, 21, "n1"));
    assert_eq!(inventory.revision(), revision);
}

#[test]
fn silence_takes_nothing_away_and_what_is_not_told_again_goes() {
    let mut inventory = with([
        port(11, 1, 21, "n1"),
        port(12, 1, 22, "n1"),
        vm(21, "acme", "a", &[11]),
        vm(22, "acme", "b", &[12]),
    ]);
    assert!(!inventory.complete());
    let both = told(&inventory, "n1");
    inventory.begin(Table::Ports);
    inventory.apply(port(12, 1, 22, "n1"));
    assert_eq!(told(&inventory, "n1"), both);
    // The stream broke off, and begins anew.
    inventory.begin(Table::Ports);
    assert_eq!(told(&inventory, "n1"), both);
    inventory.apply(port(11, 1, 21, "n1"));
    inventory.end(Table::Ports);
    let one = vec!["a.web.acme [10.0.0.11]".to_owned()];
    assert_eq!(told(&inventory, "n1"), [(vpc(1), one)]);
    assert!(!inventory.complete());
    inventory.end(Table::Subnets);
    inventory.end(Table::Store);
    inventory.end(Table::Vms);
    assert!(inventory.complete());
    assert_eq!(told(&inventory, "n1"), [(vpc(1), vec![])]);
}

#[test]
fn a_zone_is_in_the_views_of_its_vpcs() {
    let mut inventory = with([
        record_set(41, 31),
        port(11, 1, 21, "n1"),
        port(12, 2, 22, "n2"),
    ]);
    let sets = |inventory: &Inventory, node: &str| -> Vec<usize> {
        let views = inventory.desired(node).views;
        let zones = views.iter().flat_map(|view| &view.zones);
        zones.map(|zone| zone.record_sets.len()).collect()
    };
    inventory.apply(zone(31, &[1]));
    assert_eq!(
        (sets(&inventory, "n1"), sets(&inventory, "n2")),
        (vec![1], vec![])
    );
    let n2 = inventory.changed_for("n2");
    inventory.apply(record_set(42, 31));
    assert_eq!(sets(&inventory, "n1"), [2]);
    assert_eq!(inventory.changed_for("n2"), n2);
    inventory.apply(zone(31, &[2]));
    assert_eq!(
        (sets(&inventory, "n1"), sets(&inventory, "n2")),
        (vec![], vec![2])
    );
    inventory.begin(Table::Store);
    inventory.apply(zone(31, &[2]));
    inventory.end(Table::Store);
    assert_eq!(sets(&inventory, "n2"), [0]);
}

fn change() -> impl Strategy<Value = Changed> {
    let nodes = || prop::sample::select(vec!["n1", "n2"]);
    prop_oneof![
        (10..14_u128, 1..3_u128, 20..23_u128, nodes())
            .prop_map(|(n, vpc, vm, node)| port(n, vpc, vm, node)),
        (10..14_u128).prop_map(|n| Changed::Port(port_id(n), None)),
        (20..23_u128, prop::collection::vec(10..14_u128, 0..3)).prop_map(|(n, ports)| vm(
            n,
            "acme",
            &format!("vm-{n}"),
            &ports
        )),
        (20..23_u128).prop_map(|n| Changed::Vm(vm_id(n), None)),
        (1..3_u128, 1..3_u128).prop_map(|(n, vpc)| subnet(n, vpc)),
        (1..3_u128).prop_map(|n| Changed::Subnet(Uuid::from_u128(n).into(), None)),
        (30..32_u128, prop::collection::vec(1..3_u128, 0..2)).prop_map(|(n, vpcs)| zone(n, &vpcs)),
        (30..32_u128).prop_map(|n| Changed::Zone(Uuid::from_u128(n).into(), None)),
        (40..43_u128, 30..32_u128).prop_map(|(n, of_zone)| record_set(n, of_zone)),
        (40..43_u128).prop_map(|n| Changed::RecordSet(Uuid::from_u128(n).into(), None)),
    ]
}

proptest! {
    /// Whatever came before what is, and in whatever order: a host hears of what concerns it, and what it is told is a
    /// function of what is.
    #[test]
    fn what_is_told_depends_on_what_is_alone(changes in prop::collection::vec(change(), 0..40)) {
        let mut inventory = Inventory::default();
        for change in changes {
            let before: Vec<_> = ["n1", "n2"].map(|node| {
                let views = format!("{:?}", inventory.desired(node).views);
                (node, inventory.changed_for(node), views)
            }).into();
            inventory.apply(change);
            for (node, changed, views) in before {
                if views != format!("{:?}", inventory.desired(node).views) {
                    prop_assert!(inventory.changed_for(node) > changed);
                }
            }
        }
        let ports = inventory.ports.values().cloned().map(|it| Changed::Port(it.id, Some(it)));
        let vms = inventory.vms.values().cloned().map(|it| Changed::Vm(it.id, Some(it)));
        let subnets = inventory.subnets.values().cloned();
        let subnets = subnets.map(|it| Changed::Subnet(it.id, Some(it)));
        let zones = inventory.zones.values().cloned().map(|it| Changed::Zone(it.id, Some(it)));
        let sets = inventory.record_sets.values().cloned();
        let sets = sets.map(|it| Changed::RecordSet(it.id, Some(it)));
        let anew = with(sets.chain(vms).chain(subnets).chain(ports).chain(zones));
        for node in ["n1", "n2"] {
            prop_assert_eq!(anew.desired(node).views, inventory.desired(node).views);
        }
    }
}
