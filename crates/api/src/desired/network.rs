//! Networks: VPCs with their subnets, ports and groups, down to a group's single member. In a network of ten thousand
//! ports, one that comes or goes is a few hundred bytes.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prost::Message;

use super::{
    DesiredMessage, Keyed, Kind, amend_list, difference_lists, find, label, labelled, told_whole,
};
use crate::prismnet::v1 as pb;

/// Addresses of a group that go into a message together.
const MEMBERS: usize = 1000;

impl DesiredMessage for pb::DesiredNetwork {
    label!(pb);

    fn amend(&mut self, message: Self) -> bool {
        let mut changed = amend_list(&mut self.vpcs, &message.removed_vpc_ids, message.vpcs);
        let gone = &message.removed_gateway_ids;
        changed |= amend_list(&mut self.gateways, gone, message.gateways);
        let gone = &message.removed_peering_ids;
        changed |= amend_list(&mut self.peerings, gone, message.peerings);
        if let Some(given) = message.tunnel_address {
            let given = Some(given).filter(|address| !address.is_empty());
            changed |= self.tunnel_address != given;
            self.tunnel_address = given;
        }
        changed
    }

    fn difference(before: &Self, after: &Self) -> Self {
        let (vpcs, removed_vpc_ids) = difference_lists(&before.vpcs, &after.vpcs);
        let tunnel_address = (before.tunnel_address != after.tunnel_address)
            .then(|| after.tunnel_address.clone().unwrap_or_default());
        let (gateways, removed_gateway_ids) = difference_lists(&before.gateways, &after.gateways);
        let (peerings, removed_peering_ids) = difference_lists(&before.peerings, &after.peerings);
        Self {
            vpcs,
            removed_vpc_ids,
            tunnel_address,
            gateways,
            removed_gateway_ids,
            peerings,
            removed_peering_ids,
            ..Self::default()
        }
    }

    fn pieces(mut self, limit: usize) -> Vec<Self> {
        let vpcs = std::mem::take(&mut self.vpcs);
        let gateways = std::mem::take(&mut self.gateways);
        let peerings = std::mem::take(&mut self.peerings);
        let mut pieces = Pieces {
            limit,
            done: Vec::new(),
            size: 0,
            current: Self::default(),
        };
        pieces.add(Self {
            removed_vpc_ids: std::mem::take(&mut self.removed_vpc_ids),
            removed_gateway_ids: std::mem::take(&mut self.removed_gateway_ids),
            removed_peering_ids: std::mem::take(&mut self.removed_peering_ids),
            tunnel_address: self.tunnel_address.clone(),
            ..Self::default()
        });
        for gateway in gateways {
            pieces.add(Self {
                gateways: vec![gateway],
                ..Self::default()
            });
        }
        for peering in peerings {
            pieces.add(Self {
                peerings: vec![peering],
                ..Self::default()
            });
        }
        for vpc in vpcs {
            pieces.add_vpc(vpc);
        }
        pieces.done.push(pieces.current);
        labelled(pieces.done, &self)
    }

    fn is_empty(&self) -> bool {
        self.vpcs.is_empty()
            && self.removed_vpc_ids.is_empty()
            && self.tunnel_address.is_none()
            && self.gateways.is_empty()
            && self.removed_gateway_ids.is_empty()
            && self.peerings.is_empty()
            && self.removed_peering_ids.is_empty()
    }
}

impl pb::DesiredNetwork {
    /// A change as a host is told it that does not know [`keeps_rules`](pb::DesiredGroup::keeps_rules): with the rules that
    /// groups have in `after`, to which the change leads.
    #[must_use]
    pub fn with_rules(mut self, after: &Self) -> Self {
        for vpc in &mut self.vpcs {
            let Ok(at) = find(&after.vpcs, &vpc.id) else {
                continue;
            };
            let known = &after.vpcs[at].groups;
            for group in vpc.groups.iter_mut().filter(|group| group.keeps_rules) {
                if let Ok(at) = find(known, &group.id) {
                    group.rules.clone_from(&known[at].rules);
                    group.keeps_rules = false;
                }
            }
        }
        self
    }
}

/// Messages that are being filled.
struct Pieces {
    limit: usize,
    done: Vec<pb::DesiredNetwork>,
    /// At most that of `current`, in bytes: what frames the things in it is counted with each.
    size: usize,
    current: pb::DesiredNetwork,
}

