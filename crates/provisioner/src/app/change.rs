//! Changes that no operator's call makes: of reports, installers and hosts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainfire::{Digest, Ledger, NewEvent, Outcome};
use flaredb::{Committed, Transaction};
use photon_resource::Error;

use crate::model::Machine;
use crate::store;

/// How often a change is tried when others get there first.
pub(super) const ATTEMPTS: u32 = 100;

/// Who makes a change, or tries to: not a principal of IAM's, so only told by name.
#[derive(Clone, Debug)]
pub struct Actor {
    /// `host node02`, `photon-provisioner`; empty: unknown.
    pub name: String,
    /// Address that it came from.
    pub source: String,
    pub request_id: String,
}

impl Actor {
    /// The provisioner itself.
    pub fn provisioner() -> Self {
        Self {
            name: "photon-provisioner".into(),
            source: "localhost".into(),
            request_id: String::new(),
        }
    }

    /// The same, by another name.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// An event of what this one did, or was refused.
    pub fn event(
        &self,
        action: &str,
        resource: String,
        outcome: Outcome,
        reason: String,
    ) -> NewEvent {
        NewEvent {
            org_id: None,
            project_id: None,
            principal_id: None,
            principal_name: self.name.clone(),
            source: self.source.clone(),
            action: action.to_owned(),
            resource,
            outcome,
            reason,
            request_id: self.request_id.clone(),
            before_digest: None,
            after_digest: None,
        }
    }
}

/// Stores `after` and its event in `tx`, together with whatever `tx` has already. `false`: another change got there
/// first, nothing was written.
pub(super) async fn commit(
    ledger: &Ledger,
    mut tx: Transaction,
    actor: &Actor,
    action: &str,
    before: Option<&Machine>,
    after: &mut Machine,
) -> Result<bool, Error> {
    if let Some(before) = before {
        after.revision = before.revision + 1;
    }
    store::machine_put(&mut tx, before, after).await?;
    let digest = |machine: &Machine| store::machine_bytes(machine).map(|bytes| Digest::of(&bytes));
    let mut event = actor.event(
        action,
        after.resource_name().to_string(),
        Outcome::Success,
        after.reason.clone(),
    );
    event.before_digest = before.map(digest).transpose()?;
    event.after_digest = Some(digest(after)?);
    Ok(matches!(
        ledger.commit(tx, event).await?,
        Committed::Done(_)
    ))
}

/// What is told after so many lost races.
pub(super) fn busy() -> Error {
    Error::Unavailable("too many changes of the same machine at the same time: try again".into())
}

/// The time in whole microseconds, as it is stored: what a change answers is what a get will read.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_micros() * 1000)
}
