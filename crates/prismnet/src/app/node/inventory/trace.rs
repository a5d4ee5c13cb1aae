//! What becomes of a packet of a guest, as far as the control plane knows: which port, rule, route, gateway or missing thing
//! decides. Pure. Hosts do what they are told here; whether one is up is not known.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use photon_resource::VpcId;

use super::Inventory;
use crate::model::{
    Direction, FloatingIp, NatGateway, Peering, Port, Remote, Route, RouteTarget, Rule, Subnet,
    Traffic,
};

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub to: IpAddr,
    pub traffic: Asked,
}

/// What kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Tcp(u16),
    Udp(u16),
    Icmp,
}

/// The way of a packet, up to where it is decided: by the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub steps: Vec<Step>,
    pub verdict: Verdict,
}

/// One thing on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it is: `port`, `security group rule`, `route`.
    pub kind: &'static str,
    /// Its id; empty: it is not there.
    pub id: String,
    /// What it is called, or the id if it has no name.
    pub name: String,
    /// What it does, for people.
    pub text: String,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives, or leaves the cloud.
    Allowed,
    Dropped,
    /// The other VPC decides, of which the one who asks sees nothing.
    Beyond,
}

/// The ports at which hosts answer guests themselves: DNS and DHCP.
const RESOLVER: u16 = 53;

impl Inventory {
    /// What becomes of a packet from a port.
    pub fn trace(&self, port: &Port, question: Question) -> Trace {
        let mut way = Way {
            inventory: self,
            question,
            steps: Vec::new(),
        };
        let verdict = way.leave(port);
        Trace {
            steps: way.steps,
            verdict,
        }
    }
}

struct Way<'a> {
    inventory: &'a Inventory,
    question: Question,
    steps: Vec<Step>,
}

