//! What must be done so that a host's networks are as they should be.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::Ipv4Net;
use photon_host::forwarding::{Entry, Place};
use photon_host::gateways::{Namespace, State};
use photon_host::links::{Kind, Link};
use photon_host::rules::LocalRules;
use serde::{Deserialize, Serialize};

use super::desired::{Desired, Port, Subnet};
use super::filter::{Digests, FilterChange, Name, Table};
use super::gateway::{self, Egress};
use super::interface::{self, Interface, is_ours, segment, tap, vxlan};
use super::limits::Limits;
use super::networkd::{self, Files};
use super::peering::{self, End};
use super::precedence::Precedence;
use super::step::{self, Step};
use super::{connections, firewall, guest_filter, resolver_filter, tunnel};

mod gateways;

/// What this host's networks should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    files: Files,
    tables: [Table; 2],
    interfaces: BTreeMap<String, Interface>,
    settings: BTreeMap<String, &'static str>,
    endpoints: BTreeSet<Endpoint>,
    peers: BTreeSet<PeerRange>,
    rules: String,
    told: BTreeSet<Entry>,
    /// The legs of gateways, and the bridge of each: their namespaces make them.
    legs: BTreeMap<String, String>,
    gateways: BTreeMap<String, State>,
}

/// An address of a port, as conntrack knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// The VPC's zone.
    pub zone: u16,
    /// The port's address.
    pub address: IpAddr,
    /// Whose it is: the port's TAP. An address that goes to another port is another endpoint.
    pub tap: String,
}

fn by_name(links: &[Link]) -> BTreeMap<&str, &Link> {
    links
        .iter()
        .map(|link| (link.name.as_str(), link))
        .collect()
}

/// Addresses of other VPCs that guests of one reach by a peering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerRange {
    /// The zone of the VPC from which they are reached.
    pub zone: u16,
    /// The other VPC's range.
    pub net: Ipv4Net,
}

/// What the agent must remember: what can't be found out by looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterMemory {
    /// What was written to nftables, and how it was printed then: see [`super::filter`]. By family, then
    /// object.
    pub tables: BTreeMap<String, BTreeMap<Name, (String, String)>>,
    /// Endpoints that may have connections.
    pub endpoints: BTreeSet<Endpoint>,
    /// Ranges of other VPCs with which there may be connections.
    pub peers: BTreeSet<PeerRange>,
    /// The rules ([`connections::digest`]) by which all connections have been judged last.
    pub judged: String,
}

/// What there is on this host.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Our files; `None` as contents is anything but text.
    pub files: BTreeMap<String, Option<String>>,
    /// All interfaces.
    pub links: Vec<Link>,
    /// The objects of our tables by family; absent: no such table.
    pub tables: BTreeMap<String, Digests>,
    /// What is remembered of the tables.
    pub memory: FilterMemory,
    /// The settings that [`Target::settings`] names, where this kernel has them.
    pub settings: BTreeMap<String, String>,
    /// Where the host's own addresses are looked for.
    pub local: LocalRules,
    /// What interfaces are told of stations elsewhere, also those that are not ours.
    pub told: Vec<Entry>,
    /// Namespaces of gateways, by name.
    pub gateways: BTreeMap<String, Namespace>,
    /// Whether several passes in a row did not bring the interfaces to where they should be.
    pub stuck: bool,
}

