//! What is stored alike for every type of resource: the record, its name, its place in lists.
//!
//! | key | holds |
//! | --- | --- |
//! | `{table}/{id}` | the resource |
//! | `{table}-name/{scope}/{name}` | the id that has the name; a project's scope is `{org}/{project}` |
//! | `{table}-in/{scope}/{id}` | the same id, for lists |
//!
//! A component whose keys are others says so in the methods of [`Stored`]; one whose record has several parts overrides
//! [`Stored::keys`], [`Stored::assemble`] and [`Stored::write`].

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use flaredb::{Change, Db, KeyValue, Record, Transaction, decode};
use photon_resource::{
    Error, Kind, Labels, Meta, PrincipalId, ResourceName, Scope, validate_resource_name,
};

use crate::feed::{Changed, scope_of_deleted_entry};
use crate::quota::{self, Uses};
use crate::record::Reference;
use crate::tenants::require_open;

/// What every resource has, of whatever component.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// Its name in its scope; `None`: it is known by its id alone.
    pub name: Option<&'a str>,
    /// Who made it; conditions of policies read it.
    pub owner: Option<PrincipalId>,
    /// `None`: it has none.
    pub labels: Option<&'a Labels>,
    /// One more with every change.
    pub revision: u64,
}

impl<'a> From<&'a Meta> for Common<'a> {
    fn from(meta: &'a Meta) -> Self {
        Self {
            name: Some(&meta.name),
            owner: Some(meta.owner),
            labels: Some(&meta.labels),
            revision: meta.revision,
        }
    }
}

/// A resource that has a record.
#[async_trait]
pub trait Stored: Clone + Send + Sync + Sized + 'static {
    /// The type of its id.
    type Id: Clone + PartialEq + fmt::Display + FromStr<Err = Error> + Send + Sync;
    /// Its stored form: what events' digests are of.
    type Record: Record + for<'a> From<&'a Self> + Send + Sync;
    /// The first segment of its keys.
    const TABLE: &'static str;
    /// What it is called.
    const KIND: Kind;
    /// Whether the cloud itself has some, which a token of the system names without a project. Where keys have a project's
    /// scope, those of the cloud have `-/-`, because nothing else can be called so.
    const OF_SYSTEM: bool = false;

    /// Its id.
    fn id(&self) -> Self::Id;
    /// Where it belongs.
    fn scope(&self) -> Scope;
    /// Name, owner, labels, revision.
    fn common(&self) -> Common<'_>;
    /// The resource of a record that was stored under this id.
    ///
    /// Errors: `Internal` for a record that is damaged, or of a newer program.
    fn restore(id: Self::Id, record: Self::Record) -> Result<Self, Error>;

    /// What it takes of the quotas of its project and organization.
    fn uses(&self) -> Uses;

    /// Its full name.
    fn resource(&self) -> ResourceName {
        Self::KIND.name(self.scope(), self.id())
    }

    /// Where its record is.
    fn key(id: &Self::Id) -> String {
        format!("{}/{id}", Self::TABLE)
    }

    /// Whether a text can be the name of one: what can't must not become a part of a key.
    fn is_name(text: &str) -> bool {
        validate_resource_name("name", text).is_ok()
    }

    /// Where its name is kept; `None`: it has none that leads to it.
    fn name_key(scope: &Scope, name: &str) -> Option<String> {
        let (org, project) = (scope.org()?, scope.project()?);
        Some(format!("{}-name/{org}/{project}/{name}", Self::TABLE))
    }

    /// Under which the resources of a scope, and of all below it, are listed.
    fn list_prefix(scope: &Scope) -> String {
        match scope {
            Scope::System => format!("{}-in/", Self::TABLE),
            Scope::Org(org) => format!("{}-in/{org}/", Self::TABLE),
            Scope::Project(org, project) => format!("{}-in/{org}/{project}/", Self::TABLE),
        }
    }

    /// Its place in lists.
    fn list_key(&self) -> String {
        format!("{}{}", Self::list_prefix(&self.scope()), self.id())
    }

    /// What conditions of policies can read of it, beside owner, name and labels.
    fn further_attributes(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The keys of all parts of its record.
    fn keys(id: &Self::Id) -> Vec<String> {
        vec![Self::key(id)]
    }

    /// The resource of its parts, which lie at [`keys`](Self::keys), in that order; `None`: there is none.
    ///
    /// Errors: `Internal` for a record that can't be read, as one of a newer program.
    fn assemble(id: Self::Id, parts: Vec<Option<KeyValue>>) -> Result<Option<Self>, Error> {
        let Some(part) = parts.into_iter().flatten().next() else {
            return Ok(None);
        };
        let record = decode::<Self::Record>(&part.key, &part.value)?;
        Self::restore(id, record).map(Some)
    }

    /// The id of the resource whose record, or a part of it, is at `key`; `None`: it is none of the table's.
    fn id_of_key(key: &str) -> Option<Self::Id> {
        let id = key.strip_prefix(Self::TABLE)?.strip_prefix('/')?;
        id.parse().ok()
    }

    /// What a change of one of its keys says of the resource `id`.
    ///
    /// Errors: `Internal` for a record that can't be read.
    fn changed(id: &Self::Id, change: &Change) -> Result<Changed<Self>, Error> {
        let record = change.record::<Self::Record>()?;
        Ok(match record {
            Some(record) => Changed::Whole(Self::restore(id.clone(), record)?),
            None => Changed::Gone,
        })
    }

    /// Where the resource `id` belonged, which this commit has removed.
    fn scope_of_removed(commit: &[Change], id: &Self::Id) -> Option<Scope> {
        let all = Self::list_prefix(&Scope::System);
        scope_of_deleted_entry(commit, &all, &id.to_string())
    }

    /// The resource as the transaction sees it.
    async fn read(tx: &mut Transaction, id: &Self::Id) -> Result<Option<Self>, Error> {
        let record: Option<Self::Record> = tx.get(&Self::key(id)).await?;
        record
            .map(|record| Self::restore(id.clone(), record))
            .transpose()
    }

    /// Stores the record.
    fn write(&self, tx: &mut Transaction) -> Result<(), Error> {
        tx.put(&Self::key(&self.id()), &Self::Record::from(self))?;
        Ok(())
    }

    /// What is stored of it: what an event's digests are of.
    fn stored_bytes(&self) -> Result<Vec<u8>, Error> {
        let record = Self::Record::from(self);
        Ok(flaredb::encode(&Self::key(&self.id()), &record)?)
    }
}