impl Pieces {
    /// Adds the VPC with its routes, of which there are few, then each thing of it with as much around it as says where it
    /// belongs.
    fn add_vpc(&mut self, mut vpc: pb::DesiredVpc) {
        let subnets = std::mem::take(&mut vpc.subnets);
        let groups = std::mem::take(&mut vpc.groups);
        let frame = pb::DesiredVpc {
            id: vpc.id.clone(),
            table: vpc.table,
            ..Default::default()
        };
        self.add(network(vpc));
        for mut subnet in subnets {
            let ports = std::mem::take(&mut subnet.ports).into_iter();
            let remote = std::mem::take(&mut subnet.remote_ports).into_iter();
            let inner = pb::DesiredSubnet {
                removed_port_ids: Vec::new(),
                removed_remote_port_ids: Vec::new(),
                ..subnet.clone()
            };
            let ports = ports.map(|port| pb::DesiredSubnet {
                ports: vec![port],
                ..inner.clone()
            });
            let remote = remote.map(|port| pb::DesiredSubnet {
                remote_ports: vec![port],
                ..inner.clone()
            });
            for subnet in std::iter::once(subnet).chain(ports).chain(remote) {
                self.add(network(pb::DesiredVpc {
                    subnets: vec![subnet],
                    ..frame.clone()
                }));
            }
        }
        for mut group in groups {
            let members = std::mem::take(&mut group.member_addresses);
            let inner = pb::DesiredGroup {
                removed_member_addresses: Vec::new(),
                ..group.clone()
            };
            self.add(network(pb::DesiredVpc {
                groups: vec![group],
                ..frame.clone()
            }));
            for members in members.chunks(MEMBERS) {
                self.add(network(pb::DesiredVpc {
                    groups: vec![pb::DesiredGroup {
                        member_addresses: members.to_vec(),
                        ..inner.clone()
                    }],
                    ..frame.clone()
                }));
            }
        }
    }

    fn add(&mut self, atom: pb::DesiredNetwork) {
        let more = atom.encoded_len();
        if self.size > 0 && self.size + more > self.limit {
            self.done.push(std::mem::take(&mut self.current));
            self.size = 0;
        }
        self.size += more;
        append(&mut self.current, atom);
    }
}

fn network(vpc: pb::DesiredVpc) -> pb::DesiredNetwork {
    pb::DesiredNetwork {
        vpcs: vec![vpc],
        ..Default::default()
    }
}

/// Adds to the end of a message what comes next in the same order: not what it means, but what is said.
fn append(into: &mut pb::DesiredNetwork, atom: pb::DesiredNetwork) {
    into.removed_vpc_ids.extend(atom.removed_vpc_ids);
    into.removed_gateway_ids.extend(atom.removed_gateway_ids);
    into.gateways.extend(atom.gateways);
    into.removed_peering_ids.extend(atom.removed_peering_ids);
    into.peerings.extend(atom.peerings);
    into.tunnel_address = into.tunnel_address.take().or(atom.tunnel_address);
    for vpc in atom.vpcs {
        let Some(last) = into.vpcs.last_mut().filter(|last| last.id == vpc.id) else {
            into.vpcs.push(vpc);
            continue;
        };
        for subnet in vpc.subnets {
            match last.subnets.last_mut() {
                Some(known) if known.id == subnet.id => {
                    known.ports.extend(subnet.ports);
                    known.remote_ports.extend(subnet.remote_ports);
                }
                _ => last.subnets.push(subnet),
            }
        }
        for group in vpc.groups {
            match last.groups.last_mut() {
                Some(known) if known.id == group.id => {
                    known.member_addresses.extend(group.member_addresses);
                }
                _ => last.groups.push(group),
            }
        }
    }
}

impl Keyed for pb::DesiredVpc {
    fn id(&self) -> &str {
        &self.id
    }

    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    fn amend(&mut self, given: Self) -> bool {
        let mut changed = std::mem::replace(&mut self.table, given.table) != given.table;
        changed |= amend_list(&mut self.subnets, &given.removed_subnet_ids, given.subnets);
        changed |= amend_list(&mut self.groups, &given.removed_group_ids, given.groups);
        changed |= amend_list(&mut self.routes, &given.removed_route_ids, given.routes);
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let (subnets, removed_subnet_ids) = difference_lists(&before.subnets, &after.subnets);
        let (groups, removed_group_ids) = difference_lists(&before.groups, &after.groups);
        let (routes, removed_route_ids) = difference_lists(&before.routes, &after.routes);
        Some(Self {
            id: after.id.clone(),
            table: after.table,
            subnets,
            groups,
            removed_subnet_ids,
            removed_group_ids,
            routes,
            removed_route_ids,
        })
    }
}

