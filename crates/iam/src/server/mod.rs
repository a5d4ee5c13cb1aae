//! The gRPC services: each handler finds out who calls, has the guard let it do that to a named resource, and
//! delegates. No rule lives here.
//!
//! Calls that need no token: `IssueToken` with a credential, `RefreshToken`, `GetJwks`, `ListEndpoints`, `Bootstrap`. Calls that a
//! principal may always make for itself: `WhoAmI`, `Authorize`, `AuthorizeEach` and `RevokeToken` of its own token, `ListSessions`
//! and `EndSession` of its own sessions, `SetPassword` with the current one.

mod access;
mod admin;
mod authz;
mod binding;
mod credential;
pub(crate) mod directory;
mod organization;
mod principal;
mod project;
mod role;
mod session;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use photon_resource::{Caller, Error, ResourceName};
use photon_service::{Guard, Mutation};
use tonic::Request;

use crate::app::Core;

/// The services of IAM that know of principals. Clones share everything.
#[derive(Clone)]
pub struct Server {
    pub(crate) guard: Guard,
    pub(crate) core: Arc<Core>,
    pub(crate) state_dir: Arc<PathBuf>,
}

impl Server {
    /// Services over `core`, whose callers `guard` lets through.
    pub fn new(guard: Guard, core: Arc<Core>, state_dir: PathBuf) -> Self {
        Self {
            guard,
            core,
            state_dir: Arc::new(state_dir),
        }
    }

    /// The wall between tenants, before anything is said of what was found: beyond it things look absent, under the
    /// very id or name that was `given`. The refusal is recorded.
    async fn wall(
        &self,
        caller: &Caller,
        action: &str,
        name: &ResourceName,
        (kind, given): (&'static str, &str),
    ) -> Result<(), Error> {
        if caller.may_see(name.scope()) {
            return Ok(());
        }
        let reason = "it is outside of the tenant that the token is for";
        self.guard.record(caller, action, name, reason).await;
        Err(Error::not_found(kind, given))
    }

    /// Refuses to make or change a credential for whoever acts as somebody else: it would outlast the token, and nothing would
    /// say any more whose doing it is. The refusal is recorded.
    async fn require_oneself(
        &self,
        caller: &Caller,
        action: &str,
        name: &ResourceName,
    ) -> Result<(), Error> {
        let Some(impersonator) = &caller.claims.impersonator else {
            return Ok(());
        };
        let reason = format!(
            "{} acts as {}, and whoever impersonates makes no credentials",
            impersonator.name, caller.claims.principal_name
        );
        self.guard.record(caller, action, name, &reason).await;
        Err(Error::PermissionDenied {
            action: action.to_owned(),
            resource: name.to_string(),
            reason,
        })
    }

    /// Begins a change by an authorized caller.
    fn mutation<T: prost::Message>(
        &self,
        caller: &Caller,
        action: &str,
        request_id: &str,
        request: &T,
    ) -> Result<Mutation, Error> {
        self.core
            .mutations
            .start(caller, action, request_id, request)
    }

    /// Who calls, and what it asks for.
    async fn open<T>(&self, request: Request<T>) -> Result<(Caller, T), Error> {
        let caller = self.guard.authenticate(&request).await?;
        Ok((caller, request.into_inner()))
    }
}