/// What to do, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Kernel settings to set.
    pub set: BTreeMap<String, String>,
    /// Where the host's own addresses are to be looked for: before a VPC can have guests.
    pub precedence: Precedence,
    /// Changes of the packet filter: before an interface can appear that they are for.
    pub filter: Vec<FilterChange>,
    /// Files to remove.
    pub remove: BTreeSet<String>,
    /// Files to write, a few interfaces at a time: networkd reads its files again after each step.
    pub steps: Vec<Step>,
    /// Whether networkd must read its files again, even if there is no step.
    pub reload: bool,
    /// Interfaces that networkd must configure again.
    pub reconfigure: BTreeSet<String>,
    /// Interfaces to delete, in this order: networkd leaves them behind.
    pub delete: Vec<String>,
    /// What bridges and tunnels are not to be told any more of ports elsewhere.
    pub untell: Vec<Entry>,
    /// What they are to be told: when they are there.
    pub tell: Vec<Entry>,
    /// Ports that are gone, whose connections must not be inherited by the next one with their address.
    pub forget: BTreeSet<Endpoint>,
    /// Ports that are new.
    pub remember: BTreeSet<Endpoint>,
    /// Ranges of other VPCs that are reached from now on.
    pub meet: BTreeSet<PeerRange>,
    /// Whether connections must be looked through for those that the rules allow no longer, or that went by a peering that is
    /// no more.
    pub judge: bool,
    /// Gateways that are to be set up, when all else is there.
    pub gateways: BTreeMap<String, State>,
    /// Those of them whose namespace is to be made anew.
    pub renew: BTreeSet<String>,
    /// Gateways that are not here any more.
    pub end: BTreeSet<String>,
}

impl photon_reconcile::Plan for Plan {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn summary(&self) -> String {
        let filter: Vec<String> = self
            .filter
            .iter()
            .map(|change| {
                format!(
                    "{}: {} written, {} removed",
                    change.family,
                    change.write.len(),
                    change.remove.len()
                )
            })
            .collect();
        format!(
            "settings {}; filter [{}]; files {} written in {} steps, {} removed; reload {}; reconfigure {:?}; \
             delete {:?}; ports elsewhere {} told, {} no more; local behind VRFs {}; endpoints {} new, {} gone; peers {} new; judge connections {}; \
             gateways {} set up, {} of them anew, {} ended",
            self.set.len(),
            filter.join(", "),
            self.steps
                .iter()
                .map(|step| step.write.len())
                .sum::<usize>(),
            self.steps.len(),
            self.remove.len(),
            self.reload,
            self.reconfigure,
            self.delete,
            self.tell.len(),
            self.untell.len(),
            !self.precedence.is_empty(),
            self.remember.len(),
            self.forget.len(),
            self.meet.len(),
            self.judge,
            self.gateways.len(),
            self.renew.len(),
            self.end.len()
        )
    }
}

/// Bridged packets must not run through the IP hooks: the host's own firewall would decide about guests, and
/// connections would be tracked outside of their VPC's zone.
const BRIDGE_HOOKS: [&str; 3] = [
    "net/bridge/bridge-nf-call-arptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
];

impl Target {
    /// What `desired` comes to on a host whose underlay carries packets of `underlay_mtu` bytes. Nothing desired is a target
    /// too: empty tables, nothing else.
    pub fn of(desired: &Desired, limits: Limits, underlay_mtu: u32, egress: &Egress) -> Self {
        let mtu = underlay_mtu.saturating_sub(tunnel::OVERHEAD);
        let mut interfaces = BTreeMap::new();
        let mut settings = BTreeMap::new();
        let mut endpoints = BTreeSet::new();
        for vpc in &desired.vpcs {
            let vrf = vpc.vrf();
            interfaces.insert(vrf.clone(), interface::vrf(vpc, limits));
            for subnet in &vpc.subnets {
                let bridge = subnet.bridge();
                if subnet.v6.is_some() {
                    // networkd can only forward IPv6 on all interfaces of a host or on none.
                    for interface in [&vrf, &bridge] {
                        settings.insert(format!("net/ipv6/conf/{interface}/force_forwarding"), "1");
                    }
                }
                for port in &subnet.ports {
                    interfaces.insert(port.tap(), tap(subnet, port, mtu));
                    let addresses = [Some(port.address.into()), port.address6.map(IpAddr::from)];
                    endpoints.extend(addresses.into_iter().flatten().map(|address| Endpoint {
                        zone: vpc.zone,
                        address,
                        tap: port.tap(),
                    }));
                }
                if let Some(end) = &subnet.tunnel {
                    interfaces.insert(subnet.vxlan(), vxlan(&bridge, end, mtu));
                }
                interfaces.insert(bridge, segment(&vrf, subnet, mtu));
            }
        }
        let gateways = &desired.gateways;
        interfaces.extend(
            gateways
                .iter()
                .map(|it| (it.external_bridge(), interface::external())),
        );
        let ends = peering::ends(desired);
        let of_end = |end: &End<'_>| (end.name.clone(), interface::peering_end(end, mtu));
        interfaces.extend(ends.iter().map(of_end));
        let peers = ends.iter().map(|end| PeerRange {
            zone: end.vpc.zone,
            net: end.other,
        });
        let peers = peers.collect();
        if !desired.vpcs.is_empty() {
            settings.extend(BRIDGE_HOOKS.map(|key| (key.to_owned(), "0")));
            settings.extend(resolver_filter::DEAF.map(|key| (key.to_owned(), "0")));
        }
        Self {
            files: networkd::render(desired, mtu, limits, egress),
            tables: [
                guest_filter::render(desired, limits, egress),
                firewall::render(desired, limits),
            ],
            interfaces,
            settings,
            endpoints,
            peers,
            rules: connections::digest(desired),
            told: tunnel::entries(desired),
            legs: gateways::legs(gateways),
            gateways: gateway::states(desired, mtu, egress),
        }
    }