impl Keyed for pb::DesiredSubnet {
    fn id(&self) -> &str {
        &self.id
    }

    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    fn amend(&mut self, mut given: Self) -> bool {
        let removed = std::mem::take(&mut given.removed_port_ids);
        let removed_remote = std::mem::take(&mut given.removed_remote_port_ids);
        let ports = std::mem::replace(&mut given.ports, std::mem::take(&mut self.ports));
        let known = std::mem::take(&mut self.remote_ports);
        let remote = std::mem::replace(&mut given.remote_ports, known);
        let mut changed = without_ports(self) != without_ports(&given);
        *self = given;
        changed |= amend_list(&mut self.ports, &removed, ports);
        changed |= amend_list(&mut self.remote_ports, &removed_remote, remote);
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let (ports, removed_port_ids) = difference_lists(&before.ports, &after.ports);
        let (remote_ports, removed_remote_port_ids) =
            difference_lists(&before.remote_ports, &after.remote_ports);
        Some(Self {
            ports,
            removed_port_ids,
            remote_ports,
            removed_remote_port_ids,
            ..without_ports(after)
        })
    }
}

fn without_ports(subnet: &pb::DesiredSubnet) -> pb::DesiredSubnet {
    pb::DesiredSubnet {
        id: subnet.id.clone(),
        cidr: subnet.cidr.clone(),
        gateway: subnet.gateway.clone(),
        dhcp_enabled: subnet.dhcp_enabled,
        dns_servers: subnet.dns_servers.clone(),
        ipv6_cidr: subnet.ipv6_cidr.clone(),
        ipv6_gateway: subnet.ipv6_gateway.clone(),
        vni: subnet.vni,
        default_via: subnet.default_via.clone(),
        ports: Vec::new(),
        removed_port_ids: Vec::new(),
        remote_ports: Vec::new(),
        removed_remote_port_ids: Vec::new(),
    }
}

told_whole!(pb::DesiredPort);
told_whole!(pb::RemotePort);
told_whole!(pb::DesiredGateway);
told_whole!(pb::DesiredRoute);
told_whole!(pb::DesiredPeering);

impl Keyed for pb::DesiredGroup {
    fn id(&self) -> &str {
        &self.id
    }

    fn of(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    fn amend(&mut self, given: Self) -> bool {
        let mut changed = !given.keeps_rules && self.rules != given.rules;
        if !given.keeps_rules {
            self.rules = given.rules;
        }
        for address in &given.removed_member_addresses {
            if let Ok(at) = find_member(&self.member_addresses, address) {
                self.member_addresses.remove(at);
                changed = true;
            }
        }
        for address in given.member_addresses {
            if let Err(at) = find_member(&self.member_addresses, &address) {
                self.member_addresses.insert(at, address);
                changed = true;
            }
        }
        changed
    }

    fn difference(before: &Self, after: &Self) -> Option<Self> {
        if before == after {
            return None;
        }
        let known: BTreeSet<&String> = before.member_addresses.iter().collect();
        let wanted: BTreeSet<&String> = after.member_addresses.iter().collect();
        let new = after.member_addresses.iter();
        let gone = before.member_addresses.iter();
        // Of many rules none is told with a member that comes or goes.
        let keeps_rules = before.rules == after.rules;
        Some(Self {
            id: after.id.clone(),
            rules: if keeps_rules {
                Vec::new()
            } else {
                after.rules.clone()
            },
            keeps_rules,
            member_addresses: new.filter(|it| !known.contains(it)).cloned().collect(),
            removed_member_addresses: gone.filter(|it| !wanted.contains(it)).cloned().collect(),
        })
    }
}

/// Members are in the order of their addresses, IPv4 before IPv6; what is no address comes after them.
fn find_member(members: &[String], address: &str) -> Result<usize, usize> {
    fn key(text: &str) -> (bool, Option<IpAddr>, &str) {
        let address = text.parse().ok();
        (address.is_none(), address, text)
    }
    let wanted = key(address);
    match members.last() {
        Some(last) if key(last) < wanted => Err(members.len()),
        _ => members.binary_search_by(|member| key(member).cmp(&wanted)),
    }
}
