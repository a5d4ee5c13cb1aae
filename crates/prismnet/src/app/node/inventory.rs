//! All networks in memory, and what of them a host needs. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use flaredb::Revision;
use photon_resource::{PortId, SecurityGroupId, SubnetId, VpcId};

use super::desired::{Desired, DesiredGateway, DesiredGroup, DesiredSubnet, DesiredVpc, Transit};
use super::egress::Egress;
use super::peerings::Peerings;
use super::routes::{DesiredRoute, Routes, Way};
use crate::model::{NatGateway, Node, Port, RouteTarget, SecurityGroup, Subnet, Vpc};
use crate::store::Changed;

mod trace;

pub use trace::{Asked, Question, Step, Trace, Verdict};

/// Everything that the store holds of networks.
#[derive(Debug, Default)]
pub struct Inventory {
    revision: Revision,
    /// Where it began, or when something changed last that may concern any host: what changed until then may concern anybody.
    begun: Revision,
    vpcs: HashMap<VpcId, Vpc>,
    subnets: HashMap<SubnetId, Subnet>,
    ports: HashMap<PortId, Port>,
    groups: HashMap<SecurityGroupId, SecurityGroup>,
    ports_of_group: HashMap<SecurityGroupId, BTreeSet<PortId>>,
    ports_of_node: HashMap<String, BTreeSet<PortId>>,
    /// Those that are attached to a device on some host.
    attached_of_vpc: HashMap<VpcId, BTreeSet<PortId>>,
    subnets_of_vpc: HashMap<VpcId, BTreeSet<SubnetId>>,
    nodes: HashMap<String, Node>,
    egress: Egress,
    routes: Routes,
    peerings: Peerings,
    /// The generation of the attachment of each that has one, and when it was first heard of.
    attached: HashMap<PortId, (u64, Revision)>,
    /// When something changed in a VPC that may concern the hosts with ports in it.
    vpc_changed: HashMap<VpcId, Revision>,
    /// When a port came to a host or left it, or the host's own address changed.
    node_changed: HashMap<String, Revision>,
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
                if let Some(before) = self.subnets.get(&id) {
                    remove(&mut self.subnets_of_vpc, &before.vpc_id, id);
                }
                if let Some(subnet) = &subnet {
                    let subnets = self.subnets_of_vpc.entry(subnet.vpc_id);
                    subnets.or_default().insert(id);
                }
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
            Changed::Node(name, node) => {
                let vpcs: BTreeSet<VpcId> = self.on_node(&name).map(|port| port.vpc_id).collect();
                vpcs.into_iter()
                    .for_each(|vpc| self.touch_vpc(vpc, revision));
                self.node_changed.insert(name.clone(), revision);
                // Its gateways' VPCs may have no port there.
                let vpcs = self.egress.gateways_on(&name).map(|it| it.vpc_id);
                let vpcs: Vec<VpcId> = vpcs.collect();
                vpcs.into_iter()
                    .for_each(|vpc| self.touch_vpc(vpc, revision));
                set(&mut self.nodes, name, node);
            }
            Changed::NatGateway(id, gateway) => {
                let host = |egress: &Egress, id: &NatGateway| egress.host_of(id).map(str::to_owned);
                let of_vpc = gateway.as_ref().map(|it| it.vpc_id);
                let before = self.egress.gateway(id).cloned();
                let was_on = before.as_ref().and_then(|it| host(&self.egress, it));
                let is_on = gateway.as_ref().and_then(|it| host(&self.egress, it));
                self.egress.set_gateway(id, gateway);
                if let Some(vpc) = before.map(|it| it.vpc_id).or(of_vpc) {
                    self.touch_vpc(vpc, revision);
                }
                for host in was_on.into_iter().chain(is_on) {
                    self.node_changed.insert(host, revision);
                }
            }
            Changed::FloatingIp(id, floating) => {
                for vpc in self.egress.set_floating(id, floating) {
                    self.touch_vpc(vpc, revision);
                }
            }
            Changed::Route(id, route) => {
                if let Some(vpc) = self.routes.set(id, route) {
                    self.touch_vpc(vpc, revision);
                }
            }
            Changed::Peering(id, peering) => {
                for vpc in self.peerings.set(id, peering) {
                    self.touch_vpc(vpc, revision);
                }
            }
            Changed::ExternalNetwork(id, network) => {
                self.egress.set_network(id, network);
                self.begun = self.begun.max(revision);
            }
            Changed::GatewayHost(name, host) => {
                self.egress.set_host(name, host);
                self.begun = self.begun.max(revision);
            }
        }
    }

    /// The external networks that a host has said to have interfaces in.
    pub fn external_networks_of(&self, node: &str) -> BTreeSet<String> {
        self.egress.networks_of_host(node)
    }

    /// The VPCs that have a port on a host.
    fn inhabited(&self, node: &str) -> BTreeSet<VpcId> {
        self.on_node(node).map(|port| port.vpc_id).collect()
    }

    /// The VPCs that a host needs to know. Whom a peer has peerings with is nothing to it.
    fn vpcs_of(&self, node: &str) -> BTreeSet<VpcId> {
        let inhabited = self.inhabited(node);
        let peers = inhabited.iter().flat_map(|vpc| self.peerings.of(*vpc));
        let peers: Vec<VpcId> = peers.flat_map(|it| it.vpcs()).collect();
        let by_gateways = self.egress.gateways_on(node).map(|it| it.vpc_id);
        inhabited
            .into_iter()
            .chain(peers)
            .chain(by_gateways)
            .collect()
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
                remove(&mut self.attached_of_vpc, &before.vpc_id, id);
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
                let attached = self.attached_of_vpc.entry(port.vpc_id);
                attached.or_default().insert(id);
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
        let vpcs = self.vpcs_of(node);
        vpcs.iter()
            .filter_map(|vpc| self.vpc_changed.get(vpc))
            .chain(self.node_changed.get(node))
            .copied()
            .max()
            .unwrap_or_default()
            .max(self.begun)
    }

    /// The hosts whose end of the tunnels is at this address.
    pub fn nodes_at(&self, address: Ipv4Addr) -> BTreeSet<String> {
        let nodes = self.nodes.values();
        nodes
            .filter(|node| node.tunnel_address == address)
            .map(|node| node.name.clone())
            .collect()
    }

    fn tunnel_address(&self, node: &str) -> Option<Ipv4Addr> {
        Some(self.nodes.get(node)?.tunnel_address)
    }

    /// What should exist on a host: the same for the same state, in the same order.
    pub fn desired(&self, node: &str) -> Desired<'_> {
        let vpcs = self.vpcs_of(node);
        let inhabited = self.inhabited(node);
        let gateways = self.egress.gateways_on(node);
        Desired {
            revision: self.revision,
            tunnel_address: self.tunnel_address(node),
            vpcs: vpcs
                .into_iter()
                .filter_map(|id| self.desired_vpc(id, node))
                .collect(),
            gateways: gateways
                .filter_map(|gateway| {
                    Some(DesiredGateway {
                        gateway,
                        vpc: self.vpcs.get(&gateway.vpc_id)?,
                        network: self.egress.network(gateway.external_network_id)?,
                        floating_ips: self.egress.floating_in(gateway.vpc_id),
                    })
                })
                .collect(),
            peerings: self.peerings.of_any(inhabited.into_iter()),
        }
    }

    fn transit(&self, vpc: VpcId, node: &str) -> Option<Transit<'_>> {
        let gateway = self.egress.gateway_of(vpc)?;
        let host = self.egress.host_of(gateway)?;
        let elsewhere = if host == node {
            None
        } else {
            // Here for a peering alone, it has nobody who would go out.
            self.on_node(node).find(|port| port.vpc_id == vpc)?;
            // Without tunnels of its own, or of the gateway's host, it does not reach it.
            self.tunnel_address(node)?;
            Some(self.tunnel_address(host)?)
        };
        Some(Transit { gateway, elsewhere })
    }

    fn desired_vpc(&self, id: VpcId, node: &str) -> Option<DesiredVpc<'_>> {
        let subnets = self.desired_subnets(id, node);
        let own: BTreeSet<SecurityGroupId> = subnets
            .iter()
            .flat_map(|subnet| &subnet.ports)
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
            subnets,
            transit: self.transit(id, node),
            routes: self.desired_routes(id),
        })
    }

    fn desired_routes(&self, vpc: VpcId) -> Vec<DesiredRoute<'_>> {
        let way = |target| match target {
            RouteTarget::Port(id) => {
                let port = self.ports.get(&id).filter(|port| node(port).is_some());
                port.map_or(Way::Nowhere, |port| Way::Port(port.address))
            }
            RouteTarget::NatGateway(_) => Way::NatGateway,
            RouteTarget::Blackhole => Way::Nowhere,
        };
        let routes = self.routes.of(vpc).map(|route| DesiredRoute {
            route,
            way: way(route.target),
        });
        routes.collect()
    }

    /// All subnets of a VPC, with the ports on this host and those on others.
    fn desired_subnets(&self, vpc: VpcId, node: &str) -> Vec<DesiredSubnet<'_>> {
        let subnets = self.subnets_of_vpc.get(&vpc).into_iter().flatten();
        let mut desired: BTreeMap<SubnetId, DesiredSubnet<'_>> = subnets
            .filter_map(|id| {
                let subnet = DesiredSubnet {
                    subnet: self.subnets.get(id)?,
                    ports: Vec::new(),
                    remote_ports: Vec::new(),
                };
                Some((*id, subnet))
            })
            .collect();
        let own_end = self.tunnel_address(node);
        let attached = self.attached_of_vpc.get(&vpc).into_iter().flatten();
        for port in attached.filter_map(|port| self.ports.get(port)) {
            let Some(subnet) = desired.get_mut(&port.subnet_id) else {
                continue;
            };
            match self::node(port) {
                Some(its) if its == node => subnet.ports.push(port),
                Some(its) if own_end.is_some() => {
                    let end = self.tunnel_address(its);
                    subnet.remote_ports.extend(end.map(|end| (port, end)));
                }
                _ => {}
            }
        }
        desired.into_values().collect()
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
        (&port.security_groups, port.source_check),
        attachment.map(|it| (&it.device_id, it.device_type, &it.node)),
    )
}

pub(super) fn set<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

pub(super) fn remove<K, Q, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: &Q, member: V)
where
    K: Eq + std::hash::Hash + std::borrow::Borrow<Q>,
    Q: Eq + std::hash::Hash + ?Sized,
{
    if let Some(members) = map.get_mut(key) {
        members.remove(&member);
        if members.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