    /// What [`FilterMemory::judged`] is when all connections have been judged by these rules.
    pub fn rules(&self) -> &str {
        &self.rules
    }

    /// Ranges of other VPCs that are reached by peerings.
    pub fn peers(&self) -> &BTreeSet<PeerRange> {
        &self.peers
    }

    /// Our tables.
    pub fn tables(&self) -> &[Table; 2] {
        &self.tables
    }

    /// The kernel settings that matter.
    pub fn settings(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// Whether there should be an interface of this name.
    pub fn wants_interface(&self, name: &str) -> bool {
        self.interfaces.contains_key(name)
    }

    /// Whether every interface is there and as it should be, and none is left over.
    pub fn interfaces_are(&self, links: &[Link]) -> bool {
        let mut plan = Plan::default();
        self.compare_interfaces(links, &mut plan);
        plan == Plan::default()
    }

    /// Whether these interfaces are there and as they should be. What is not wanted at all does not count.
    pub fn are(&self, interfaces: &BTreeSet<String>, links: &[Link]) -> bool {
        let by_name = by_name(links);
        interfaces.iter().all(|name| {
            self.interfaces.get(name).is_none_or(|wanted| {
                by_name
                    .get(name.as_str())
                    .is_some_and(|link| wanted.is(link))
            })
        })
    }

    /// What must be done.
    pub fn plan(&self, observed: &Observed) -> Plan {
        let mut plan = Plan::default();
        for (key, value) in &self.settings {
            if observed.settings.get(key).is_some_and(|is| is != value) {
                plan.set.insert(key.clone(), (*value).to_owned());
            }
        }
        if !self.interfaces.is_empty() {
            plan.precedence = Precedence::of(&observed.local);
        }
        self.compare_told(&observed.told, &mut plan);
        let nothing = BTreeMap::new();
        for table in &self.tables {
            let family = table.family_name();
            plan.filter.extend(table.difference(
                observed.tables.get(family),
                observed.memory.tables.get(family).unwrap_or(&nothing),
            ));
        }
        let mut write = Files::new();
        for (name, contents) in &self.files {
            if observed.files.get(name).and_then(Option::as_ref) != Some(contents) {
                write.insert(name.clone(), contents.clone());
            }
        }
        for name in observed.files.keys() {
            if !self.files.contains_key(name) {
                plan.remove.insert(name.clone());
            }
        }
        let known = &observed.memory.endpoints;
        plan.forget = known.difference(&self.endpoints).cloned().collect();
        plan.remember = self.endpoints.difference(known).cloned().collect();
        self.compare_interfaces(&observed.links, &mut plan);
        self.compare_gateways(observed, &mut plan);
        if observed.stuck {
            self.renew(&observed.links, &mut plan);
        }
        plan.reload |= !write.is_empty() || !plan.remove.is_empty();
        // What networkd configures on reading its files again need not be asked for once more.
        plan.reconfigure.retain(|name| {
            let file = format!("{}{name}.network", super::FILE_PREFIX);
            !write.contains_key(&file)
        });
        plan.steps = step::steps(write);
        let met = &observed.memory.peers;
        plan.meet = self.peers.difference(met).copied().collect();
        plan.judge = observed.memory.judged != self.rules || !met.is_subset(&self.peers);
        plan
    }

    /// networkd may take a bridge for failed that is there, and then never gives it a port again, whatever it is
    /// told. A bridge that ports are missing from is made anew, unless a guest is connected to it.
    fn renew(&self, links: &[Link], plan: &mut Plan) {
        let by_name = by_name(links);
        let mut failed = BTreeSet::new();
        for (name, wanted) in &self.interfaces {
            let Some(master) = &wanted.master else {
                continue;
            };
            let is_apart = by_name
                .get(name.as_str())
                .is_some_and(|link| link.kind == wanted.kind && link.master != wanted.master);
            let is_bridge = by_name
                .get(master.as_str())
                .is_some_and(|link| link.kind == Kind::Bridge);
            if is_apart && is_bridge {
                failed.insert(master.clone());
            }
        }
        failed.retain(|bridge| {
            // A tunnel has a carrier always.
            let in_use = |link: &Link| {
                link.master.as_ref() == Some(bridge) && link.kind == Kind::Tun && link.carrier
            };
            !links.iter().any(in_use)
        });
        for bridge in failed {
            plan.reconfigure.remove(&bridge);
            plan.delete.push(bridge);
            plan.reload = true;
        }
    }

    /// What has a place that something else is to have is not removed before: it is replaced.
    fn compare_told(&self, observed: &[Entry], plan: &mut Plan) {
        let observed: BTreeSet<&Entry> = observed
            .iter()
            .filter(|entry| is_ours(entry.device()))
            .collect();
        let places: BTreeSet<Place<'_>> = self.told.iter().map(Entry::place).collect();
        let left_over = observed
            .iter()
            .filter(|entry| !places.contains(&entry.place()));
        plan.untell = left_over.map(|entry| (*entry).clone()).collect();
        let missing = self.told.iter().filter(|entry| !observed.contains(entry));
        plan.tell = missing.cloned().collect();
    }

    fn compare_interfaces(&self, links: &[Link], plan: &mut Plan) {
        let by_name = by_name(links);
        for (name, wanted) in &self.interfaces {
            match by_name.get(name.as_str()) {
                None => plan.reload = true,
                Some(link) if link.kind != wanted.kind => {
                    plan.delete.push(name.clone());
                    plan.reload = true;
                }
                Some(link) if !wanted.is(link) => {
                    plan.reconfigure.insert(name.clone());
                }
                Some(_) => {}
            }
        }
        for link in links {
            match self.legs.get(&link.name) {
                // Whether it is there at all is the gateway's matter, for which nobody else waits.
                Some(bridge) if link.master.as_ref() != Some(bridge) || !link.up => {
                    plan.reconfigure.insert(link.name.clone());
                }
                Some(_) => {}
                None if is_ours(&link.name) && !self.interfaces.contains_key(&link.name) => {
                    plan.delete.push(link.name.clone());
                }
                None => {}
            }
        }
        // TAPs, tunnels, bridges, VRFs: a bridge that is deleted first would let its ports loose.
        plan.delete
            .sort_by_key(|name| (Reverse(step::rank(name)), name.clone()));
    }
}

/// Why a port can't be used yet; `None` when its TAP is up in its bridge.
pub fn port_problem(subnet: &Subnet, port: &Port, links: &[Link]) -> Option<String> {
    let tap = port.tap();
    let bridge = subnet.bridge();
    let Some(link) = links.iter().find(|link| link.name == tap) else {
        return Some(format!("interface {tap} is not there yet"));
    };
    if link.master.as_deref() != Some(bridge.as_str()) {
        return Some(format!("interface {tap} is not in bridge {bridge} yet"));
    }
    (!link.up).then(|| format!("interface {tap} is not up yet"))
}
