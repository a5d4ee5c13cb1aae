//! What is stored alike for every type of resource: the record, its name, its place in lists.

use std::fmt;
use std::str::FromStr;

use flaredb::{Db, Record, Transaction};
use photon_resource::{Error, OrgId, Page, PageRequest, ProjectId, ResourceName, Scope};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Labels, Meta};

/// A resource that has a record.
pub trait Stored: Clone + Send + Sync + Sized + 'static {
    /// The type of its id.
    type Id: Copy + fmt::Display + FromStr<Err = Error> + From<Uuid> + Send + Sync;
    /// Its stored form.
    type Record: Record + for<'a> From<&'a Self> + Into<Self> + Send + Sync;
    /// The first segment of its keys.
    const TABLE: &'static str;
    /// What it is called in messages.
    const KIND: &'static str;
    /// Its type in resource names and policies.
    const RESOURCES: &'static str;

    /// Its id.
    fn id(&self) -> Self::Id;
    /// Its tenant, name and the like.
    fn meta(&self) -> &Meta;

    /// Its full name.
    fn resource(&self) -> ResourceName {
        ResourceName::new(self.meta().scope(), Self::RESOURCES, self.id())
    }

    /// Where its record is.
    fn key(id: Self::Id) -> String {
        format!("{}/{id}", Self::TABLE)
    }
}

/// An index entry: the resource that a key leads to.
#[derive(Serialize, Deserialize)]
pub(super) struct Reference {
    pub id: Uuid,
}

impl Record for Reference {
    const KIND: &'static str = "reference";
    const VERSION: u32 = 1;
}

fn name_key<R: Stored>(org: &OrgId, project: &ProjectId, name: &str) -> String {
    format!("{}-name/{org}/{project}/{name}", R::TABLE)
}

fn list_prefix<R: Stored>(scope: &Scope) -> String {
    match scope {
        Scope::System => format!("{}-in/", R::TABLE),
        Scope::Org(org) => format!("{}-in/{org}/", R::TABLE),
        Scope::Project(org, project) => format!("{}-in/{org}/{project}/", R::TABLE),
    }
}

fn list_key<R: Stored>(resource: &R) -> String {
    format!(
        "{}{}",
        list_prefix::<R>(&resource.meta().scope()),
        resource.id()
    )
}

/// The resource with this id. Errors: `NotFound`.
pub async fn get<R: Stored>(tx: &mut Transaction, id: R::Id) -> Result<R, Error> {
    let record: Option<R::Record> = tx.get(&R::key(id)).await?;
    record
        .map(Into::into)
        .ok_or_else(|| Error::not_found(R::KIND, id))
}

/// The id of the resource with this name in a project.
pub async fn by_name<R: Stored>(
    tx: &mut Transaction,
    org: &OrgId,
    project: &ProjectId,
    name: &str,
) -> Result<Option<R::Id>, Error> {
    let entry: Option<Reference> = tx.get(&name_key::<R>(org, project, name)).await?;
    Ok(entry.map(|entry| entry.id.into()))
}

/// The resource of this project with this id or name. Errors: `NotFound`, also for what is another's.
pub async fn find<R: Stored>(
    tx: &mut Transaction,
    org: &OrgId,
    project: &ProjectId,
    id_or_name: &str,
) -> Result<R, Error> {
    let absent = || Error::not_found(R::KIND, id_or_name);
    let id = match id_or_name.parse() {
        Ok(id) => id,
        Err(_) if !is_name(id_or_name) => return Err(absent()),
        Err(_) => by_name::<R>(tx, org, project, id_or_name)
            .await?
            .ok_or_else(absent)?,
    };
    let found: R = get(tx, id).await.map_err(|error| match error {
        Error::NotFound { .. } => absent(),
        other => other,
    })?;
    if found.meta().org_id == *org && found.meta().project_id == *project {
        Ok(found)
    } else {
        Err(absent())
    }
}

/// What can't be a name must not become a part of a key.
fn is_name(text: &str) -> bool {
    photon_resource::validate_resource_name("name", text).is_ok()
}

/// Errors: `AlreadyExists` when the name is taken.
pub(super) async fn insert<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    claim_name(tx, resource).await?;
    let reference = reference(resource)?;
    tx.put(&list_key(resource), &reference)?;
    put(tx, resource)
}

