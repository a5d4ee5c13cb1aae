//! Security groups: stateful filters at the port.

mod cells;

use std::collections::BTreeSet;

use ipnet::IpNet;
use photon_resource::{
    Changes, Error, Meta, NewMeta, RuleId, SecurityGroupId, validate_description,
};

/// Name of the group that every project gets with its first port.
pub const DEFAULT_GROUP: &str = "default";

/// As many rules as one group may have: each is a rule in the filter of every host with a port of the group.
pub const MAX_RULES: usize = 250;
/// Into as many boxes of ports and addresses the rules of one group may be cut: a host's filter has each of them, and changes
/// all of its tenants' at once.
pub const MAX_CELLS: usize = 4000;
/// Most other groups that a group's rules name: each of them is written to when the group is made or deleted, all in one
/// transaction.
pub const MAX_REMOTE_GROUPS: usize = 32;

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub meta: Meta,
    pub rules: Vec<Rule>,
    /// The project's default group.
    pub is_default: bool,
}

/// One rule: this traffic may pass, and so may its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: RuleId,
    pub direction: Direction,
    pub traffic: Traffic,
    pub remote: Remote,
    pub description: String,
}

/// Seen from the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Ingress,
    Egress,
}

/// What kind of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    Any,
    Tcp(PortRange),
    Udp(PortRange),
    /// ICMP for IPv4 peers, ICMPv6 for IPv6 peers.
    Icmp,
}

/// Destination ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// The other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Anybody,
    Cidr(IpNet),
    Group(SecurityGroupId),
}

/// A rule to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRule {
    pub direction: Direction,
    pub traffic: Traffic,
    pub remote: Remote,
    pub description: String,
}

/// A group to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecurityGroup {
    pub meta: NewMeta,
    pub rules: Vec<NewRule>,
}

/// What an update changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroupChanges {
    pub meta: Changes,
    /// `None`: they stay as they are.
    pub rules: Option<Vec<NewRule>>,
}

impl SecurityGroupChanges {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()?;
        let mut rules = self.rules.iter().flatten();
        rules.try_for_each(NewRule::validate)
    }
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self {
        first: 1,
        last: u16::MAX,
    };

    /// Reads both ends as the API gives them: both 0 for all ports, else 1 to 65535 and in order.
    pub fn parse(min: u32, max: u32) -> Result<Self, Error> {
        if (min, max) == (0, 0) {
            return Ok(Self::ALL);
        }
        let end = |field: &str, value: u32| {
            u16::try_from(value)
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| {
                    Error::invalid(
                        field,
                        value,
                        "1 to 65535, or port_min and port_max both 0 for all ports",
                    )
                })
        };
        let (first, last) = (end("port_min", min)?, end("port_max", max)?);
        if first > last {
            return Err(Error::invalid(
                "port_max",
                max,
                format!("at least port_min ({min})"),
            ));
        }
        Ok(Self { first, last })
    }
}

impl Remote {
    /// Reads a remote CIDR: any network but with no bits beyond its prefix.
    pub fn parse_cidr(text: &str) -> Result<Self, Error> {
        let net: IpNet = text.parse().map_err(|_| {
            Error::invalid(
                "remote_cidr",
                text,
                "an IPv4 or IPv6 network in CIDR form such as 10.0.0.0/16, 203.0.113.7/32 or ::/0",
            )
        })?;
        if net.trunc() != net {
            return Err(Error::invalid(
                "remote_cidr",
                text,
                format!("the network's own address: {}", net.trunc()),
            ));
        }
        Ok(Self::Cidr(net))
    }
}

impl NewRule {
    /// Everything out, to anybody.
    pub fn everything_out() -> Self {
        Self {
            direction: Direction::Egress,
            traffic: Traffic::Any,
            remote: Remote::Anybody,
            description: String::new(),
        }
    }

    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        validate_description(&self.description)
    }

    /// The rule, with an id.
    pub fn into_rule(self) -> Rule {
        Rule {
            id: RuleId::generate(),
            direction: self.direction,
            traffic: self.traffic,
            remote: self.remote,
            description: self.description,
        }
    }

    fn same_as(&self, rule: &Rule) -> bool {
        (self.direction, self.traffic, self.remote) == (rule.direction, rule.traffic, rule.remote)
    }
}

