//! How much a project, and an organization with all of its projects, may have of what a component keeps, and has.
//!
//! | key | holds |
//! | --- | --- |
//! | `usage/{org}/{project}`, `usage-org/{org}` | what there is, by name |
//! | `quota/{org}/{project}`, `quota-org/{org}` | what may be, where an operator said so |
//! | `quota-default/project`, `quota-default/organization` | what may be else, by the settings of the server that runs |
//!
//! Limits that an operator sets are few and small, and outlive their project: the moment to remove them would be when IAM has
//! deleted it, of which a server is not told, and not when it is closed, after which it may yet stay. As an id is given once,
//! they are nobody's then. (IAM itself removes those of its own, [`forget`].)
//!
//! What is there is counted at the moment of the commit that makes or removes it ([`flaredb::Derive`]), so that many who
//! make something in one project at once do not disturb each other. It is counted anew when the server starts: a store of
//! a release that did not count is as good as another.

mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flaredb::{Committed, Db, Derive, Derived, Gathered, KeyValue, Op, Record, Transaction};
use flaredb::{decode, encode_for};
use photon_program::Invalid;
use photon_resource::{Error, OrgId, ProjectId, Scope};
use serde::{Deserialize, Serialize};

use crate::stored::{Stored, load_many};

pub use server::Quotas;

/// How many resources are read at once when they are counted.
const PAGE: usize = 500;

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// `vcpus`.
    pub name: &'static str,
    /// How much a project may have if nobody says otherwise. `None`: it is nothing that is in a project.
    pub per_project: Option<u64>,
    /// How much an organization may have with all of its projects.
    pub per_organization: u64,
}

/// What one of a resource takes: quantities by their names.
pub type Uses = Vec<(&'static str, u64)>;

/// Amounts by name, stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Amounts {
    amounts: BTreeMap<String, u64>,
}

impl Record for Amounts {
    const KIND: &'static str = "record of amounts";
    const VERSION: u32 = 1;
}

impl Amounts {
    fn of(&self, name: &str) -> Option<u64> {
        self.amounts.get(name).copied()
    }
}

/// Whose amounts they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Project(OrgId, ProjectId),
    Organization(OrgId),
}

impl Holder {
    fn usage_key(&self) -> String {
        match self {
            Holder::Project(org, project) => format!("usage/{org}/{project}"),
            Holder::Organization(org) => format!("usage-org/{org}"),
        }
    }

    fn limits_key(&self) -> String {
        match self {
            Holder::Project(org, project) => format!("quota/{org}/{project}"),
            Holder::Organization(org) => format!("quota-org/{org}"),
        }
    }

    /// How much of it there may be if nobody says otherwise; `None`: it is nothing that this has.
    fn default_of(&self, quantity: &Quantity) -> Option<u64> {
        match self {
            Holder::Project(..) => quantity.per_project,
            Holder::Organization(_) => Some(quantity.per_organization),
        }
    }

    fn defaults_key(&self) -> &'static str {
        match self {
            Holder::Project(..) => "quota-default/project",
            Holder::Organization(_) => "quota-default/organization",
        }
    }

    fn refusal(&self, name: &'static str, used: u64, more: u64, limit: u64) -> flaredb::Error {
        let (whose, flags) = match self {
            Holder::Project(org, project) => (
                format!("the project {org}/{project}"),
                format!("--org {org} --project {project}"),
            ),
            Holder::Organization(org) => {
                (format!("the organization {org}"), format!("--org {org}"))
            }
        };
        let text = format!(
            "{whose} may have {limit} {name}, has {used} and would take {more} more; an operator can raise it \
             (`photon quota set {name}=N {flags}`)"
        );
        flaredb::Error::LimitReached {
            what: name,
            used,
            limit,
            text,
        }
    }
}

/// What a transaction takes and gives back, by holder.
#[derive(Default)]
struct Taken {
    changes: BTreeMap<Holder, BTreeMap<&'static str, i64>>,
}

impl Gathered for Taken {
    fn derive(self: Box<Self>, db: &Db) -> Option<Derive> {
        let mut changes = self.changes;
        for change in changes.values_mut() {
            change.retain(|_, by| *by != 0);
        }
        changes.retain(|_, change| !change.is_empty());
        if changes.is_empty() {
            return None;
        }
        let reads = changes.keys().flat_map(|holder| {
            [
                holder.usage_key(),
                holder.limits_key(),
                holder.defaults_key().to_owned(),
            ]
        });
        let (reads, schema) = (reads.collect(), db.schema());
        Some(Derive {
            reads,
            make: Box::new(move |read| count(&changes, read, schema)),
        })
    }
}