/// Where a VPC sends what is for an address.
enum Next<'a> {
    Subnet(&'a Subnet),
    Peering(&'a Peering),
    Route(&'a Route),
    Gateway(&'a NatGateway),
}

impl<'a> Way<'a> {
    fn step(&mut self, kind: &'static str, id: impl ToString, name: &str, text: impl Into<String>) {
        self.steps.push(Step {
            kind,
            id: id.to_string(),
            name: name.to_owned(),
            text: text.into(),
        });
    }

    fn leave(&mut self, port: &'a Port) -> Verdict {
        let name = &port.meta.name;
        let Some(attachment) = &port.attachment else {
            self.step(
                "port",
                port.id,
                name,
                "no device has it: nothing is sent from it",
            );
            return Verdict::Dropped;
        };
        let own = self.own_address(port);
        let Some(own) = own else {
            self.step("port", port.id, name, "has no IPv6 address");
            return Verdict::Dropped;
        };
        let text = format!(
            "{own} of device {} on host {}",
            attachment.device_id, attachment.node
        );
        self.step("port", port.id, name, text);
        if let Some(verdict) = self.router(port) {
            return verdict;
        }
        let to = self.question.to;
        if !self.judged(port, Direction::Egress, to) {
            return Verdict::Dropped;
        }
        self.route(port, own)
    }

    fn own_address(&self, port: &Port) -> Option<IpAddr> {
        match self.question.to {
            IpAddr::V4(_) => Some(port.address.into()),
            IpAddr::V6(_) => port.ipv6_address.map(IpAddr::from),
        }
    }

    /// What the VPC's router on the guest's own host answers itself.
    fn router(&mut self, port: &Port) -> Option<Verdict> {
        let to = self.question.to;
        let subnets = self.inventory.subnets_of_vpc.get(&port.vpc_id);
        let mut subnets = subnets.into_iter().flatten();
        let subnet = subnets.find_map(|id| {
            let subnet = self.inventory.subnets.get(id)?;
            let gateway6 = subnet.ipv6.map(|ipv6| IpAddr::V6(ipv6.gateway));
            (to == IpAddr::V4(subnet.gateway) || Some(to) == gateway6).then_some(subnet)
        })?;
        let (verdict, text) = match self.question.traffic {
            Asked::Icmp => (Verdict::Allowed, "is its gateway, which answers pings"),
            Asked::Udp(RESOLVER) | Asked::Tcp(RESOLVER) => (
                Verdict::Allowed,
                "is its gateway, which answers for names where the host has a resolver",
            ),
            _ => (
                Verdict::Dropped,
                "is its gateway, which answers pings, DHCP and questions for names alone",
            ),
        };
        self.step(
            "subnet",
            subnet.id,
            &subnet.meta.name,
            format!("{to} {text}"),
        );
        Some(verdict)
    }

    /// Whether a rule of the port's groups permits it, to or from an address.
    fn judged(&mut self, port: &'a Port, direction: Direction, remote: IpAddr) -> bool {
        let groups = port.security_groups.iter();
        let groups: Vec<_> = groups
            .filter_map(|id| self.inventory.groups.get(id))
            .collect();
        let (verb, side) = match direction {
            Direction::Egress => ("out", "to"),
            Direction::Ingress => ("in", "from"),
        };
        let found = groups.iter().find_map(|group| {
            let mut rules = group.rules.iter();
            let rule = rules
                .find(|rule| rule.direction == direction && self.covers(rule, port.vpc_id, remote));
            rule.map(|rule| (*group, rule))
        });
        match found {
            Some((group, rule)) => {
                let text = format!(
                    "of security group '{}' lets it {verb} {side} {remote}",
                    group.meta.name
                );
                self.step("security group rule", rule.id, &rule.id.to_string(), text);
                true
            }
            None => {
                let names: Vec<_> = groups
                    .iter()
                    .map(|it| format!("'{}'", it.meta.name))
                    .collect();
                let text = format!(
                    "no rule of security groups {} of port '{}' lets it {verb} {side} {remote}",
                    names.join(", "),
                    port.meta.name
                );
                let (id, name) = groups.first().map_or_else(
                    || (String::new(), String::new()),
                    |group| (group.id.to_string(), group.meta.name.clone()),
                );
                self.step("security group", id, &name, text);
                false
            }
        }
    }

    fn covers(&self, rule: &Rule, vpc: VpcId, remote: IpAddr) -> bool {
        let within =
            |range: crate::model::PortRange, port| (range.first..=range.last).contains(&port);
        let traffic = match (rule.traffic, self.question.traffic) {
            (Traffic::Any, _) | (Traffic::Icmp, Asked::Icmp) => true,
            (Traffic::Tcp(range), Asked::Tcp(port)) | (Traffic::Udp(range), Asked::Udp(port)) => {
                within(range, port)
            }
            _ => false,
        };
        traffic
            && match rule.remote {
                Remote::Anybody => true,
                Remote::Cidr(net) => net.contains(&remote),
                Remote::Group(group) => self.inventory.members(group, vpc).contains(&remote),
            }
    }

    fn route(&mut self, port: &'a Port, own: IpAddr) -> Verdict {
        let to = self.question.to;
        let Some(next) = self.next(port.vpc_id, to) else {
            let vpc = self.inventory.vpcs.get(&port.vpc_id);
            let name = vpc.map_or("", |vpc| vpc.meta.name.as_str());
            let text =
                format!("no subnet, route or peering of it is for {to}, and it has no NAT gateway");
            self.step("VPC", port.vpc_id, name, text);
            return Verdict::Dropped;
        };
        match next {
            Next::Subnet(subnet) => {
                let cidr = subnet.cidr;
                self.step(
                    "subnet",
                    subnet.id,
                    &subnet.meta.name,
                    format!("{cidr} has {to}"),
                );
                self.arrive(port.vpc_id, own)
            }
            Next::Peering(peering) => self.cross(peering, own),
            Next::Route(route) => self.follow(route, own),
            Next::Gateway(gateway) => self.go_out(gateway, port, "is the way out for all else"),
        }
    }

    /// The longest prefix, as hosts have them.
    fn next(&self, vpc: VpcId, to: IpAddr) -> Option<Next<'a>> {
        let inventory = self.inventory;
        let subnets = inventory.subnets_of_vpc.get(&vpc).into_iter().flatten();
        let mut subnets = subnets.filter_map(|id| inventory.subnets.get(id));
        let direct = subnets.find(|subnet| match to {
            IpAddr::V4(to) => subnet.cidr.contains(&to),
            IpAddr::V6(to) => subnet.ipv6.is_some_and(|ipv6| ipv6.cidr.contains(&to)),
        });
        if let Some(subnet) = direct {
            return Some(Next::Subnet(subnet));
        }
        let IpAddr::V4(to) = to else {
            return None;
        };
        let peerings = inventory
            .peerings
            .of(vpc)
            .map(|it| match it.asker.vpc_id == vpc {
                true => (it.asked.cidr, Next::Peering(it.asker)),
                false => (it.asker.cidr, Next::Peering(it.asked)),
            });
        let routes = inventory
            .routes
            .of(vpc)
            .map(|it| (it.destination, Next::Route(it)));
        let all = peerings
            .chain(routes)
            .filter(|(net, _): &(Ipv4Net, _)| net.contains(&to));
        let longest = all.max_by_key(|(net, _)| net.prefix_len());
        longest
            .map(|(_, next)| next)
            .or_else(|| inventory.egress.gateway_of(vpc).map(Next::Gateway))
    }

    /// At the port of a VPC that has the address.
    fn arrive(&mut self, vpc: VpcId, from: IpAddr) -> Verdict {
        let to = self.question.to;
        let mut ports = self.inventory.ports.values();
        let has = |port: &&Port| {
            port.vpc_id == vpc
                && (to == IpAddr::V4(port.address) || port.ipv6_address.map(IpAddr::V6) == Some(to))
        };
        let Some(port) = ports.find(has) else {
            self.step("port", "", "", format!("no port has {to}"));
            return Verdict::Dropped;
        };
        self.enter(port, from, "has it")
    }

    /// Into a port, as its groups permit.
    fn enter(&mut self, port: &'a Port, from: IpAddr, why: &str) -> Verdict {
        let Some(attachment) = &port.attachment else {
            let text = format!("{why}, and no device has the port");
            self.step("port", port.id, &port.meta.name, text);
            return Verdict::Dropped;
        };
        let text = format!("{why}, on host {}", attachment.node);
        self.step("port", port.id, &port.meta.name, text);
        match self.judged(port, Direction::Ingress, from) {
            true => Verdict::Allowed,
            false => Verdict::Dropped,
        }
    }

    fn follow(&mut self, route: &'a Route, own: IpAddr) -> Verdict {
        let (name, net) = (&route.meta.name, route.destination);
        match route.target {
            RouteTarget::Blackhole => {
                self.step("route", route.id, name, format!("{net} leads nowhere"));
                Verdict::Dropped
            }
            RouteTarget::Port(id) => {
                self.step("route", route.id, name, format!("{net} leads to port {id}"));
                match self.inventory.ports.get(&id) {
                    Some(port) => self.enter(port, own, "takes it, and its device sends it on"),
                    None => {
                        self.step("port", id, &id.to_string(), "is not there any more");
                        Verdict::Dropped
                    }
                }
            }
            RouteTarget::NatGateway(_) => {
                self.step(
                    "route",
                    route.id,
                    name,
                    format!("{net} leads to the NAT gateway"),
                );
                match self.inventory.egress.gateway_of(route.vpc_id) {
                    Some(gateway) => {
                        let ports = self.inventory.ports.values();
                        let sender = ports.into_iter().find(|port| {
                            port.vpc_id == route.vpc_id && IpAddr::V4(port.address) == own
                        });
                        match sender {
                            Some(sender) => self.go_out(gateway, sender, "takes it"),
                            None => Verdict::Dropped,
                        }
                    }
                    None => Verdict::Dropped,
                }
            }
        }
    }

    fn cross(&mut self, peering: &'a Peering, own: IpAddr) -> Verdict {
        let peer = &peering.peer;
        let text = format!(
            "leads to VPC {} of {}/{}",
            peer.vpc_id, peer.org_id, peer.project_id
        );
        self.step("peering", peering.id, &peering.meta.name, text);
        let same = peering.meta.org_id == peer.org_id && peering.meta.project_id == peer.project_id;
        if same {
            return self.arrive(peer.vpc_id, own);
        }
        let text = "of another project: its ports and security groups decide, which its people see";
        self.step("VPC", peer.vpc_id, &peer.vpc_id.to_string(), text);
        Verdict::Beyond
    }

    fn go_out(&mut self, gateway: &'a NatGateway, port: &Port, why: &str) -> Verdict {
        let egress = &self.inventory.egress;
        let name = &gateway.meta.name;
        let Some(host) = egress.host_of(gateway) else {
            let text = format!("{why}, and no host has an interface in its external network");
            self.step("NAT gateway", gateway.id, name, text);
            return Verdict::Dropped;
        };
        self.step(
            "NAT gateway",
            gateway.id,
            name,
            format!("{why}, on host {host}"),
        );
        let floating = egress.floating_in(gateway.vpc_id);
        let of_port = |it: &&&FloatingIp| it.association.is_some_and(|it| it.port_id == port.id);
        match floating.iter().find(of_port) {
            Some(it) => {
                let text = format!("it leaves the cloud from {}", it.address);
                self.step("floating IP", it.id, &it.meta.name, text);
            }
            None => {
                let addresses: Vec<String> =
                    gateway.addresses.iter().map(Ipv4Addr::to_string).collect();
                let text = format!("it leaves the cloud from {}", addresses.join(" or "));
                self.step("NAT gateway", gateway.id, name, text);
            }
        }
        Verdict::Allowed
    }
}

#[cfg(test)]
mod tests;
