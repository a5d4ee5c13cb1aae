//! Whether a call may reach what it names.

use std::ops::ControlFlow;

use flaredb::Db;
use photon_resource::{Caller, Error, ResourceName, Scope};
use photon_service::{Guard, Mutation, Mutations};
use tonic::Request;

use crate::convert::Tenant;
use crate::model::{Labels, Meta};
use crate::store::{self, Stored};

/// What every service needs before it acts. Clones share everything.
#[derive(Clone)]
pub struct Access {
    db: Db,
    guard: Guard,
    mutations: Mutations,
}

/// How a request names one resource.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    /// Id or name.
    pub id: &'a str,
    /// Whose name it is; empty: the token's.
    pub org_id: &'a str,
    pub project_id: &'a str,
}

impl<'a> Named<'a> {
    /// By id, or by name in the token's own project.
    pub fn own(id: &'a str) -> Self {
        Self {
            id,
            org_id: "",
            project_id: "",
        }
    }
}

impl Access {
    /// For resources in `db`.
    pub fn new(db: Db, guard: Guard, mutations: Mutations) -> Self {
        Self {
            db,
            guard,
            mutations,
        }
    }

    /// Who calls.
    pub(super) async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Error> {
        self.guard.authenticate(request).await
    }

    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Begins a change by an authorized caller.
    pub(super) fn mutation<T: prost::Message>(
        &self,
        caller: &Caller,
        action: &str,
        request_id: &str,
        request: &T,
    ) -> Result<Mutation, Error> {
        self.mutations.start(caller, action, request_id, request)
    }

    /// Whether the caller may create a resource of type `resources` with this name and these labels in a
    /// project.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        action: &str,
        resources: &str,
        (org_id, project_id): (&str, &str),
        name: &str,
        labels: &Labels,
    ) -> Result<Tenant, Error> {
        let (org_id, project_id) = self.guard.scope(caller, org_id, project_id)?;
        let scope = Scope::Project(org_id.clone(), project_id.clone());
        let owner = caller.claims.principal_id;
        self.guard
            .authorize(
                caller,
                action,
                &ResourceName::any(scope, resources),
                &borrowed(&attributes(&owner.to_string(), name, labels)),
            )
            .await?;
        Ok(Tenant {
            org_id,
            project_id,
            owner,
        })
    }

    /// Whether the caller may list resources of type `resources`: of a project, of a whole organization if only
    /// that is given, or of the token's scope if neither is.
    pub(super) async fn list(
        &self,
        caller: &Caller,
        action: &str,
        resources: &str,
        org_id: &str,
        project_id: &str,
    ) -> Result<Scope, Error> {
        let scope = match (org_id, project_id) {
            ("", "") => caller.claims.scope(),
            (org_id, "") => Scope::Org(org_id.parse()?),
            (org_id, project_id) => {
                let (org_id, project_id) = self.guard.scope(caller, org_id, project_id)?;
                Scope::Project(org_id, project_id)
            }
        };
        let all = ResourceName::any(scope.clone(), resources);
        self.guard.authorize(caller, action, &all, &[]).await?;
        Ok(scope)
    }

    /// The resource that a request names, if the caller may do `action` on it. What is another tenant's can't be
    /// told from what does not exist.
    pub(super) async fn reach<R: Stored>(
        &self,
        caller: &Caller,
        action: &str,
        named: Named<'_>,
    ) -> Result<R, Error> {
        if named.id.is_empty() {
            return Err(Error::invalid(
                "id",
                "",
                format!("the id or name of a {}", R::KIND),
            ));
        }
        match self.look_up::<R>(caller, named).await? {
            Some(found) if caller.may_see(&found.meta().scope()) => {
                self.authorize(caller, action, &found).await?;
                return Ok(found);
            }
            // Refused at the wall, and recorded; the answer comes below, as for what is absent.
            Some(found) => drop(self.authorize(caller, action, &found).await),
            None => {}
        }
        // Who may not even ask hears that first, and learns nothing of what exists.
        let nearest = self
            .guard
            .scope(caller, named.org_id, named.project_id)
            .map(|(org, project)| Scope::Project(org, project))
            .ok()
            .filter(|scope| caller.may_see(scope))
            .unwrap_or_else(|| caller.claims.scope());
        let any = ResourceName::any(nearest, R::RESOURCES);
        self.guard.authorize(caller, action, &any, &[]).await?;
        Err(Error::not_found(R::KIND, named.id))
    }

    /// As [`reach`](Self::reach), for a change: a repeated `request_id` gets its earlier answer even if the resource
    /// is gone since, as after a deletion.
    pub(super) async fn reach_for<R: Stored, A: prost::Message + Default>(
        &self,
        caller: &Caller,
        action: &str,
        named: Named<'_>,
        mutation: &Mutation,
    ) -> Result<ControlFlow<A, R>, Error> {
        match self.reach(caller, action, named).await {
            Ok(found) => Ok(ControlFlow::Continue(found)),
            Err(absent @ Error::NotFound { .. }) => {
                match mutation.replay(&mut self.db.begin()).await? {
                    Some(earlier) => Ok(ControlFlow::Break(earlier)),
                    None => Err(absent),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn look_up<R: Stored>(
        &self,
        caller: &Caller,
        named: Named<'_>,
    ) -> Result<Option<R>, Error> {
        let mut tx = self.db.begin();
        let found = match named.id.parse::<R::Id>() {
            Ok(id) => store::get(&mut tx, id).await,
            Err(_) => {
                let (org, project) = self.guard.scope(caller, named.org_id, named.project_id)?;
                store::find(&mut tx, &org, &project, named.id).await
            }
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn authorize<R: Stored>(
        &self,
        caller: &Caller,
        action: &str,
        resource: &R,
    ) -> Result<(), Error> {
        let Meta {
            owner,
            name,
            labels,
            ..
        } = resource.meta();
        self.guard
            .authorize(
                caller,
                action,
                &resource.resource(),
                &borrowed(&attributes(&owner.to_string(), name, labels)),
            )
            .await
    }
}

/// What conditions of policies can read of a resource.
fn attributes(owner: &str, name: &str, labels: &Labels) -> Vec<(String, String)> {
    let fixed = [("owner", owner), ("name", name)];
    fixed
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .chain(
            labels
                .iter()
                .map(|(key, value)| (format!("label.{key}"), value.clone())),
        )
        .collect()
}

fn borrowed(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}
