//! All ports and VMs in memory, and what of their names a host is told. Pure.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::IpNet;
use photon_resource::{PortId, RecordSetId, SubnetId, VmId, VpcId, ZoneId};

use crate::model::{Changed, Port, RecordSet, Subnet, Vm, Zone};

mod zones;

/// What is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// PrismNET's subnets.
    Subnets,
    /// PrismNET's ports.
    Ports,
    /// PlasmaVMC's VMs.
    Vms,
    /// This server's own zones and record sets.
    Store,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Subnets, Self::Ports, Self::Vms, Self::Store];
}

/// Everything that names come of.
#[derive(Debug, Default)]
pub struct Inventory {
    revision: u64,
    subnets: HashMap<SubnetId, Subnet>,
    ports: HashMap<PortId, Port>,
    vms: HashMap<VmId, Vm>,
    zones: HashMap<ZoneId, Zone>,
    record_sets: HashMap<RecordSetId, RecordSet>,
    zones_of_vpc: HashMap<VpcId, BTreeSet<ZoneId>>,
    sets_of_zone: HashMap<ZoneId, BTreeSet<RecordSetId>>,
    subnets_of_vpc: HashMap<VpcId, BTreeSet<SubnetId>>,
    ports_of_vpc: HashMap<VpcId, BTreeSet<PortId>>,
    ports_of_vm: HashMap<VmId, BTreeSet<PortId>>,
    ports_of_node: HashMap<String, BTreeSet<PortId>>,
    /// When something changed in a VPC that its guests are told.
    vpc_changed: HashMap<VpcId, u64>,
    /// When a port came to a host or left it.
    node_changed: HashMap<String, u64>,
    /// Of which tables everything has been heard once.
    heard: HashSet<Table>,
    /// What was heard since a table is being told anew.
    hearing: HashMap<Table, HashSet<String>>,
}

/// What a host should answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Desired<'a> {
    pub revision: u64,
    /// Only VPCs with a port on the host, in the order of their ids.
    pub views: Vec<DesiredView<'a>>,
}

/// What the guests of a VPC are answered.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredView<'a> {
    pub vpc_id: VpcId,
    pub gateways: BTreeSet<IpAddr>,
    pub networks: BTreeSet<IpNet>,
    /// In their order.
    pub names: BTreeMap<String, DesiredName<'a>>,
    /// In the order of their ids.
    pub zones: Vec<DesiredZone<'a>>,
}

/// A zone in a view.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredZone<'a> {
    pub zone: &'a Zone,
    /// In the order of their ids.
    pub record_sets: Vec<&'a RecordSet>,
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredName<'a> {
    pub vm_id: VmId,
    pub addresses: &'a [IpAddr],
}

impl Inventory {
    /// Grows with each change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether everything has been heard of every table.
    pub fn complete(&self) -> bool {
        Table::ALL.iter().all(|table| self.heard.contains(table))
    }

    /// A table is told anew: what is not told again until [`end`](Self::end) is gone.
    pub fn begin(&mut self, table: Table) {
        self.hearing.insert(table, HashSet::new());
    }

    /// All that there is of a table has been told.
    pub fn end(&mut self, table: Table) {
        let heard = self.hearing.remove(&table).unwrap_or_default();
        match table {
            Table::Subnets => {
                for id in unheard(&self.subnets, &heard) {
                    self.apply(Changed::Subnet(id, None));
                }
            }
            Table::Ports => {
                for id in unheard(&self.ports, &heard) {
                    self.apply(Changed::Port(id, None));
                }
            }
            Table::Vms => {
                for id in unheard(&self.vms, &heard) {
                    self.apply(Changed::Vm(id, None));
                }
            }
            Table::Store => {
                for id in unheard(&self.zones, &heard) {
                    self.apply(Changed::Zone(id, None));
                }
                for id in unheard(&self.record_sets, &heard) {
                    self.apply(Changed::RecordSet(id, None));
                }
            }
        }
        self.heard.insert(table);
        self.revision += 1;
    }

    /// Takes in what is said of one thing.
    pub fn apply(&mut self, changed: Changed) {
        let (table, id) = match &changed {
            Changed::Subnet(id, _) => (Table::Subnets, id.to_string()),
            Changed::Port(id, _) => (Table::Ports, id.to_string()),
            Changed::Vm(id, _) => (Table::Vms, id.to_string()),
            Changed::Zone(id, _) => (Table::Store, id.to_string()),
            Changed::RecordSet(id, _) => (Table::Store, id.to_string()),
        };
        if let Some(heard) = self.hearing.get_mut(&table) {
            heard.insert(id);
        }
        match changed {
            Changed::Subnet(id, subnet) => self.apply_subnet(id, subnet),
            Changed::Port(id, port) => self.apply_port(id, port),
            Changed::Vm(id, vm) => self.apply_vm(id, vm),
            Changed::Zone(id, zone) => self.apply_zone(id, zone),
            Changed::RecordSet(id, set) => self.apply_record_set(id, set),
        }
    }

    fn apply_subnet(&mut self, id: SubnetId, subnet: Option<Subnet>) {
        if self.subnets.get(&id) == subnet.as_ref() {
            return;
        }
        self.revision += 1;
        if let Some(before) = self.subnets.remove(&id) {
            self.touch(before.vpc_id);
            remove(&mut self.subnets_of_vpc, &before.vpc_id, id);
        }
        if let Some(subnet) = subnet {
            self.touch(subnet.vpc_id);
            insert(&mut self.subnets_of_vpc, subnet.vpc_id, id);
            self.subnets.insert(id, subnet);
        }
    }

