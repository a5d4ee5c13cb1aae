//! All networks in memory, and what of them a host needs. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use flaredb::Revision;
use photon_resource::{PortId, SecurityGroupId, SubnetId, VpcId};

use crate::model::{Port, Rule, SecurityGroup, Subnet, Vpc};
use crate::store::Changed;

/// Everything that the store holds of networks.
#[derive(Debug, Default)]
pub struct Inventory {
    revision: Revision,
    /// Where it began: what changed until then may concern anybody.
    begun: Revision,
    vpcs: HashMap<VpcId, Vpc>,
    subnets: HashMap<SubnetId, Subnet>,
    ports: HashMap<PortId, Port>,
    groups: HashMap<SecurityGroupId, SecurityGroup>,
    ports_of_group: HashMap<SecurityGroupId, BTreeSet<PortId>>,
    ports_of_node: HashMap<String, BTreeSet<PortId>>,
    /// The generation of the attachment of each that has one, and when it was first heard of.
    attached: HashMap<PortId, (u64, Revision)>,
    /// When something changed in a VPC that may concern the hosts with ports in it.
    vpc_changed: HashMap<VpcId, Revision>,
    /// When a port came to a host or left it.
    node_changed: HashMap<String, Revision>,
}

/// What should exist on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct Desired<'a> {
    pub revision: Revision,
    /// Only those with a port on the host, in the order of their ids.
    pub vpcs: Vec<DesiredVpc<'a>>,
}

/// A VPC on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredVpc<'a> {
    pub vpc: &'a Vpc,
    /// Only those with a port on the host.
    pub subnets: Vec<DesiredSubnet<'a>>,
    /// Those of the host's ports, and those that their rules name.
    pub groups: Vec<DesiredGroup<'a>>,
}

/// A subnet on a host.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredSubnet<'a> {
    pub subnet: &'a Subnet,
    /// Those attached on the host.
    pub ports: Vec<&'a Port>,
}

/// A security group as a host needs it.
#[derive(Debug, PartialEq, Eq)]
pub struct DesiredGroup<'a> {
    pub id: SecurityGroupId,
    /// Empty for a group that no port of the host has and only a rule names.
    pub rules: &'a [Rule],
    /// Addresses of all ports of the group in this VPC, on any host or none. A port of another VPC that has the
    /// group is no member here: its address means something else in this routing domain.
    pub members: BTreeSet<IpAddr>,
}

impl Inventory {
    /// From all resources, none older than `revision`.
    pub fn new(everything: Vec<Changed>, revision: Revision) -> Self {
        let mut inventory = Self {
            revision,
            begun: revision,
            ..Self::default()
        };
        for resource in everything {
            inventory.apply(resource, revision);
        }
        inventory
    }

