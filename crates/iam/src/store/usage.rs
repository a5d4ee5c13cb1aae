//! How much an organization and its projects have here, counted in the transaction that makes or removes it.
//!
//! What is of the cloud itself is not counted: operators, the cloud's own programs, and what they have.

use std::collections::HashMap;

use flaredb::{Db, KeyValue, Transaction, decode};
use photon_catalog::quota::{Count, Quantity, Uses, change};
use photon_resource::{Error, OrgId, PrincipalId, Scope};

use super::{api_key, binding, principal, project, role, s3_key};
use crate::model::{ApiKey, Principal, S3AccessKey};

/// What is counted, by its name.
pub(crate) const PROJECTS: &str = "projects";
pub(crate) const PRINCIPALS: &str = "principals";
pub(crate) const ROLES: &str = "roles";
pub(crate) const BINDINGS: &str = "bindings";
pub(crate) const API_KEYS: &str = "api_keys";
pub(crate) const S3_KEYS: &str = "s3_keys";

/// How many records are read at once when they are counted.
const READ_AT_ONCE: usize = 500;

/// One more; the commit fails if that is more than may be.
pub(super) fn take(tx: &mut Transaction, scope: &Scope, name: &'static str) {
    change(tx, scope, &Uses::new(), &vec![(name, 1)]);
}

/// One less.
pub(super) fn give_back(tx: &mut Transaction, scope: &Scope, name: &'static str) {
    change(tx, scope, &vec![(name, 1)], &Uses::new());
}

/// Counts all that is stored, and stores what may be, before anybody is served. A record that can't be read, which is no reason
/// not to start, counts where its key says where it is.
pub(crate) async fn recount(db: &Db, quantities: &[Quantity]) -> Result<(), Error> {
    let mut count = Count::new();
    let by_key = [
        (project::PREFIX, PROJECTS),
        (principal::NAMES, PRINCIPALS),
        (role::NAMES, ROLES),
        (binding::IN_PREFIX, BINDINGS),
    ];
    for (prefix, name) in by_key {
        each(db, prefix, |item| {
            let place = item.key.strip_prefix(prefix).unwrap_or_default();
            if let Some(scope) = scope_of(place, name == BINDINGS) {
                count.add(&scope, &vec![(name, 1)]);
            }
        })
        .await?;
    }
    let mut orgs: HashMap<PrincipalId, OrgId> = HashMap::new();
    each(db, principal::PREFIX, |item| {
        let record = decode::<principal::PrincipalRecord>(&item.key, &item.value);
        let principal = record.map(Principal::from).ok();
        if let Some((id, Some(org))) = principal.map(|it| (it.id, it.org_id)) {
            orgs.insert(id, org);
        }
    })
    .await?;
    each(db, api_key::PREFIX, |item| {
        let record = decode::<api_key::ApiKeyRecord>(&item.key, &item.value);
        let Ok(key) = record.map(ApiKey::from) else {
            return;
        };
        let org = orgs.get(&key.principal_id).cloned();
        let home = org.map_or(Scope::System, Scope::Org);
        count.add(&key.scope(&home), &vec![(API_KEYS, 1)]);
    })
    .await?;
    each(db, s3_key::PREFIX, |item| {
        let record = decode::<s3_key::S3AccessKeyRecord>(&item.key, &item.value);
        let key = record.map(S3AccessKey::from).ok();
        let org = key.as_ref().and_then(|key| orgs.get(&key.principal_id));
        if let Some((key, org)) = key.as_ref().zip(org) {
            let scope = Scope::Project(org.clone(), key.project_id.clone());
            count.add(&scope, &vec![(S3_KEYS, 1)]);
        }
    })
    .await?;
    count.store(db, quantities).await
}

/// Reads all under a prefix.
async fn each(db: &Db, prefix: &str, mut read: impl FnMut(&KeyValue)) -> Result<(), Error> {
    let mut after: Option<String> = None;
    loop {
        let scan = db.scan_raw(prefix, after.as_deref(), READ_AT_ONCE).await?;
        scan.items.iter().for_each(&mut read);
        after = scan.items.into_iter().last().map(|item| item.key);
        if !scan.more {
            return Ok(());
        }
    }
}

/// Whose a key is that goes on so: `acme/…`, and, where things are in projects, `acme/web/…` or `acme/-/…`. `None`: the
/// cloud's own.
fn scope_of(place: &str, in_projects: bool) -> Option<Scope> {
    let mut segments = place.split('/');
    // No organization is called `system`.
    let org: OrgId = segments.next().filter(|it| *it != "system")?.parse().ok()?;
    match segments.next() {
        Some(project) if in_projects && project != "-" => {
            Some(Scope::Project(org, project.parse().ok()?))
        }
        _ => Some(Scope::Org(org)),
    }
}
