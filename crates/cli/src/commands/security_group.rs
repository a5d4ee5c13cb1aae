//! Security groups.

use std::collections::HashMap;

use clap::{Args, Subcommand, ValueEnum};
use photon_api::prismnet::v1::{
    AddRuleRequest, CreateSecurityGroupRequest, DeleteSecurityGroupRequest, Direction,
    GetSecurityGroupRequest, Labels, ListSecurityGroupsRequest, Protocol, RemoveRuleRequest,
    SecurityGroup, SecurityGroupRule, UpdateSecurityGroupRequest,
};

use photon_client::call::Resource;
use serde_json::{Value, json};

use super::{NewLabels, OtherLabels, Renaming};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Action, All, Changing, Desk, Flags, Noun, Removal, USUAL, Whole, Words, plain_request,
};
use crate::output::{Column, Shape, to_json};

/// Security groups and their rules.
pub struct SecurityGroups;

impl Noun for SecurityGroups {
    type Resource = SecurityGroup;
    type Get = GetSecurityGroupRequest;
    type Filter = All<ListSecurityGroupsRequest>;
    type Update = Update;
    type Delete = DeleteSecurityGroupRequest;

    const WORDS: Words = Words {
        noun: "security group",
        create: "Make a group: nothing in, everything out, until rules say otherwise",
        get: "Show one, with its rules",
        delete: "Remove one that no port and no rule uses any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("DEFAULT", "is_default"),
        ("DESCRIPTION", "description"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    async fn print(desk: &Desk<'_>, group: &SecurityGroup) -> Result<(), Failure> {
        if !desk.output.for_people() {
            return desk.output.one(group);
        }
        let mut shown = to_json(SecurityGroup::NAME, group)?;
        if let Some(fields) = shown.as_object_mut() {
            fields.shift_remove("rules");
        }
        desk.output.value(&shown)?;
        desk.output.line("")?;
        let by_group = group
            .rules
            .iter()
            .any(|rule| !rule.remote_group_id.is_empty());
        let groups = match by_group {
            true => desk.names::<ListSecurityGroupsRequest>().await,
            false => HashMap::new(),
        };
        let rules = group.rules.iter().map(|rule| rule_row(rule, &groups));
        desk.output
            .rows(rules.collect(), RULES, &Shape::default(), None)
    }
}

/// The columns of rules.
const RULES: &[Column] = &[
    ("RULE", "id"),
    ("DIRECTION", "direction"),
    ("PROTOCOL", "protocol"),
    ("PORTS", "ports"),
    ("FROM OR TO", "remote"),
    ("DESCRIPTION", "description"),
];

/// A rule as people read it.
fn rule_row(rule: &SecurityGroupRule, groups: &HashMap<String, String>) -> Value {
    let ports = match (rule.port_min, rule.port_max) {
        (0, 0) => "all".to_owned(),
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min}-{max}"),
    };
    let remote = if !rule.remote_group_id.is_empty() {
        let id = &rule.remote_group_id;
        format!("group {}", groups.get(id).unwrap_or(id))
    } else if rule.remote_cidr.is_empty() {
        "anywhere".to_owned()
    } else {
        rule.remote_cidr.clone()
    };
    json!({
        "id": rule.id,
        "direction": rule.direction().as_str_name(),
        "protocol": rule.protocol().as_str_name(),
        "ports": ports,
        "remote": remote,
        "description": rule.description,
    })
}

impl Whole for SecurityGroups {
    type New = New;
    type Actions = RuleAction;
    type Removal = Removal<Self>;
}

/// What else a security group can do.
#[derive(Subcommand)]
pub enum RuleAction {
    /// Permit more: `photon security-group add-rule web --in --protocol tcp --ports 80 --from 0.0.0.0/0`.
    AddRule(Box<Changing<NewRule>>),
    /// Permit less.
    RemoveRule(Changing<OldRule>),
}

impl Action for RuleAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        let group = match self {
            Self::AddRule(new) => {
                let once = new.once.clone();
                desk.make(&once, new.flags.request(desk).await?).await
            }
            Self::RemoveRule(old) => {
                let name = &old.flags.name;
                let request = RemoveRuleRequest {
                    security_group_id: desk.id_of::<SecurityGroups>(name, &old.once).await?,
                    rule_id: old.flags.rule.clone(),
                    ..Default::default()
                };
                desk.make(&old.once, request).await
            }
        };
        SecurityGroups::print(desk, &group?).await
    }
}

