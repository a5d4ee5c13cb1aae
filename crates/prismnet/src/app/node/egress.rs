//! Which NAT gateway is on which host: a function of what there is, so that nobody decides it and nothing remembers it. Pure.
//!
//! Of the hosts with an interface in a gateway's external network each draws a number for the gateway, always the same, and
//! the greatest has it: gateways are spread, and one that comes or goes moves only those that it gets or had.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use photon_resource::{ExternalNetworkId, FloatingIpId, NatGatewayId, VpcId};
use sha2::{Digest, Sha256};

use crate::model::{ExternalNetwork, FloatingIp, GatewayHost, NatGateway};

/// The ways out of all VPCs.
#[derive(Debug, Default)]
pub(super) struct Egress {
    networks: HashMap<ExternalNetworkId, ExternalNetwork>,
    gateways: BTreeMap<NatGatewayId, NatGateway>,
    of_vpc: HashMap<VpcId, NatGatewayId>,
    floating: HashMap<FloatingIpId, FloatingIp>,
    floating_of_vpc: HashMap<VpcId, BTreeSet<FloatingIpId>>,
    hosts: BTreeMap<String, BTreeSet<String>>,
}

impl Egress {
    pub fn set_network(&mut self, id: ExternalNetworkId, network: Option<ExternalNetwork>) {
        super::inventory::set(&mut self.networks, id, network);
    }

    pub fn set_host(&mut self, name: String, host: Option<GatewayHost>) {
        match host {
            Some(host) => self.hosts.insert(name, host.external_networks),
            None => self.hosts.remove(&name),
        };
    }

    pub fn set_gateway(&mut self, id: NatGatewayId, gateway: Option<NatGateway>) {
        if let Some(before) = self.gateways.remove(&id)
            && self.of_vpc.get(&before.vpc_id) == Some(&id)
        {
            self.of_vpc.remove(&before.vpc_id);
        }
        if let Some(gateway) = gateway {
            self.of_vpc.insert(gateway.vpc_id, id);
            self.gateways.insert(id, gateway);
        }
    }

    pub fn gateway(&self, id: NatGatewayId) -> Option<&NatGateway> {
        self.gateways.get(&id)
    }

    /// The VPCs that this concerns.
    pub fn set_floating(&mut self, id: FloatingIpId, floating: Option<FloatingIp>) -> Vec<VpcId> {
        let vpc = |it: &FloatingIp| it.association.map(|it| it.vpc_id);
        let before = self.floating.remove(&id);
        let (left, joined) = (
            before.as_ref().and_then(vpc),
            floating.as_ref().and_then(vpc),
        );
        if let Some(vpc) = left {
            super::inventory::remove(&mut self.floating_of_vpc, &vpc, id);
        }
        if let Some(vpc) = joined {
            self.floating_of_vpc.entry(vpc).or_default().insert(id);
        }
        if let Some(floating) = floating {
            self.floating.insert(id, floating);
        }
        left.into_iter().chain(joined).collect()
    }

    /// The external networks that a host has interfaces in.
    pub fn networks_of_host(&self, host: &str) -> BTreeSet<String> {
        self.hosts.get(host).cloned().unwrap_or_default()
    }

    pub fn network(&self, id: ExternalNetworkId) -> Option<&ExternalNetwork> {
        self.networks.get(&id)
    }

    pub fn gateway_of(&self, vpc: VpcId) -> Option<&NatGateway> {
        self.gateways.get(self.of_vpc.get(&vpc)?)
    }

    /// Floating IPs of ports of a VPC, in the order of their addresses.
    pub fn floating_in(&self, vpc: VpcId) -> Vec<&FloatingIp> {
        let ids = self.floating_of_vpc.get(&vpc).into_iter().flatten();
        let mut floating: Vec<_> = ids.filter_map(|id| self.floating.get(id)).collect();
        floating.sort_by_key(|it| it.address);
        floating
    }

    /// The host that a gateway is on; `None`: no host has an interface in its external network.
    pub fn host_of(&self, gateway: &NatGateway) -> Option<&str> {
        let network = &self.networks.get(&gateway.external_network_id)?.name;
        let hosts = self.hosts.iter();
        let able = hosts.filter(|(_, networks)| networks.contains(network));
        able.map(|(host, _)| host.as_str())
            .max_by_key(|host| draw(gateway.id, host))
    }

    /// The gateways that are on a host, in the order of their ids.
    pub fn gateways_on<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a NatGateway> {
        // Most hosts have none, and are asked often.
        let able = self.hosts.contains_key(host);
        let gateways = able.then(|| self.gateways.values());
        gateways
            .into_iter()
            .flatten()
            .filter(move |gateway| self.host_of(gateway) == Some(host))
    }
}

/// The same in every program: a gateway that moves loses its connections.
fn draw(gateway: NatGatewayId, host: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(gateway.uuid().as_bytes());
    digest.update(host.as_bytes());
    digest.finalize().into()
}

#[cfg(test)]
pub mod tests;