/// The usage records as they will be.
fn count(
    changes: &BTreeMap<Holder, BTreeMap<&'static str, i64>>,
    read: &[Option<KeyValue>],
    schema: u32,
) -> Result<Derived, flaredb::Error> {
    let amounts = |item: &Option<KeyValue>| match item {
        Some(item) => decode::<Amounts>(&item.key, &item.value),
        None => Ok(Amounts::default()),
    };
    let mut ops = Vec::with_capacity(changes.len());
    for ((holder, change), read) in changes.iter().zip(read.chunks(3)) {
        let [usage, limits, defaults] = read else {
            continue;
        };
        let (mut usage, limits, defaults) = (amounts(usage)?, amounts(limits)?, amounts(defaults)?);
        for (name, by) in change {
            let used = usage.of(name).unwrap_or_default();
            let after = used.saturating_add_signed(*by);
            let limit = limits.of(name).or(defaults.of(name));
            if let Some(limit) = limit.filter(|limit| *by > 0 && after > *limit) {
                return Err(holder.refusal(name, used, by.unsigned_abs(), limit));
            }
            match after {
                0 => usage.amounts.remove(*name),
                after => usage.amounts.insert((*name).to_owned(), after),
            };
        }
        let key = holder.usage_key();
        ops.push(if usage.amounts.is_empty() {
            Op::Delete { key }
        } else {
            let value = encode_for(schema, &key, &usage)?;
            Op::Put {
                key,
                value,
                lease: None,
            }
        });
    }
    Ok(Derived {
        compares: Vec::new(),
        ops,
    })
}

fn holders(scope: &Scope) -> Vec<Holder> {
    match scope {
        Scope::System => Vec::new(),
        Scope::Org(org) => vec![Holder::Organization(org.clone())],
        Scope::Project(org, project) => vec![
            Holder::Project(org.clone(), project.clone()),
            Holder::Organization(org.clone()),
        ],
    }
}

/// Counts what a change makes of what was, when it commits. The cloud's own has no quota.
///
/// The commit fails with [`flaredb::Error::LimitReached`] if that is more than may be.
pub fn change(tx: &mut Transaction, scope: &Scope, before: &Uses, after: &Uses) {
    let taken = tx.gathered::<Taken>();
    for holder in holders(scope) {
        let change = taken.changes.entry(holder).or_default();
        let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        for (name, amount) in after {
            let by = change.entry(name).or_default();
            *by = by.saturating_add(signed(*amount));
        }
        for (name, amount) in before {
            let by = change.entry(name).or_default();
            *by = by.saturating_sub(signed(*amount));
        }
    }
}

/// Removes what an operator said of how much a project or an organization may have, with the project or organization.
pub fn forget(tx: &mut Transaction, scope: &Scope) {
    if let Some(holder) = holders(scope).first() {
        tx.delete(&holder.limits_key());
    }
}

/// Whether a project, and its organization, may have `more` of something, which nothing stored has yet.
///
/// Errors: `QuotaExceeded`.
pub async fn room(db: &Db, scope: &Scope, name: &'static str, more: u64) -> Result<(), Error> {
    for holder in holders(scope) {
        let amounts = async |key: &str| -> Result<Amounts, Error> {
            Ok(db.get::<Amounts>(key).await?.unwrap_or_default())
        };
        let used = amounts(&holder.usage_key()).await?.of(name).unwrap_or(0);
        let limit = match amounts(&holder.limits_key()).await?.of(name) {
            Some(limit) => Some(limit),
            None => amounts(holder.defaults_key()).await?.of(name),
        };
        if let Some(limit) = limit.filter(|limit| used.saturating_add(more) > *limit) {
            return Err(holder.refusal(name, used, more, limit).into());
        }
    }
    Ok(())
}

/// What there is in a store, counted when its server starts.
#[derive(Default)]
pub struct Count {
    found: BTreeMap<String, Amounts>,
}