/// What conditions of policies can read of a resource with these properties.
pub fn attributes(
    owner: Option<PrincipalId>,
    name: Option<&str>,
    labels: Option<&Labels>,
) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    if let Some(owner) = owner {
        attributes.push(("owner".to_owned(), owner.to_string()));
    }
    if let Some(name) = name {
        attributes.push(("name".to_owned(), name.to_owned()));
    }
    for (key, value) in labels.into_iter().flatten() {
        attributes.push((format!("label.{key}"), value.clone()));
    }
    attributes
}

/// What conditions of policies can read of this resource.
pub fn attributes_of<R: Stored>(resource: &R) -> Vec<(String, String)> {
    let Common {
        name,
        owner,
        labels,
        ..
    } = resource.common();
    let mut attributes = attributes(owner, name, labels);
    attributes.extend(resource.further_attributes());
    attributes
}

/// The resource with this id. Errors: `NotFound`.
pub async fn get<R: Stored>(tx: &mut Transaction, id: &R::Id) -> Result<R, Error> {
    R::read(tx, id)
        .await?
        .ok_or_else(|| Error::not_found(R::KIND.noun, id))
}

/// The resource with this id as it is now, outside of a transaction and all of it as of one revision.
pub async fn load<R: Stored>(db: &Db, id: &R::Id) -> Result<Option<R>, Error> {
    let mut found = load_many(db, std::slice::from_ref(id)).await?;
    Ok(found.pop().flatten())
}

