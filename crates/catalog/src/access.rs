//! Whether a call may reach what it names.
//!
//! What is hidden reads as what is absent, word for word: a resource of another tenant, one that the caller's roles do
//! not reach, and one that does not exist get the same answer, under the id or name as it was given.

use std::ops::ControlFlow;

use flaredb::Db;
use photon_resource::{Caller, Described, Error, Extent, Labels, Scope};
use photon_service::{Guard, Mutation, Mutations};
use tonic::Request;

use crate::stored::{self, Stored};
use crate::wire::Tenant;

/// What every service needs before it acts. Clones share everything.
#[derive(Clone)]
pub struct Access {
    db: Db,
    guard: Guard,
    mutations: Mutations,
}

/// What must be permitted on a resource that a list shows; none: the list's own right is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown(Vec<String>);

/// How a request names one resource.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
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

    /// Where the resources are.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Who decides.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Who calls.
    pub async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Error> {
        self.guard.authenticate(request).await
    }

    /// Begins a change by an authorized caller.
    pub fn mutation<T: prost::Message>(
        &self,
        caller: &Caller,
        action: &str,
        request_id: &str,
        request: &T,
    ) -> Result<Mutation, Error> {
        self.mutations.start(caller, action, request_id, request)
    }

    /// Whether the caller may create a resource with this name and these labels in a project (empty: the token's);
    /// `further` is what conditions of policies can read beside.
    pub async fn create<R: Stored>(
        &self,
        caller: &Caller,
        (org_id, project_id): (&str, &str),
        name: &str,
        labels: &Labels,
        further: &[(&str, &str)],
    ) -> Result<Tenant, Error> {
        let (org_id, project_id) = self.guard.scope(caller, org_id, project_id)?;
        let tenant = Tenant {
            org_id,
            project_id,
            owner: caller.claims.principal_id,
        };
        let attributes = stored::attributes(Some(tenant.owner), Some(name), Some(labels));
        let mut attributes = borrowed(&attributes);
        attributes.extend(further);
        self.guard
            .authorize(
                caller,
                &R::KIND.action("create"),
                &R::KIND.any(tenant.scope()),
                &attributes,
            )
            .await?;
        Ok(tenant)
    }

    /// Whether the caller may do `verb` (watch) with all resources of a scope: see [`list_scope`]. One who may get some of them
    /// on a condition may not: a stream is not looked through.
    pub async fn all<R: Stored>(
        &self,
        caller: &Caller,
        verb: &str,
        org_id: &str,
        project_id: &str,
    ) -> Result<Scope, Error> {
        let scope = list_scope(caller, org_id, project_id)?;
        let (action, all) = (R::KIND.action(verb), R::KIND.any(scope.clone()));
        self.guard.authorize(caller, &action, &all, &[]).await?;
        let get = self
            .guard
            .extent(caller, &R::KIND.action("get"), &all)
            .await?;
        if get == Extent::Some {
            let reason = format!(
                "a role permits to get {} on a condition, and all are told: list them instead",
                R::KIND.plural
            );
            self.guard.record(caller, &action, &all, &reason).await;
            return Err(Error::PermissionDenied {
                action,
                resource: all.to_string(),
                reason,
            });
        }
        Ok(scope)
    }

    /// Whether the caller may list resources of a scope, and which of them it is shown: those that it may list and get. A role
    /// that permits one of both on a condition shows those for which that holds; one that permits to list and never to get
    /// is about lists alone.
    pub async fn listed<R: Stored>(
        &self,
        caller: &Caller,
        org_id: &str,
        project_id: &str,
    ) -> Result<(Scope, Shown), Error> {
        let scope = list_scope(caller, org_id, project_id)?;
        let all = R::KIND.any(scope.clone());
        let [list, get] = ["list", "get"].map(|verb| R::KIND.action(verb));
        let (by_list, by_get) = futures::try_join!(
            self.guard.extent(caller, &list, &all),
            self.guard.extent(caller, &get, &all),
        )?;
        if by_list == Extent::None {
            // Refuses, and records it.
            self.guard.authorize(caller, &list, &all, &[]).await?;
        }
        let asked = [(list, by_list), (get, by_get)].into_iter();
        let actions = asked.filter(|(_, extent)| *extent == Extent::Some);
        let actions = actions.map(|(action, _)| action).collect();
        Ok((scope, Shown(actions)))
    }

    /// Those of a page that the caller is shown.
    pub async fn shown<R: Stored>(
        &self,
        caller: &Caller,
        shown: &Shown,
        mut items: Vec<R>,
    ) -> Result<Vec<R>, Error> {
        for action in &shown.0 {
            // What is shown to all tenants is no matter of roles.
            let own = |it: &R| caller.may_see(&it.scope());
            let asked = items.iter().filter(|it| own(it)).map(|it| Described {
                name: it.resource(),
                attributes: stored::attributes_of(it).into_iter().collect(),
            });
            let asked: Vec<_> = asked.collect();
            let mut allowed = self
                .guard
                .may_each(caller, action, asked)
                .await?
                .into_iter();
            items.retain(|it| !own(it) || allowed.next() == Some(true));
        }
        Ok(items)
    }

    /// The resource that a request names, if the caller may do `verb` with it.
    ///
    /// Errors: those of [`reveal`](Self::reveal); `InvalidArgument` for a name without a project that it could be in.
    pub async fn reach<R: Stored>(
        &self,
        caller: &Caller,
        verb: &str,
        named: Named<'_>,
    ) -> Result<R, Error> {
        let (found, nearest) = self.look_up::<R>(caller, named).await?;
        self.reveal(caller, verb, found, nearest, named.id).await
    }

    /// What was `found` under the id or name `given`, if the caller may do `verb` with it. What it may not is answered as
    /// what is absent: as all that is in `nearest`, where such a thing would be, would be.
    ///
    /// Errors: `PermissionDenied` for whoever may do that with nothing in `nearest`, else `NotFound`. A refusal is
    /// recorded under the resource's real name.
    pub async fn reveal<R: Stored>(
        &self,
        caller: &Caller,
        verb: &str,
        found: Option<R>,
        nearest: Scope,
        given: &str,
    ) -> Result<R, Error> {
        let action = R::KIND.action(verb);
        let hidden = found.is_some();
        if let Some(found) = found {
            let attributes = stored::attributes_of(&found);
            let (resource, attributes) = (found.resource(), borrowed(&attributes));
            let asked = self
                .guard
                .authorize(caller, &action, &resource, &attributes);
            match asked.await {
                Ok(()) => return Ok(found),
                // Recorded; the answer comes below.
                Err(Error::PermissionDenied { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let nearest = if caller.may_see(&nearest) {
            nearest
        } else {
            caller.claims.scope()
        };
        let any = R::KIND.any(nearest);
        // One refusal is one event.
        if hidden {
            self.guard.judge(caller, &action, &any, &[]).await?;
        } else {
            self.guard.authorize(caller, &action, &any, &[]).await?;
        }
        Err(Error::not_found(R::KIND.noun, given))
    }

    /// As [`reach`](Self::reach), for a change: a repeated `request_id` gets its earlier answer even if the resource
    /// is gone since, as after a deletion.
    pub async fn reach_for<R: Stored, A: prost::Message + Default>(
        &self,
        caller: &Caller,
        verb: &str,
        named: Named<'_>,
        mutation: &Mutation,
    ) -> Result<ControlFlow<A, R>, Error> {
        let reached = self.reach(caller, verb, named).await;
        self.or_earlier(reached, mutation).await
    }

    /// What was reached, or what an earlier call with this `request_id` was answered.
    pub async fn or_earlier<R, A: prost::Message + Default>(
        &self,
        reached: Result<R, Error>,
        mutation: &Mutation,
    ) -> Result<ControlFlow<A, R>, Error> {
        match reached {
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

    /// What a request names, whoever's it is, and where such a thing would be: nothing that may be told before
    /// [`reveal`](Self::reveal) has permitted it.
    ///
    /// Errors: `InvalidArgument` for nothing, and for a name without a project that it could be in.
    pub async fn look_up<R: Stored>(
        &self,
        caller: &Caller,
        named: Named<'_>,
    ) -> Result<(Option<R>, Scope), Error> {
        if named.id.is_empty() {
            let noun = R::KIND.noun;
            let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
                "an"
            } else {
                "a"
            };
            let expected = format!("the id or name of {article} {noun}");
            return Err(Error::invalid("id", "", expected));
        }
        let said = self.said_scope::<R>(caller, named);
        if let Ok(id) = named.id.parse::<R::Id>() {
            let nearest = said.unwrap_or_else(|_| caller.claims.scope());
            return Ok((stored::load(&self.db, &id).await?, nearest));
        }
        let scope = said?;
        match stored::find(&mut self.db.begin(), &scope, named.id).await {
            Ok(found) => Ok((Some(found), scope)),
            Err(Error::NotFound { .. }) => Ok((None, scope)),
            Err(error) => Err(error),
        }
    }

    /// Where a request says that what it names is.
    fn said_scope<R: Stored>(&self, caller: &Caller, named: Named<'_>) -> Result<Scope, Error> {
        let unsaid = named.org_id.is_empty() && named.project_id.is_empty();
        if R::OF_SYSTEM && unsaid && caller.claims.org_id.is_none() {
            return Ok(Scope::System);
        }
        let (org, project) = self.guard.scope(caller, named.org_id, named.project_id)?;
        Ok(Scope::Project(org, project))
    }
}

/// What a list request's `org_id` and `project_id` mean: empty ones are the token's; an organization without a project,
/// for a token that is not for one of its projects, is all of its projects; nothing at all, with a token of the system,
/// is everything.
///
/// Errors: `InvalidArgument`.
pub fn list_scope(caller: &Caller, org_id: &str, project_id: &str) -> Result<Scope, Error> {
    let claims = &caller.claims;
    let org = match (org_id, &claims.org_id) {
        ("", None) if project_id.is_empty() => return Ok(Scope::System),
        ("", None) => {
            return Err(Error::invalid(
                "org_id",
                "",
                "the organization of project_id, because the token is for the whole system",
            ));
        }
        ("", Some(org)) => org.clone(),
        (given, _) => given.parse()?,
    };
    let own = claims
        .project_id
        .as_ref()
        .filter(|_| claims.org_id.as_ref() == Some(&org));
    match (project_id, own) {
        ("", None) => Ok(Scope::Org(org)),
        ("", Some(project)) => Ok(Scope::Project(org, project.clone())),
        (given, _) => Ok(Scope::Project(org, given.parse()?)),
    }
}

/// As the guard takes attributes.
pub fn borrowed(attributes: &[(String, String)]) -> Vec<(&str, &str)> {
    attributes
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use photon_resource::{Claims, PrincipalId, PrincipalKind};

    use super::*;

    fn caller(org: Option<&str>, project: Option<&str>) -> Caller {
        Caller {
            claims: Claims {
                principal_id: PrincipalId::generate(),
                principal_name: "someone".into(),
                kind: PrincipalKind::User,
                impersonator: None,
                org_id: org.map(|org| org.parse().unwrap()),
                project_id: project.map(|project| project.parse().unwrap()),
                node: None,
                token_id: "t".into(),
                expires_at: SystemTime::now(),
            },
            token: "secret".into(),
            source: "127.0.0.1".into(),
            request_id: "r".into(),
        }
    }

    #[track_caller]
    fn lists(caller: &Caller, org: &str, project: &str, scope: &str) {
        let found = list_scope(caller, org, project).unwrap().to_string();
        assert_eq!(found, scope, "{org}/{project}");
    }

    #[test]
    fn a_list_is_of_the_tokens_tenant_unless_it_says_otherwise() {
        let project = caller(Some("acme"), Some("web"));
        lists(&project, "", "", "org/acme/project/web");
        lists(&project, "acme", "", "org/acme/project/web");
        lists(&project, "acme", "db", "org/acme/project/db");
        lists(&project, "globex", "", "org/globex");
        let org = caller(Some("acme"), None);
        lists(&org, "", "", "org/acme");
        lists(&org, "", "web", "org/acme/project/web");
        let system = caller(None, None);
        lists(&system, "", "", "system");
        lists(&system, "acme", "", "org/acme");
        assert!(list_scope(&system, "", "web").is_err());
    }
}
