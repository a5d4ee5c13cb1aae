//! Security groups.

use clap::{Args, Subcommand, ValueEnum};
use photon_api::prismnet::v1::{
    AddRuleRequest, CreateSecurityGroupRequest, DeleteSecurityGroupRequest, Direction,
    GetSecurityGroupRequest, Labels, ListSecurityGroupsRequest, Protocol, RemoveRuleRequest,
    SecurityGroup, SecurityGroupRule, UpdateSecurityGroupRequest,
};

use super::{all_pages, confirm, label_map, parse_label, present};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "prismnet.v1.SecurityGroup";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("DEFAULT", "is_default"),
    ("DESCRIPTION", "description"),
    ("LABELS", "labels"),
];

/// Security groups.
#[derive(Subcommand)]
pub enum SecurityGroupCommand {
    /// Make a group: nothing in, everything out, until rules say otherwise.
    Create {
        /// Its name, unique in the project.
        name: String,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// KEY=VALUE; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Show one, with its rules.
    Get {
        /// Name or id.
        name: String,
    },
    /// List the project's.
    List,
    /// Change name, description or labels.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Remove one that no port and no rule uses any more.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Permit more: `photon security-group add-rule web --in --protocol tcp --ports 80 --from 0.0.0.0/0`.
    AddRule(NewRule),
    /// Permit less.
    RemoveRule {
        /// Group (name or id).
        name: String,
        /// The rule's id, as `get` shows it.
        rule: String,
    },
}

/// A rule to add.
#[derive(Args)]
pub struct NewRule {
    /// Group (name or id).
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
    #[arg(long, visible_alias = "to", value_name = "CIDR", default_value = "")]
    from: String,
    /// Only from or to ports of this group (name or id).
    #[arg(
        long,
        visible_alias = "to-group",
        value_name = "GROUP",
        conflicts_with = "from"
    )]
    from_group: Option<String>,
    /// What it is for.
    #[arg(long, default_value = "")]
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

/// The security group of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<SecurityGroup, Failure> {
    let request = GetSecurityGroupRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session
        .security_groups()
        .await?
        .get_security_group(request)
        .await?
        .into_inner();
    present(answer.security_group, "security group")
}

/// `photon security-group`
pub async fn run(
    command: SecurityGroupCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut groups = session.security_groups().await?;
    let show =
        |group: Option<SecurityGroup>| output.one(MESSAGE, &present(group, "security group")?);
    match command {
        SecurityGroupCommand::Create {
            name,
            description,
            labels,
        } => {
            let request = CreateSecurityGroupRequest {
                org_id: session.org(),
                project_id: session.project(),
                name,
                description,
                labels: label_map(&labels),
                ..Default::default()
            };
            show(
                groups
                    .create_security_group(request)
                    .await?
                    .into_inner()
                    .security_group,
            )
        }
        SecurityGroupCommand::Get { name } => show(Some(find(session, &name).await?)),
        SecurityGroupCommand::List => {
            let request = ListSecurityGroupsRequest {
                org_id: session.org(),
                project_id: session.project(),
                ..Default::default()
            };
            let all = all_pages!(groups, list_security_groups, security_groups, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        SecurityGroupCommand::Update {
            name,
            rename,
            description,
            labels,
        } => {
            let request = UpdateSecurityGroupRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                ..Default::default()
            };
            show(
                groups
                    .update_security_group(request)
                    .await?
                    .into_inner()
                    .security_group,
            )
        }
        SecurityGroupCommand::Delete { name, yes } => {
            let group = find(session, &name).await?;
            confirm(yes, &format!("Remove security group {}?", group.name))?;
            let request = DeleteSecurityGroupRequest {
                id: group.id,
                ..Default::default()
            };
            groups.delete_security_group(request).await?;
            output.done(&format!("Security group {name} is gone."));
            Ok(())
        }
        SecurityGroupCommand::AddRule(new) => {
            let remote_group_id = match &new.from_group {
                Some(group) => find(session, group).await?.id,
                None => String::new(),
            };
            let direction = if new.ingress {
                Direction::Ingress
            } else {
                Direction::Egress
            };
            let protocol = match new.protocol {
                ProtocolName::Any => Protocol::Any,
                ProtocolName::Tcp => Protocol::Tcp,
                ProtocolName::Udp => Protocol::Udp,
                ProtocolName::Icmp => Protocol::Icmp,
            };
            let (port_min, port_max) = new.ports.unwrap_or_default();
            let rule = SecurityGroupRule {
                id: String::new(),
                direction: direction.into(),
                protocol: protocol.into(),
                port_min,
                port_max,
                remote_cidr: new.from,
                remote_group_id,
                description: new.description,
            };
            let request = AddRuleRequest {
                security_group_id: find(session, &new.name).await?.id,
                rule: Some(rule),
                ..Default::default()
            };
            show(groups.add_rule(request).await?.into_inner().security_group)
        }
        SecurityGroupCommand::RemoveRule { name, rule } => {
            let request = RemoveRuleRequest {
                security_group_id: find(session, &name).await?.id,
                rule_id: rule,
                ..Default::default()
            };
            show(
                groups
                    .remove_rule(request)
                    .await?
                    .into_inner()
                    .security_group,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_one_or_a_range() {
        assert_eq!(parse_ports("443"), Ok((443, 443)));
        assert_eq!(parse_ports("8000-8080"), Ok((8000, 8080)));
        for bad in ["", "0", "70000", "9-8", "a", "-5", "1-2-3"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
    }
}