impl NewSecurityGroup {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()?;
        if self.meta.name == DEFAULT_GROUP {
            return Err(Error::invalid(
                "name",
                DEFAULT_GROUP,
                "another name: the project's default group is made by itself with its first port",
            ));
        }
        self.rules.iter().try_for_each(NewRule::validate)
    }

    /// The rules with ids; without egress rules, everything may go out. Errors as [`SecurityGroup::add_rule`].
    pub fn into_rules(rules: Vec<NewRule>) -> Result<Vec<Rule>, Error> {
        let mut all = Vec::with_capacity(rules.len() + 1);
        if !rules.iter().any(|rule| rule.direction == Direction::Egress) {
            all.push(NewRule::everything_out().into_rule());
        }
        for rule in rules {
            push_rule(&mut all, rule)?;
        }
        Ok(all)
    }
}

fn push_rule(rules: &mut Vec<Rule>, new: NewRule) -> Result<(), Error> {
    if let Some(same) = rules.iter().find(|rule| new.same_as(rule)) {
        return Err(Error::already_exists("security group rule", same.id));
    }
    if rules.len() >= MAX_RULES {
        return Err(Error::quota_exceeded(
            "security_group_rules",
            rules.len() as u64,
            MAX_RULES as u64,
            format!(
                "a security group has at most {MAX_RULES} rules: remove one, or use a second group"
            ),
        ));
    }
    let group_of = |remote: &Remote| match remote {
        Remote::Group(group) => Some(*group),
        _ => None,
    };
    let mut groups: BTreeSet<_> = rules
        .iter()
        .filter_map(|rule| group_of(&rule.remote))
        .collect();
    // Those that there are from before this limit stay.
    if group_of(&new.remote).is_some_and(|group| groups.insert(group))
        && groups.len() > MAX_REMOTE_GROUPS
    {
        return Err(Error::ResourceExhausted(format!(
            "the rules of a security group name at most {MAX_REMOTE_GROUPS} groups: give their ports one group together"
        )));
    }
    let before = cells::cells(rules);
    rules.push(new.into_rule());
    let after = cells::cells(rules);
    if after > MAX_CELLS && after > before {
        return Err(Error::quota_exceeded(
            "security_group_cells",
            before as u64,
            MAX_CELLS as u64,
            format!(
                "the port ranges of a security group's rules overlap so often that they are {after} of ports and addresses, \
                 and may be {MAX_CELLS}: use ranges that are the same or apart, or a second group"
            ),
        ));
    }
    Ok(())
}

impl SecurityGroup {
    /// The rules of a default group: nothing in but from the same group, everything out.
    pub fn default_rules(id: SecurityGroupId) -> Vec<Rule> {
        let same_group = NewRule {
            direction: Direction::Ingress,
            traffic: Traffic::Any,
            remote: Remote::Group(id),
            description: "from ports of this group".into(),
        };
        vec![
            NewRule::everything_out().into_rule(),
            same_group.into_rule(),
        ]
    }

    /// Into how many boxes of ports and addresses its rules are cut.
    pub fn cells(&self) -> usize {
        cells::cells(&self.rules)
    }

    /// Adds a rule. Errors: `AlreadyExists` naming the rule that says the same, `ResourceExhausted` at
    /// [`MAX_RULES`] and [`MAX_CELLS`].
    pub fn add_rule(&mut self, new: NewRule) -> Result<(), Error> {
        push_rule(&mut self.rules, new)
    }

    /// Has these rules and no others. One that says the same as a rule that is there keeps its id.
    ///
    /// Errors: `AlreadyExists` for two that say the same, `ResourceExhausted` beyond [`MAX_RULES`].
    pub fn set_rules(&mut self, new: Vec<NewRule>) -> Result<(), Error> {
        let mut rules = Vec::with_capacity(new.len());
        for rule in new {
            let there = self.rules.iter().find(|it| rule.same_as(it));
            let id = there.map(|rule| rule.id);
            push_rule(&mut rules, rule)?;
            if let (Some(id), Some(pushed)) = (id, rules.last_mut()) {
                pushed.id = id;
            }
        }
        self.rules = rules;
        Ok(())
    }

    /// Removes a rule. Errors: `NotFound`.
    pub fn remove_rule(&mut self, id: RuleId) -> Result<Rule, Error> {
        match self.rules.iter().position(|rule| rule.id == id) {
            Some(at) => Ok(self.rules.remove(at)),
            None => Err(Error::not_found(RuleId::KIND, id)),
        }
    }

    /// The other groups that its rules name.
    pub fn remote_groups(&self) -> impl Iterator<Item = SecurityGroupId> + '_ {
        self.rules.iter().filter_map(|rule| match rule.remote {
            Remote::Group(group) if group != self.id => Some(group),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
