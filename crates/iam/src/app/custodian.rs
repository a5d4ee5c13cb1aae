//! IAM as one who asks other servers: what they still hold of a tenant that is to be deleted (decision 0029).
//!
//! It asks as a principal of its own, which is made when it is first needed. That has no credential: only this process, which
//! has the signing key, gets tokens for it.

use std::time::Duration;

use photon_catalog::{Actor, Effect, commit_own, work};
use photon_resource::{Error, OrgId, PrincipalKind, ProjectId};

use super::Core;
use super::bootstrap::{SERVER, bind, new_principal};
use super::issue::{Proven, Stranger, Wanted, issue};
use crate::holders::Holding;
use crate::model::Principal;
use crate::store::principal as store;

/// Its built-in role.
const ROLE: &str = "Custodian";
/// How long its tokens live: for one deletion.
const TOKEN_TTL: Duration = Duration::from_secs(60);

async fn principal(core: &Core) -> Result<Principal, Error> {
    if let Some(found) = store::principal_find_by_name(&core.db, None, SERVER).await? {
        return Ok(found);
    }
    let new = new_principal(SERVER, PrincipalKind::Service, None);
    let mut change = work(new, |new, tx| {
        Box::pin(async move {
            if let Some(id) = store::principal_named(tx, None, SERVER).await?
                && let Some(found) = store::principal_get(tx, id).await?
            {
                return Ok(Effect::nothing(found));
            }
            store::principal_create(tx, new)?;
            bind(tx, new.id, ROLE)?;
            let (name, key) = (super::principal::name(new), store::key(new.id));
            Ok(Effect::at(name, key, new.clone()))
        })
    });
    let actor = Actor::server(SERVER);
    let action = "iam:principals:create";
    let made = commit_own(&core.db, &core.ledger, &actor, action, &mut change).await?;
    core.live.settled().await?;
    Ok(made)
}

async fn token(core: &Core) -> Result<String, Error> {
    let proven = Proven {
        principal: principal(core).await?,
        api_key: None,
        confined: None,
        actor: None,
        until: None,
        session: None,
    };
    let from = Stranger {
        source: "local".to_owned(),
        request_id: String::new(),
        certificate: None,
    };
    let wanted = Wanted {
        org: None,
        project: None,
        ttl: TOKEN_TTL,
    };
    Ok(issue(core, &from, &wanted, proven).await?.token)
}

/// Makes sure that no server holds anything of a project, nor will before it is deleted: for a minute from now on nothing
/// can be made in it.
///
/// Errors: `InUse` saying what is left, `Unavailable` if a server can't be asked.
pub(super) async fn require_empty_project(
    core: &Core,
    org: &OrgId,
    project: &ProjectId,
) -> Result<(), Error> {
    if core.holders.is_empty() {
        return Ok(());
    }
    let token = token(core).await?;
    // All are asked before any closes it: a refusal is to leave things as they were.
    let held = core.holders.holdings(&token, org, Some(project)).await?;
    refuse_held("project", project.as_str(), &held)?;
    let held = core.holders.close(&token, org, project).await?;
    refuse_held("project", project.as_str(), &held)
}

/// Makes sure that no server holds anything of an organization, which has no projects any more: so that nothing is made in it.
///
/// Errors: as [`require_empty_project`].
pub(super) async fn require_empty_organization(core: &Core, org: &OrgId) -> Result<(), Error> {
    if core.holders.is_empty() {
        return Ok(());
    }
    let token = token(core).await?;
    let held = core.holders.holdings(&token, org, None).await?;
    refuse_held("organization", org.as_str(), &held)
}

fn refuse_held(kind: &'static str, id: &str, held: &[Holding]) -> Result<(), Error> {
    if held.is_empty() {
        return Ok(());
    }
    let held: Vec<_> = held.iter().map(ToString::to_string).collect();
    let held = held.join(", ");
    let text = format!("{kind} '{id}' still holds {held}: delete them first");
    Err(Error::in_use(kind, id, text))
}