/// The resources with these ids as they are now, in their order, read in one go: `None` for what is not there.
pub async fn load_many<R: Stored>(db: &Db, ids: &[R::Id]) -> Result<Vec<Option<R>>, Error> {
    let sized = load_sized(db, ids).await?;
    Ok(sized.into_iter().map(|(found, _)| found).collect())
}

/// As [`load_many`], each with how many bytes its record has.
pub(crate) async fn load_sized<R: Stored>(
    db: &Db,
    ids: &[R::Id],
) -> Result<Vec<(Option<R>, usize)>, Error> {
    let keys: Vec<Vec<String>> = ids.iter().map(R::keys).collect();
    let (items, _) = db.get_many(&keys.concat()).await?;
    let mut items = items.into_iter();
    ids.iter()
        .zip(&keys)
        .map(|(id, keys)| {
            let parts: Vec<_> = items.by_ref().take(keys.len()).collect();
            let bytes = parts.iter().flatten().map(|part| part.value.len()).sum();
            Ok((R::assemble(id.clone(), parts)?, bytes))
        })
        .collect()
}

/// The id of the resource with this name in a scope.
pub async fn by_name<R: Stored>(
    tx: &mut Transaction,
    scope: &Scope,
    name: &str,
) -> Result<Option<R::Id>, Error> {
    let Some(key) = R::name_key(scope, name).filter(|_| R::is_name(name)) else {
        return Ok(None);
    };
    let entry: Option<Reference> = tx.get(&key).await?;
    entry.map(|entry| entry.id.parse()).transpose()
}

/// The resource of this scope with this id or name. Errors: `NotFound`, also for what is another's.
pub async fn find<R: Stored>(
    tx: &mut Transaction,
    scope: &Scope,
    id_or_name: &str,
) -> Result<R, Error> {
    let id = match id_or_name.parse() {
        Ok(id) => Some(id),
        Err(_) => by_name::<R>(tx, scope, id_or_name).await?,
    };
    let found = match id {
        Some(id) => R::read(tx, &id).await?,
        None => None,
    };
    found
        .filter(|found| found.scope() == *scope)
        .ok_or_else(|| Error::not_found(R::KIND.noun, id_or_name))
}

/// Stores a new resource with its name and its place in lists. Errors: `AlreadyExists` when the name is taken,
/// `FailedPrecondition` when its project is being deleted.
pub async fn insert<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    require_open(tx, &resource.scope()).await?;
    claim_name(tx, resource).await?;
    quota::change(tx, &resource.scope(), &Uses::new(), &resource.uses());
    tx.put(&resource.list_key(), &Reference::to(resource.id()))?;
    put(tx, resource)
}

/// Stores a changed resource. Errors: `AlreadyExists` when the new name is taken.
pub async fn replace<R: Stored>(tx: &mut Transaction, before: &R, after: &R) -> Result<(), Error> {
    if before.common().name != after.common().name {
        claim_name(tx, after).await?;
        release_name(tx, before);
    }
    quota::change(tx, &after.scope(), &before.uses(), &after.uses());
    put(tx, after)
}

/// Removes a resource with its name and its place in lists.
pub fn remove<R: Stored>(tx: &mut Transaction, resource: &R) {
    release_name(tx, resource);
    quota::change(tx, &resource.scope(), &resource.uses(), &Uses::new());
    tx.delete(&resource.list_key());
    for key in R::keys(&resource.id()) {
        tx.delete(&key);
    }
}

/// Stores the record alone, of a resource whose name and place are as before.
pub fn put<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    resource.write(tx)
}

async fn claim_name<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    let Some(name) = resource.common().name else {
        return Ok(());
    };
    let Some(key) = R::name_key(&resource.scope(), name) else {
        return Ok(());
    };
    if tx.get::<Reference>(&key).await?.is_some() {
        return Err(Error::already_exists(R::KIND.noun, name));
    }
    tx.put(&key, &Reference::to(resource.id()))?;
    Ok(())
}

fn release_name<R: Stored>(tx: &mut Transaction, resource: &R) {
    let name = resource.common().name;
    if let Some(key) = name.and_then(|name| R::name_key(&resource.scope(), name)) {
        tx.delete(&key);
    }
}