/// Errors: `AlreadyExists` when the new name is taken.
pub(super) async fn replace<R: Stored>(
    tx: &mut Transaction,
    before: &R,
    after: &R,
) -> Result<(), Error> {
    if before.meta().name != after.meta().name {
        claim_name(tx, after).await?;
        let meta = before.meta();
        tx.delete(&name_key::<R>(&meta.org_id, &meta.project_id, &meta.name));
    }
    put(tx, after)
}

pub(super) fn remove<R: Stored>(tx: &mut Transaction, resource: &R) {
    let meta = resource.meta();
    tx.delete(&name_key::<R>(&meta.org_id, &meta.project_id, &meta.name));
    tx.delete(&list_key(resource));
    tx.delete(&R::key(resource.id()));
}

async fn claim_name<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    let meta = resource.meta();
    let key = name_key::<R>(&meta.org_id, &meta.project_id, &meta.name);
    if tx.get::<Reference>(&key).await?.is_some() {
        return Err(Error::already_exists(R::KIND, &meta.name));
    }
    tx.put(&key, &reference(resource)?)?;
    Ok(())
}

fn put<R: Stored>(tx: &mut Transaction, resource: &R) -> Result<(), Error> {
    tx.put(&R::key(resource.id()), &R::Record::from(resource))?;
    Ok(())
}

pub(super) fn reference<R: Stored>(resource: &R) -> Result<Reference, Error> {
    // Every id is a UUID, and prints as one.
    let id = Uuid::try_parse(&resource.id().to_string()).map_err(Error::internal)?;
    Ok(Reference { id })
}

/// What is stored of a resource: what an event's digests are of.
pub fn stored_bytes<R: Stored>(resource: &R) -> Result<Vec<u8>, Error> {
    Ok(flaredb::encode(
        &R::key(resource.id()),
        &R::Record::from(resource),
    )?)
}

/// Which resources a list shows.
pub struct Query {
    /// Of this project, organization or all.
    pub scope: Scope,
    /// Only with this name; empty: any.
    pub name: String,
    /// Only with all of these.
    pub labels: Labels,
    /// Which page.
    pub page: PageRequest,
}

/// One page of what `keep` lets pass.
pub async fn page<R: Stored>(
    db: &Db,
    query: Query,
    keep: impl Fn(&R) -> bool,
) -> Result<Page<R>, Error> {
    let prefix = list_prefix::<R>(&query.scope);
    page_of_index(db, &prefix, query, keep).await
}

/// As [`page`], over the references under `prefix`.
pub(super) async fn page_of_index<R: Stored>(
    db: &Db,
    prefix: &str,
    query: Query,
    keep: impl Fn(&R) -> bool,
) -> Result<Page<R>, Error> {
    let wanted = |resource: &R| {
        let meta = resource.meta();
        query.scope.contains(&meta.scope())
            && (query.name.is_empty() || query.name == meta.name)
            && meta.has_labels(&query.labels)
            && keep(resource)
    };
    let mut after = query.page.after.clone();
    if let Some(after) = &after
        && !after.starts_with(prefix)
    {
        return Err(Error::invalid(
            "page_token",
            PageRequest::token(after),
            "the next_page_token of a page of the same list",
        ));
    }
    if let Scope::Project(org, project) = &query.scope
        && !query.name.is_empty()
    {
        // At most one can have the name.
        let mut items = Vec::new();
        if is_name(&query.name)
            && after.is_none()
            && let Some(entry) = db
                .get::<Reference>(&name_key::<R>(org, project, &query.name))
                .await?
            && let Some(record) = db.get::<R::Record>(&R::key(entry.id.into())).await?
        {
            items.extend(Some(record.into()).filter(wanted));
        }
        return Ok(Page {
            items,
            next_page_token: String::new(),
        });
    }
    let mut items = Vec::new();
    loop {
        let batch = db
            .page::<Reference>(prefix, after.as_deref(), query.page.size)
            .await?;
        for (key, entry) in batch.items {
            // One more than the page holds tells that there is another page.
            let resource: Option<R> = db
                .get::<R::Record>(&R::key(entry.id.into()))
                .await?
                .map(Into::into)
                .filter(wanted);
            if let Some(resource) = resource {
                if items.len() == query.page.size {
                    return Ok(Page {
                        items,
                        next_page_token: after
                            .as_deref()
                            .map(PageRequest::token)
                            .unwrap_or_default(),
                    });
                }
                items.push(resource);
            }
            after = Some(key);
        }
        if !batch.more {
            return Ok(Page {
                items,
                next_page_token: String::new(),
            });
        }
    }
}
