//! What was refused and what was looked at, in the event log: a flood of refusals is no flood of events.

use std::time::Instant;

use chainfire::{NewEvent, Outcome};
use photon_resource::{Caller, Error, ResourceName};

use super::Guard;
use crate::limit::summed_up;

impl Guard {
    /// Records a refusal that a service decides itself, such as a node that asks about another node. Of a principal that
    /// is refused over and over again, one event says how many there were.
    pub async fn record(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        reason: &str,
    ) {
        let claims = &caller.claims;
        let admitted = self.refusals.admit(claims.principal_id, Instant::now());
        let Some(suppressed) = admitted else {
            return;
        };
        // In the chain of whoever tried: a stranger's attempts are no entry in a tenant's own log.
        self.append(NewEvent {
            org_id: claims.org_id.clone(),
            project_id: claims.project_id.clone(),
            principal_id: Some(claims.principal_id),
            principal_name: claims.principal_name.clone(),
            impersonator: claims.impersonator.clone(),
            source: caller.source.clone(),
            action: action.to_owned(),
            resource: resource.to_string(),
            outcome: Outcome::Denied,
            reason: summed_up(reason, suppressed),
            request_id: caller.request_id.clone(),
            before_digest: None,
            after_digest: None,
        })
        .await;
    }

    /// Records that the caller is given what no change shows and its owner must yet be able to find: a console, a secret.
    /// In the chain of the resource's tenant. To be done before it is given.
    ///
    /// Errors: it can't be recorded, and must not be given then.
    pub async fn record_access(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        reason: &str,
    ) -> Result<(), Error> {
        let claims = &caller.claims;
        let event = NewEvent {
            org_id: resource.scope().org().cloned(),
            project_id: resource.scope().project().cloned(),
            principal_id: Some(claims.principal_id),
            principal_name: claims.principal_name.clone(),
            impersonator: claims.impersonator.clone(),
            source: caller.source.clone(),
            action: action.to_owned(),
            resource: resource.to_string(),
            outcome: Outcome::Success,
            reason: reason.to_owned(),
            request_id: caller.request_id.clone(),
            before_digest: None,
            after_digest: None,
        };
        self.ledger.record(event).await.map_err(Error::internal)?;
        Ok(())
    }

    pub(super) async fn record_stranger(
        &self,
        method: &str,
        source: &str,
        request_id: &str,
        reason: &str,
    ) {
        let admitted = self.strangers.admit(source.to_owned(), Instant::now());
        let Some(suppressed) = admitted else {
            tracing::debug!(source, reason, "refused: not authenticated");
            return;
        };
        tracing::info!(source, reason, "refused: not authenticated");
        self.append(NewEvent {
            org_id: None,
            project_id: None,
            principal_id: None,
            principal_name: String::new(),
            impersonator: None,
            source: source.to_owned(),
            action: "iam:tokens:verify".to_owned(),
            resource: method.to_owned(),
            outcome: Outcome::Denied,
            reason: summed_up(reason, suppressed),
            request_id: request_id.to_owned(),
            before_digest: None,
            after_digest: None,
        })
        .await;
    }

    /// The refusal stands even if it can't be recorded; the operator must learn of that.
    async fn append(&self, event: NewEvent) {
        let (action, resource) = (event.action.clone(), event.resource.clone());
        if let Err(error) = self.ledger.record(event).await {
            tracing::error!(%error, action, resource, "a refusal could not be recorded");
        }
    }
}
