//! What goes with something that is deleted, where it may be more than one commit has room for.
//!
//! A page at a time goes first, each with its event; the rest, of a bounded number, in the transaction that deletes the
//! thing itself. All of it are rights and credentials, so that what is left half-way, should the server stop, permits less
//! than before, and the deletion goes on when it is asked for again. Nothing goes before it is sure that the thing may be
//! deleted at all.

use flaredb::Transaction;
use photon_catalog::Effect;
use photon_resource::{Caller, Error, OrgId, PrincipalId, ProjectId, ResourceName, Scope};

use super::Core;
use crate::store::{api_key, binding, organization, principal, project, role, s3_key, session};

/// How much of one kind a page has. A binding, the largest, has five keys.
const PAGE: usize = 15;
/// How much of each kind the last transaction has at most.
const REST: usize = 7;

/// What is to be deleted, with what belongs to it.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// Bindings in it, and roles.
    Organization(OrgId),
    /// Bindings in it, and S3 keys for it.
    Project(OrgId, ProjectId),
    /// Its bindings, API keys, S3 keys and sessions.
    Principal(PrincipalId),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bindings,
    Roles,
    ApiKeys,
    S3Keys,
    Sessions,
}

impl Kind {
    /// The action of an event about some of them, and what they are called.
    fn told(self) -> (&'static str, &'static str) {
        match self {
            Kind::Bindings => ("iam:bindings:delete", "bindings"),
            Kind::Roles => ("iam:roles:delete", "roles"),
            Kind::ApiKeys => ("iam:apiKeys:delete", "apiKeys"),
            Kind::S3Keys => ("iam:s3Keys:delete", "s3Keys"),
            Kind::Sessions => ("iam:sessions:end", "sessions"),
        }
    }
}

impl Owner {
    fn kinds(&self) -> &'static [Kind] {
        match self {
            Owner::Organization(_) => &[Kind::Bindings, Kind::Roles],
            Owner::Project(..) => &[Kind::Bindings, Kind::S3Keys],
            Owner::Principal(_) => &[Kind::Bindings, Kind::ApiKeys, Kind::S3Keys, Kind::Sessions],
        }
    }

    /// Keeps others from adding to it, and makes sure that it is there and may be deleted. Answers where it is.
    ///
    /// Errors: `NotFound`, `FailedPrecondition`.
    pub(super) async fn check(&self, tx: &mut Transaction) -> Result<Scope, Error> {
        match self {
            Owner::Organization(id) => {
                tx.touch(&organization::members_guard(id)).await?;
                organization::organization_get(tx, id)
                    .await?
                    .ok_or_else(|| Error::not_found("organization", id))?;
                for (has, what) in [
                    (project::project_any(tx, id).await?, "projects"),
                    (principal::principal_any(tx, id).await?, "principals"),
                ] {
                    if has {
                        return Err(Error::FailedPrecondition(format!(
                            "organization '{id}' still has {what}: delete them first"
                        )));
                    }
                }
                Ok(Scope::Org(id.clone()))
            }
            Owner::Project(org, id) => {
                tx.touch(&organization::members_guard(org)).await?;
                project::project_get(tx, org, id)
                    .await?
                    .ok_or_else(|| Error::not_found("project", id))?;
                Ok(Scope::Project(org.clone(), id.clone()))
            }
            Owner::Principal(id) => {
                tx.touch(&principal::credentials_guard(*id)).await?;
                let principal = principal::principal_get(tx, *id)
                    .await?
                    .ok_or_else(|| Error::not_found("principal", id))?;
                Ok(principal.home())
            }
        }
    }

    /// Deletes at most `limit` of a kind, and says how many.
    async fn delete(&self, tx: &mut Transaction, kind: Kind, limit: usize) -> Result<usize, Error> {
        match (kind, self) {
            (Kind::Bindings, owner) => {
                let bindings = match owner {
                    Owner::Organization(id) => {
                        binding::binding_below(tx, &Scope::Org(id.clone()), limit).await?
                    }
                    Owner::Project(org, id) => {
                        let scope = Scope::Project(org.clone(), id.clone());
                        binding::binding_below(tx, &scope, limit).await?
                    }
                    Owner::Principal(id) => binding::binding_of(tx, *id, limit).await?,
                };
                for left in &bindings {
                    binding::binding_delete(tx, left);
                }
                Ok(bindings.len())
            }
            (Kind::Roles, Owner::Organization(id)) => role::role_delete_some(tx, id, limit).await,
            (Kind::ApiKeys, Owner::Principal(id)) => {
                api_key::api_key_delete_some(tx, *id, limit).await
            }
            (Kind::Sessions, Owner::Principal(id)) => {
                session::session_delete_some(tx, *id, limit).await
            }
            (Kind::S3Keys, Owner::Principal(id)) => {
                s3_key::s3_key_delete_some(tx, *id, limit).await
            }
            (Kind::S3Keys, Owner::Project(org, id)) => {
                s3_key::s3_key_delete_some_of_project(tx, org, id, limit).await
            }
            // `kinds` gives no other pairs.
            _ => Ok(0),
        }
    }

    /// Deletes what [`Core::sweep`] has left, in the transaction that deletes the owner.
    ///
    /// Errors: `NotFound`, `FailedPrecondition` if the owner may not be deleted; `Unavailable` if there is much again.
    pub(super) async fn take_along(&self, tx: &mut Transaction) -> Result<(), Error> {
        self.check(tx).await?;
        for kind in self.kinds() {
            if self.delete(tx, *kind, REST + 1).await? > REST {
                let (_, resources) = kind.told();
                return Err(Error::Unavailable(format!(
                    "{resources} are added while they are deleted: try again"
                )));
            }
        }
        Ok(())
    }
}

impl Core {
    /// Deletes of what belongs to `owner` page by page, until the rest fits into the last transaction.
    ///
    /// Errors: as [`Owner::take_along`]; then no further page goes.
    pub(super) async fn sweep(&self, caller: &Caller, owner: &Owner) -> Result<(), Error> {
        for kind in owner.kinds() {
            // A look at how many there are, which is not written.
            while owner.delete(&mut self.db.begin(), *kind, REST + 1).await? > REST {
                let (action, _) = kind.told();
                // A page has no `request_id`: what the call is answered is the last transaction's.
                let mutation = self.mutations.start(caller, action, "", &())?;
                self.change(
                    mutation,
                    (owner.clone(), *kind),
                    |(owner, kind), tx| {
                        Box::pin(async move {
                            let home = owner.check(tx).await?;
                            owner.delete(tx, *kind, PAGE).await?;
                            let (_, resources) = kind.told();
                            Ok(Effect::of(ResourceName::any(home, resources), ()))
                        })
                    },
                    |()| (),
                )
                .await?;
            }
        }
        Ok(())
    }
}