impl Count {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a resource of this type takes, for all that are stored.
    pub async fn of<R: Stored>(mut self, db: &Db) -> Result<Self, Error> {
        let prefix = format!("{}/", R::TABLE);
        let mut after: Option<String> = None;
        loop {
            let scan = db.scan_raw(&prefix, after.as_deref(), PAGE).await?;
            let Some(last) = scan.items.last() else {
                return Ok(self);
            };
            // A record of several parts is found at each of them, and counted with its first.
            let keys = scan.items.iter().map(|item| item.key.as_str());
            let ids: Vec<R::Id> = keys
                .filter_map(|key| R::id_of_key(key).filter(|id| R::keys(id)[0] == key))
                .collect();
            after = Some(last.key.clone());
            for found in load_many::<R>(db, &ids).await?.into_iter().flatten() {
                self.add(&found.scope(), &found.uses());
            }
        }
    }

    /// Adds what is in no record of a type.
    pub fn add(&mut self, scope: &Scope, uses: &Uses) {
        for holder in holders(scope) {
            let amounts = self.found.entry(holder.usage_key()).or_default();
            for (name, amount) in uses {
                *amounts.amounts.entry((*name).to_owned()).or_default() += amount;
            }
        }
    }

    /// Stores what was counted, and what may be: `quantities` as the settings have them. Nobody else may write meanwhile.
    pub async fn store(self, db: &Db, quantities: &[Quantity]) -> Result<(), Error> {
        let mut wanted = self.found;
        for amounts in wanted.values_mut() {
            amounts.amounts.retain(|_, amount| *amount > 0);
        }
        let of = |amount: fn(&Quantity) -> Option<u64>| Amounts {
            amounts: quantities
                .iter()
                .filter_map(|it| Some((it.name.to_owned(), amount(it)?)))
                .collect(),
        };
        wanted.insert("quota-default/project".into(), of(|it| it.per_project));
        wanted.insert(
            "quota-default/organization".into(),
            of(|it| Some(it.per_organization)),
        );
        let mut stored: BTreeSet<String> = BTreeSet::new();
        for prefix in ["usage/", "usage-org/"] {
            let found = db.scan_raw(prefix, None, usize::MAX).await?;
            stored.extend(found.items.into_iter().map(|item| item.key));
        }
        for key in stored {
            wanted.entry(key).or_default();
        }
        for (key, amounts) in wanted {
            loop {
                let mut tx = db.begin();
                let before: Option<Amounts> = tx.get(&key).await?;
                if before.unwrap_or_default() == amounts {
                    break;
                }
                if amounts.amounts.is_empty() {
                    tx.delete(&key);
                } else {
                    tx.put(&key, &amounts)?;
                }
                if matches!(tx.commit().await?, Committed::Done(_)) {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The section `quota` of a server's settings: what may be where no operator has said otherwise, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// Of a project.
    pub project: BTreeMap<String, u64>,
    /// Of an organization with all of its projects.
    pub organization: BTreeMap<String, u64>,
}

impl Defaults {
    /// Whether all names are those of `quantities`; `key` is the section's.
    ///
    /// Errors: a name that is none of theirs, or of a project for what no project has.
    pub fn check(&self, key: &str, quantities: &[Quantity]) -> Result<(), Invalid> {
        let scopes = [
            ("project", &self.project, true),
            ("organization", &self.organization, false),
        ];
        for (scope, given, of_project) in scopes {
            let known = known(quantities, of_project);
            let unknown = |name: &&String| !known.contains(&name.as_str());
            if let Some(name) = given.keys().find(unknown) {
                let expected = one_of(&known);
                return Err(Invalid::new(format!("{key}.{scope}"), name, expected));
            }
        }
        Ok(())
    }

    /// The same quantities with what is said here.
    ///
    /// Errors: `InvalidArgument` for a name that is none of theirs.
    pub fn of(&self, quantities: &[Quantity]) -> Result<Arc<[Quantity]>, Error> {
        let mut adjusted = quantities.to_vec();
        for (given, of_project) in [(&self.project, true), (&self.organization, false)] {
            for (name, limit) in given {
                let is = |it: &&mut Quantity| {
                    it.name == name && (!of_project || it.per_project.is_some())
                };
                let found = adjusted.iter_mut().find(is);
                let found = found.ok_or_else(|| {
                    Error::invalid("quota", name, one_of(&known(quantities, of_project)))
                })?;
                match of_project {
                    true => found.per_project = Some(*limit),
                    false => found.per_organization = *limit,
                }
            }
        }
        Ok(adjusted.into())
    }
}

/// The names of what a project, or else an organization, can have.
fn known(quantities: &[Quantity], of_project: bool) -> Vec<&'static str> {
    let it = quantities.iter();
    let it = it.filter(|it| !of_project || it.per_project.is_some());
    it.map(|it| it.name).collect()
}

fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

#[cfg(test)]
mod tests;
