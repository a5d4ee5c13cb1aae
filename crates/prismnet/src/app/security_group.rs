//! Security groups, and the default group of every project.

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::{Change, Effect, Listing, Query, Stored, commit, find, get, list};
use photon_resource::{
    Error, Labels, NewMeta, OrgId, PrincipalId, ProjectId, RuleId, SecurityGroupId, Time,
};
use photon_service::Mutation;

use crate::model::{
    DEFAULT_GROUP, NewRule, NewSecurityGroup, Remote, Rule, SecurityGroup, SecurityGroupChanges,
};
use crate::store;

/// The security groups of all tenants.
#[derive(Clone)]
pub struct SecurityGroups {
    db: Db,
}

impl SecurityGroups {
    /// Those in `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// Errors: `AlreadyExists`, `InvalidArgument`, `NotFound` (a group that a rule names).
    pub async fn create<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        new: NewSecurityGroup,
        answer: impl Fn(&SecurityGroup) -> A,
    ) -> Result<A, Error> {
        new.validate()?;
        let id = SecurityGroupId::generate();
        let rules = NewSecurityGroup::into_rules(new.rules)?;
        let mut change = Create {
            id,
            new: new.meta,
            rules,
        };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// One page.
    pub async fn list(&self, query: Query) -> Result<Listing<SecurityGroup>, Error> {
        list(&self.db, query, |_| true).await
    }

    /// Errors: `NotFound` (also: a group that a rule names), `Conflict`, `AlreadyExists`, `InvalidArgument`,
    /// `ResourceExhausted`, `FailedPrecondition` (the default group's name).
    pub async fn update<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SecurityGroupId,
        changes: SecurityGroupChanges,
        answer: impl Fn(&SecurityGroup) -> A,
    ) -> Result<A, Error> {
        changes.validate()?;
        let mut change = Update { id, changes };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`, `FailedPrecondition` while it is used, and for a default group.
    pub async fn delete<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SecurityGroupId,
    ) -> Result<A, Error> {
        let mut change = Delete { id };
        Ok(commit(&self.db, mutation, &mut change, |_| A::default())
            .await?
            .0)
    }

    /// Errors: `NotFound` (also: the group that the rule names), `AlreadyExists`, `ResourceExhausted`,
    /// `InvalidArgument`.
    pub async fn add_rule<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SecurityGroupId,
        rule: NewRule,
        answer: impl Fn(&SecurityGroup) -> A,
    ) -> Result<A, Error> {
        rule.validate()?;
        let mut change = AddRule { id, rule };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }

    /// Errors: `NotFound`.
    pub async fn remove_rule<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: SecurityGroupId,
        rule: RuleId,
        answer: impl Fn(&SecurityGroup) -> A,
    ) -> Result<A, Error> {
        let mut change = RemoveRule { id, rule };
        Ok(commit(&self.db, mutation, &mut change, answer).await?.0)
    }
}

struct Create {
    id: SecurityGroupId,
    new: NewMeta,
    rules: Vec<Rule>,
}

#[async_trait]
impl Change for Create {
    type Value = SecurityGroup;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SecurityGroup>, Error> {
        let group = SecurityGroup {
            id: self.id,
            meta: self.new.clone().into_meta(Time::now()),
            rules: self.rules.clone(),
            is_default: false,
        };
        for remote in group.remote_groups() {
            expect_own(tx, &group, remote).await?;
        }
        store::security_group_create(tx, &group).await?;
        Ok(Effect::on(group))
    }
}

struct Update {
    id: SecurityGroupId,
    changes: SecurityGroupChanges,
}

#[async_trait]
impl Change for Update {
    type Value = SecurityGroup;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SecurityGroup>, Error> {
        let before: SecurityGroup = get(tx, &self.id).await?;
        let SecurityGroupChanges { meta, rules } = self.changes.clone();
        expect_name_may_change(&before, meta.name.as_deref())?;
        let mut after = before.clone();
        after.meta.apply(SecurityGroup::KIND, meta)?;
        if let Some(rules) = rules {
            after.set_rules(rules)?;
            for remote in after.remote_groups() {
                expect_own(tx, &after, remote).await?;
            }
        }
        if after == before {
            return Ok(Effect::nothing(after));
        }
        after.meta.touch(Time::now());
        store::security_group_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct Delete {
    id: SecurityGroupId,
}

#[async_trait]
impl Change for Delete {
    type Value = SecurityGroup;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SecurityGroup>, Error> {
        let group: SecurityGroup = get(tx, &self.id).await?;
        if group.is_default {
            return Err(Error::FailedPrecondition(format!(
                "security group '{DEFAULT_GROUP}' is the default of project '{}' and cannot be deleted: change its rules instead",
                group.meta.project_id
            )));
        }
        store::security_group_delete(tx, &group).await?;
        Ok(Effect::on(group))
    }
}

struct AddRule {
    id: SecurityGroupId,
    rule: NewRule,
}

#[async_trait]
impl Change for AddRule {
    type Value = SecurityGroup;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SecurityGroup>, Error> {
        let before: SecurityGroup = get(tx, &self.id).await?;
        if let Remote::Group(remote) = self.rule.remote {
            expect_own(tx, &before, remote).await?;
        }
        let mut after = before.clone();
        after.add_rule(self.rule.clone())?;
        after.meta.touch(Time::now());
        store::security_group_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

struct RemoveRule {
    id: SecurityGroupId,
    rule: RuleId,
}

#[async_trait]
impl Change for RemoveRule {
    type Value = SecurityGroup;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<SecurityGroup>, Error> {
        let before: SecurityGroup = get(tx, &self.id).await?;
        let mut after = before.clone();
        after.remove_rule(self.rule)?;
        after.meta.touch(Time::now());
        store::security_group_update(tx, &before, &after).await?;
        Ok(Effect::on(after))
    }
}

/// Errors: `NotFound` unless `remote` is the group itself or another one of its project.
async fn expect_own(
    tx: &mut Transaction,
    group: &SecurityGroup,
    remote: SecurityGroupId,
) -> Result<(), Error> {
    if remote != group.id {
        find::<SecurityGroup>(tx, &group.meta.scope(), &remote.to_string()).await?;
    }
    Ok(())
}

fn expect_name_may_change(group: &SecurityGroup, name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) if group.is_default && name != group.meta.name => {
            Err(Error::FailedPrecondition(format!(
                "security group '{DEFAULT_GROUP}' is the default of project '{}' and keeps its name",
                group.meta.project_id
            )))
        }
        Some(DEFAULT_GROUP) if !group.is_default => Err(Error::invalid(
            "name",
            DEFAULT_GROUP,
            "another name: it is kept for the project's default group",
        )),
        _ => Ok(()),
    }
}

/// The project's default group, made now if it has none.
pub(super) async fn default_group(
    tx: &mut Transaction,
    org: &OrgId,
    project: &ProjectId,
    owner: PrincipalId,
) -> Result<SecurityGroupId, Error> {
    if let Some(id) = store::default_group(tx, org, project).await? {
        // Read, so that the port's commit fails if it is gone by then.
        return Ok(get::<SecurityGroup>(tx, &id).await?.id);
    }
    let id = SecurityGroupId::generate();
    let meta = NewMeta {
        org_id: org.clone(),
        project_id: project.clone(),
        owner,
        name: DEFAULT_GROUP.to_owned(),
        description: "Nothing in but from ports of this group, everything out".to_owned(),
        labels: Labels::new(),
    };
    let group = SecurityGroup {
        id,
        meta: meta.into_meta(Time::now()),
        rules: SecurityGroup::default_rules(id),
        is_default: true,
    };
    store::security_group_create(tx, &group).await?;
    Ok(id)
}
