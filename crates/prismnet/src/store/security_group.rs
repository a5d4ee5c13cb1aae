//! Security groups in the store.

use std::collections::BTreeSet;

use flaredb::{Record, Transaction};
use ipnet::IpNet;
use photon_catalog::quota::Uses;
use photon_catalog::{Common, MetaRecord, Reference, Stored, insert, remove, replace};
use photon_resource::{Error, Kind, OrgId, ProjectId, RuleId, Scope, SecurityGroupId};
use serde::{Deserialize, Serialize};

use super::users;
use crate::model::{Direction, Port, PortRange, Remote, Rule, SecurityGroup, Traffic, kind};

/// The stored form of a security group.
#[derive(Serialize, Deserialize)]
pub struct SecurityGroupRecord {
    id: SecurityGroupId,
    meta: MetaRecord,
    rules: Vec<RuleRecord>,
    is_default: bool,
}

#[derive(Serialize, Deserialize)]
struct RuleRecord {
    id: RuleId,
    direction: DirectionRecord,
    traffic: TrafficRecord,
    remote: RemoteRecord,
    description: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum DirectionRecord {
    Ingress,
    Egress,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TrafficRecord {
    Any,
    Tcp(u16, u16),
    Udp(u16, u16),
    Icmp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RemoteRecord {
    Anybody,
    Cidr(IpNet),
    Group(SecurityGroupId),
}

impl Record for SecurityGroupRecord {
    const KIND: &'static str = "security group";
    const VERSION: u32 = 1;
}

impl From<&SecurityGroup> for SecurityGroupRecord {
    fn from(group: &SecurityGroup) -> Self {
        Self {
            id: group.id,
            meta: (&group.meta).into(),
            rules: group.rules.iter().map(Into::into).collect(),
            is_default: group.is_default,
        }
    }
}

impl From<&Rule> for RuleRecord {
    fn from(rule: &Rule) -> Self {
        Self {
            id: rule.id,
            direction: match rule.direction {
                Direction::Ingress => DirectionRecord::Ingress,
                Direction::Egress => DirectionRecord::Egress,
            },
            traffic: match rule.traffic {
                Traffic::Any => TrafficRecord::Any,
                Traffic::Tcp(ports) => TrafficRecord::Tcp(ports.first, ports.last),
                Traffic::Udp(ports) => TrafficRecord::Udp(ports.first, ports.last),
                Traffic::Icmp => TrafficRecord::Icmp,
            },
            remote: match rule.remote {
                Remote::Anybody => RemoteRecord::Anybody,
                Remote::Cidr(net) => RemoteRecord::Cidr(net),
                Remote::Group(group) => RemoteRecord::Group(group),
            },
            description: rule.description.clone(),
        }
    }
}

impl From<RuleRecord> for Rule {
    fn from(record: RuleRecord) -> Self {
        Self {
            id: record.id,
            direction: match record.direction {
                DirectionRecord::Ingress => Direction::Ingress,
                DirectionRecord::Egress => Direction::Egress,
            },
            traffic: match record.traffic {
                TrafficRecord::Any => Traffic::Any,
                TrafficRecord::Tcp(first, last) => Traffic::Tcp(PortRange { first, last }),
                TrafficRecord::Udp(first, last) => Traffic::Udp(PortRange { first, last }),
                TrafficRecord::Icmp => Traffic::Icmp,
            },
            remote: match record.remote {
                RemoteRecord::Anybody => Remote::Anybody,
                RemoteRecord::Cidr(net) => Remote::Cidr(net),
                RemoteRecord::Group(group) => Remote::Group(group),
            },
            description: record.description,
        }
    }
}

impl Stored for SecurityGroup {
    type Id = SecurityGroupId;
    type Record = SecurityGroupRecord;
    const TABLE: &'static str = "security-group";
    const KIND: Kind = kind::SECURITY_GROUPS;

    fn id(&self) -> SecurityGroupId {
        self.id
    }

    fn scope(&self) -> Scope {
        self.meta.scope()
    }

    fn common(&self) -> Common<'_> {
        (&self.meta).into()
    }

    fn uses(&self) -> Uses {
        vec![
            ("security_groups", 1),
            ("security_group_rules", self.rules.len() as u64),
            ("security_group_cells", self.cells() as u64),
        ]
    }

    fn restore(id: SecurityGroupId, record: SecurityGroupRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            meta: record.meta.into(),
            rules: record.rules.into_iter().map(Into::into).collect(),
            is_default: record.is_default,
        })
    }
}

fn default_key(org: &OrgId, project: &ProjectId) -> String {
    format!("default-group/{org}/{project}")
}

/// The project's default group, once it has one.
pub async fn default_group(
    tx: &mut Transaction,
    org: &OrgId,
    project: &ProjectId,
) -> Result<Option<SecurityGroupId>, Error> {
    let entry: Option<Reference> = tx.get(&default_key(org, project)).await?;
    entry.map(|entry| entry.id.parse()).transpose()
}

/// Errors: `AlreadyExists`.
pub async fn security_group_create(
    tx: &mut Transaction,
    group: &SecurityGroup,
) -> Result<(), Error> {
    insert(tx, group).await?;
    if group.is_default {
        let key = default_key(&group.meta.org_id, &group.meta.project_id);
        tx.put(&key, &Reference::to(group.id))?;
    }
    for remote in group.remote_groups().collect::<BTreeSet<_>>() {
        users::rules_of_group(remote).add(tx, group.id)?;
    }
    Ok(())
}

/// Errors: `AlreadyExists` when the new name is taken.
pub async fn security_group_update(
    tx: &mut Transaction,
    before: &SecurityGroup,
    after: &SecurityGroup,
) -> Result<(), Error> {
    let named = |group: &SecurityGroup| group.remote_groups().collect::<BTreeSet<_>>();
    let (before_named, after_named) = (named(before), named(after));
    for left in before_named.difference(&after_named) {
        users::rules_of_group(*left).remove(tx, after.id);
    }
    for joined in after_named.difference(&before_named) {
        users::rules_of_group(*joined).add(tx, after.id)?;
    }
    replace(tx, before, after).await
}

/// Errors: `FailedPrecondition` while ports or other groups' rules use it.
pub async fn security_group_delete(
    tx: &mut Transaction,
    group: &SecurityGroup,
) -> Result<(), Error> {
    let ports = users::ports_of_group(group.id);
    ports
        .expect_none::<Port>(tx, group, "ports", "give them another group first")
        .await?;
    users::rules_of_group(group.id)
        .expect_none::<SecurityGroup>(
            tx,
            group,
            "rules of security groups",
            "remove those rules first",
        )
        .await?;
    ports.forget(tx);
    for remote in group.remote_groups().collect::<BTreeSet<_>>() {
        users::rules_of_group(remote).remove(tx, group.id);
    }
    if group.is_default {
        tx.delete(&default_key(&group.meta.org_id, &group.meta.project_id));
    }
    remove(tx, group);
    Ok(())
}