    /// Everything up to `revision` is in.
    pub fn reached(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// Takes in a change of this revision.
    pub fn apply(&mut self, changed: Changed, revision: Revision) {
        match changed {
            Changed::Vpc(id, vpc) => {
                if vpc.is_some() {
                    self.touch_vpc(id, revision);
                } else {
                    // It had no ports left, so it is on no host.
                    self.vpc_changed.remove(&id);
                }
                set(&mut self.vpcs, id, vpc);
            }
            Changed::Subnet(id, subnet) => {
                let vpcs = [self.subnets.get(&id), subnet.as_ref()];
                let vpcs = vpcs.map(|subnet| subnet.map(|subnet| subnet.vpc_id));
                vpcs.into_iter()
                    .flatten()
                    .for_each(|vpc| self.touch_vpc(vpc, revision));
                set(&mut self.subnets, id, subnet);
            }
            Changed::Port(id, port) => self.apply_port(id, port, revision),
            Changed::SecurityGroup(id, group) => {
                let ports = self.ports_of_group.get(&id).into_iter().flatten();
                let vpcs: BTreeSet<VpcId> = ports
                    .filter_map(|port| self.ports.get(port))
                    .map(|port| port.vpc_id)
                    .collect();
                vpcs.into_iter()
                    .for_each(|vpc| self.touch_vpc(vpc, revision));
                set(&mut self.groups, id, group);
            }
        }
    }

    fn apply_port(&mut self, id: PortId, port: Option<Port>, revision: Revision) {
        let before = self.ports.remove(&id);
        let same = match (&before, &port) {
            (Some(before), Some(port)) => concerns(before) == concerns(port),
            _ => false,
        };
        if !same {
            for port in [&before, &port].into_iter().flatten() {
                self.touch_vpc(port.vpc_id, revision);
                if let Some(node) = node(port) {
                    self.node_changed.insert(node.to_owned(), revision);
                }
            }
        }
        if let Some(before) = before {
            for group in &before.security_groups {
                remove(&mut self.ports_of_group, group, id);
            }
            if let Some(node) = node(&before) {
                remove(&mut self.ports_of_node, node, id);
            }
        }
        match port.as_ref().and_then(|port| port.attachment.as_ref()) {
            Some(attachment) => {
                let known = self.attached.get(&id).map(|(generation, _)| *generation);
                if known != Some(attachment.generation) {
                    self.attached.insert(id, (attachment.generation, revision));
                }
            }
            None => drop(self.attached.remove(&id)),
        }
        if let Some(port) = port {
            for group in &port.security_groups {
                self.ports_of_group.entry(*group).or_default().insert(id);
            }
            if let Some(node) = node(&port) {
                let ports = self.ports_of_node.entry(node.to_owned());
                ports.or_default().insert(id);
            }
            self.ports.insert(id, port);
        }
    }

    /// The generation of the attachment that a host speaks of when it reports what it found with this revision; `None`: it
    /// did not know the present one.
    pub fn generation_known(&self, port: PortId, revision: Revision) -> Option<u64> {
        let (generation, since) = self.attached.get(&port)?;
        (revision >= *since).then_some(*generation)
    }

    fn touch_vpc(&mut self, vpc: VpcId, revision: Revision) {
        self.vpc_changed.insert(vpc, revision);
    }

    fn on_node<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Port> {
        let ports = self.ports_of_node.get(node).into_iter().flatten();
        ports.filter_map(|port| self.ports.get(port))
    }

    /// The last revision at which something changed that may concern a host.
    pub fn changed_for(&self, node: &str) -> Revision {
        let vpcs: BTreeSet<VpcId> = self.on_node(node).map(|port| port.vpc_id).collect();
        vpcs.iter()
            .filter_map(|vpc| self.vpc_changed.get(vpc))
            .chain(self.node_changed.get(node))
            .copied()
            .max()
            .unwrap_or_default()
            .max(self.begun)
    }

    /// What should exist on a host: the same for the same state, in the same order.
    pub fn desired(&self, node: &str) -> Desired<'_> {
        let mut vpcs: BTreeMap<VpcId, BTreeMap<SubnetId, Vec<&Port>>> = BTreeMap::new();
        for port in self.on_node(node) {
            let subnets = vpcs.entry(port.vpc_id).or_default();
            subnets.entry(port.subnet_id).or_default().push(port);
        }
        Desired {
            revision: self.revision,
            vpcs: vpcs
                .into_iter()
                .filter_map(|(id, subnets)| self.desired_vpc(id, subnets))
                .collect(),
        }
    }

    fn desired_vpc<'a>(
        &'a self,
        id: VpcId,
        subnets: BTreeMap<SubnetId, Vec<&'a Port>>,
    ) -> Option<DesiredVpc<'a>> {
        let own: BTreeSet<SecurityGroupId> = subnets
            .values()
            .flatten()
            .flat_map(|port| &port.security_groups)
            .copied()
            .collect();
        let named = own
            .iter()
            .filter_map(|group| self.groups.get(group))
            .flat_map(SecurityGroup::remote_groups);
        let all: BTreeSet<SecurityGroupId> = own.iter().copied().chain(named).collect();
        let groups = all.into_iter().map(|group| DesiredGroup {
            id: group,
            rules: self
                .groups
                .get(&group)
                .filter(|_| own.contains(&group))
                .map_or(&[], |group| &group.rules),
            members: self.members(group, id),
        });
        Some(DesiredVpc {
            vpc: self.vpcs.get(&id)?,
            groups: groups.collect(),
            subnets: subnets
                .into_iter()
                .filter_map(|(id, ports)| {
                    let subnet = self.subnets.get(&id)?;
                    Some(DesiredSubnet { subnet, ports })
                })
                .collect(),
        })
    }

    fn members(&self, group: SecurityGroupId, vpc: VpcId) -> BTreeSet<IpAddr> {
        let ports = self.ports_of_group.get(&group).into_iter().flatten();
        ports
            .filter_map(|port| self.ports.get(port))
            .filter(|port| port.vpc_id == vpc)
            .flat_map(|port| {
                let ipv6 = port.ipv6_address.map(IpAddr::V6);
                [Some(IpAddr::V4(port.address)), ipv6]
            })
            .flatten()
            .collect()
    }
}

fn node(port: &Port) -> Option<&str> {
    port.attachment
        .as_ref()
        .map(|attachment| attachment.node.as_str())
}

/// What of a port hosts hear of: not its labels, nor what they reported themselves.
fn concerns(port: &Port) -> impl PartialEq + '_ {
    let attachment = port.attachment.as_ref();
    (
        &port.meta.name,
        (port.address, port.ipv6_address, port.mac),
        &port.security_groups,
        attachment.map(|it| (&it.device_id, it.device_type, &it.node)),
    )
}

fn set<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn remove<K, Q>(map: &mut HashMap<K, BTreeSet<PortId>>, key: &Q, port: PortId)
where
    K: Eq + std::hash::Hash + std::borrow::Borrow<Q>,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(ports) = map.get_mut(key) {
        ports.remove(&port);
        if ports.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