/// A rule to take away.
#[derive(Args)]
pub struct OldRule {
    /// Group (name or id).
    #[arg(add = names::<SecurityGroups>())]
    name: String,
    /// The rule's id, as `get` shows it.
    rule: String,
}

/// A security group to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateSecurityGroupRequest, |this| {
        name: this.name,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    #[command(flatten)]
    labels: OtherLabels,
}

plain_request! {
    Update as UpdateSecurityGroupRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}

/// A rule to add.
#[derive(Args)]
pub struct NewRule {
    /// Group (name or id).
    #[arg(add = names::<SecurityGroups>())]
    name: String,
    /// What comes to the ports of the group.
    #[arg(
        long = "in",
        conflicts_with = "egress",
        required_unless_present = "egress"
    )]
    ingress: bool,
    /// What leaves the ports of the group.
    #[arg(long = "out")]
    egress: bool,
    /// Which protocol.
    #[arg(long, value_enum, default_value_t = ProtocolName::Any)]
    protocol: ProtocolName,
    /// One port or a range, for example 443 or 8000-8080. Default: all.
    #[arg(long, value_parser = parse_ports)]
    ports: Option<(u32, u32)>,
    /// Only from or to this CIDR.
    #[arg(
        long,
        visible_alias = "to",
        value_name = "CIDR",
        default_value = "",
        hide_default_value = true
    )]
    from: String,
    /// Only from or to ports of this group (name or id).
    #[arg(
        long,
        visible_alias = "to-group",
        value_name = "GROUP",
        add = names::<SecurityGroups>(),
        conflicts_with = "from"
    )]
    from_group: Option<String>,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
}

/// Protocols of a rule.
#[derive(Clone, Copy, ValueEnum)]
pub enum ProtocolName {
    /// All of them.
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, for IPv6 ICMPv6.
    Icmp,
}

fn parse_ports(text: &str) -> Result<(u32, u32), String> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        text.trim()
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .map(u32::from)
    };
    match (port(min), port(max)) {
        (Some(min), Some(max)) if min <= max => Ok((min, max)),
        _ => Err("expected a port (443) or a range (8000-8080) of 1 to 65535".to_owned()),
    }
}

impl Flags for NewRule {
    type Request = AddRuleRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<AddRuleRequest, Failure> {
        let id = async |name: &str| {
            let group = desk.find::<GetSecurityGroupRequest>("security group", name);
            Ok::<String, Failure>(group.await?.id)
        };
        let remote_group_id = match &self.from_group {
            Some(group) => id(group).await?,
            None => String::new(),
        };
        let (port_min, port_max) = self.ports.unwrap_or_default();
        let direction = match self.ingress {
            true => Direction::Ingress,
            false => Direction::Egress,
        };
        let rule = SecurityGroupRule {
            id: String::new(),
            direction: direction.into(),
            protocol: Protocol::from(self.protocol).into(),
            port_min,
            port_max,
            remote_cidr: self.from,
            remote_group_id,
            description: self.description,
        };
        Ok(AddRuleRequest {
            security_group_id: id(&self.name).await?,
            rule: Some(rule),
            ..Default::default()
        })
    }
}

impl From<ProtocolName> for Protocol {
    fn from(name: ProtocolName) -> Self {
        match name {
            ProtocolName::Any => Self::Any,
            ProtocolName::Tcp => Self::Tcp,
            ProtocolName::Udp => Self::Udp,
            ProtocolName::Icmp => Self::Icmp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_as_it_was_written() {
        let groups = HashMap::from([("g1".to_owned(), "web".to_owned())]);
        let rule = |min, max, cidr: &str, group: &str| SecurityGroupRule {
            port_min: min,
            port_max: max,
            remote_cidr: cidr.into(),
            remote_group_id: group.into(),
            ..Default::default()
        };
        for (rule, ports, remote) in [
            (rule(0, 0, "", ""), "all", "anywhere"),
            (rule(80, 80, "10.0.0.0/8", ""), "80", "10.0.0.0/8"),
            (rule(80, 90, "", "g1"), "80-90", "group web"),
            (rule(80, 90, "", "g2"), "80-90", "group g2"),
        ] {
            let row = rule_row(&rule, &groups);
            assert_eq!(
                (&row["ports"], &row["remote"]),
                (&json!(ports), &json!(remote))
            );
        }
    }

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(parse_ports("443"), Ok((443, 443)));
        assert_eq!(parse_ports("8000-8080"), Ok((8000, 8080)));
        for bad in ["", "0", "70000", "9-8", "a", "-5", "1-2-3"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
    }
}