    fn touch(&mut self, vpc: VpcId) {
        // Of others no host asks: they are told whole with the first port.
        if self.ports_of_vpc.contains_key(&vpc) {
            self.vpc_changed.insert(vpc, self.revision);
        }
    }

    fn apply_port(&mut self, id: PortId, port: Option<Port>) {
        if self.ports.get(&id) == port.as_ref() {
            return;
        }
        self.revision += 1;
        if let Some(before) = self.ports.remove(&id) {
            self.touch(before.vpc_id);
            self.node_changed.insert(before.node.clone(), self.revision);
            remove(&mut self.ports_of_vpc, &before.vpc_id, id);
            remove(&mut self.ports_of_vm, &before.vm_id, id);
            remove(&mut self.ports_of_node, before.node.as_str(), id);
            if !self.ports_of_vpc.contains_key(&before.vpc_id) {
                self.vpc_changed.remove(&before.vpc_id);
            }
        }
        if let Some(port) = port {
            self.node_changed.insert(port.node.clone(), self.revision);
            insert(&mut self.ports_of_vpc, port.vpc_id, id);
            self.touch(port.vpc_id);
            insert(&mut self.ports_of_vm, port.vm_id, id);
            insert(&mut self.ports_of_node, port.node.clone(), id);
            self.ports.insert(id, port);
        }
    }

    fn apply_vm(&mut self, id: VmId, vm: Option<Vm>) {
        if self.vms.get(&id) == vm.as_ref() {
            return;
        }
        self.revision += 1;
        let ports = self.ports_of_vm.get(&id).into_iter().flatten();
        let vpcs = ports.filter_map(|port| Some(self.ports.get(port)?.vpc_id));
        self.vpc_changed
            .extend(vpcs.map(|vpc| (vpc, self.revision)));
        match vm {
            Some(vm) => self.vms.insert(id, vm),
            None => self.vms.remove(&id),
        };
    }

    fn vpcs_on(&self, node: &str) -> BTreeSet<VpcId> {
        let ports = self.ports_of_node.get(node).into_iter().flatten();
        ports
            .filter_map(|port| Some(self.ports.get(port)?.vpc_id))
            .collect()
    }

    /// The last revision at which something changed that may concern a host.
    pub fn changed_for(&self, node: &str) -> u64 {
        self.vpcs_on(node)
            .iter()
            .filter_map(|vpc| self.vpc_changed.get(vpc))
            .chain(self.node_changed.get(node))
            .copied()
            .max()
            .unwrap_or_default()
    }

    /// What a host should answer: the same for the same state, in the same order.
    pub fn desired(&self, node: &str) -> Desired<'_> {
        let vpcs = self.vpcs_on(node).into_iter();
        Desired {
            revision: self.revision,
            views: vpcs.map(|vpc| self.view(vpc)).collect(),
        }
    }

    /// What the guests of a VPC are answered, wherever they are.
    pub fn view(&self, vpc_id: VpcId) -> DesiredView<'_> {
        let subnets = self.subnets_of_vpc.get(&vpc_id).into_iter().flatten();
        let subnets = subnets.filter_map(|id| self.subnets.get(id));
        let (mut gateways, mut networks) = (BTreeSet::new(), BTreeSet::new());
        for subnet in subnets {
            gateways.extend(&subnet.gateways);
            networks.extend(&subnet.networks);
        }
        DesiredView {
            vpc_id,
            gateways,
            networks,
            names: self.names(vpc_id),
            zones: self.zones_in(vpc_id),
        }
    }

    /// Of a VM with several ports in the VPC the first interface's counts: a name with two addresses, of which a guest takes
    /// either, would break what only one of them is let do.
    fn names(&self, vpc_id: VpcId) -> BTreeMap<String, DesiredName<'_>> {
        let mut first: HashMap<VmId, (usize, &Port)> = HashMap::new();
        let ports = self.ports_of_vpc.get(&vpc_id).into_iter().flatten();
        for port in ports.filter_map(|id| self.ports.get(id)) {
            let Some(vm) = self.vms.get(&port.vm_id) else {
                continue;
            };
            // An interface that is leaving is none of the VM's any more: after all others.
            let at = vm.ports.iter().position(|id| *id == port.id);
            let at = at.unwrap_or(usize::MAX);
            let held = first.entry(vm.id).or_insert((at, port));
            if at < held.0 {
                *held = (at, port);
            }
        }
        let named = first.into_iter().filter_map(|(vm_id, (_, port))| {
            let name = DesiredName {
                vm_id,
                addresses: &port.addresses,
            };
            Some((self.vms.get(&vm_id)?.label(), name))
        });
        named.collect()
    }
}

impl Vm {
    /// Its name below the suffix: `web-1.shop.acme`.
    fn label(&self) -> String {
        format!("{}.{}.{}", self.name, self.project_id, self.org_id)
    }
}

/// What was not told again.
fn unheard<K: Clone + ToString, V>(known: &HashMap<K, V>, heard: &HashSet<String>) -> Vec<K> {
    let ids = known.keys().filter(|id| !heard.contains(&id.to_string()));
    ids.cloned().collect()
}

fn insert<K: Eq + Hash, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: K, member: V) {
    map.entry(key).or_default().insert(member);
}

fn remove<K, Q, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: &Q, member: V)
where
    K: Eq + Hash + Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    if let Some(members) = map.get_mut(key) {
        members.remove(&member);
        if members.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
