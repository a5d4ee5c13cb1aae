//! What hosts report.

use std::sync::Arc;

use chainfire::{Digest, Ledger, NewEvent, Outcome};
use flaredb::{Committed, Db, Revision};
use photon_catalog::Stored;
use photon_resource::{Caller, Error, Scope, VmId};

use super::Saga;
use crate::model::Vm;
use crate::model::phase::{Report, Stage};
use crate::store;

/// A report conflicts only with its VM's owner, who is a person.
const ATTEMPTS: u32 = 20;

/// Takes in reports. Clones are the same.
#[derive(Clone)]
pub struct Reports {
    db: Db,
    ledger: Ledger,
    saga: Saga,
    store_epoch: Arc<str>,
}

/// Which host reports, and what it has applied.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    pub node: &'a str,
    pub revision: Revision,
    /// What the revision is of; empty: it was not told.
    pub store_epoch: &'a str,
}

impl Reports {
    /// Revisions of this store are of `store_epoch`.
    pub fn new(db: Db, ledger: Ledger, saga: Saga, store_epoch: &str) -> Self {
        Self {
            db,
            ledger,
            saga,
            store_epoch: store_epoch.into(),
        }
    }

    /// Takes in what a host, which is the caller, reports. What it says of a VM that was changed after the
    /// revision that it has applied is of the past, and so is all that it says of a revision of another store; of one
    /// that is not its own it is not its to say.
    ///
    /// Errors: those of the store.
    pub async fn take(
        &self,
        caller: &Caller,
        reporter: Reporter<'_>,
        reports: Vec<(VmId, Report)>,
    ) -> Result<(), Error> {
        let Reporter {
            node,
            revision,
            store_epoch,
        } = reporter;
        // The store was put back from a copy: the host hears everything anew, and reports again.
        if !store_epoch.is_empty() && *store_epoch != *self.store_epoch {
            return Ok(());
        }
        for (id, report) in reports {
            if report.gone {
                self.take_back(caller, node, id).await?;
            }
            self.take_one(caller, node, revision, id, &report).await?;
        }
        Ok(())
    }

    /// A host that was given up, and came back, has removed what was left on it.
    async fn take_back(&self, caller: &Caller, node: &str, id: VmId) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut tx = self.db.begin();
            let Some(left) = store::vm::vm_left_remove(&mut tx, node, id).await? else {
                return Ok(());
            };
            let claims = &caller.claims;
            let scope = Scope::Project(left.org_id.clone(), left.project_id.clone());
            let event = NewEvent {
                org_id: Some(left.org_id),
                project_id: Some(left.project_id),
                principal_id: Some(claims.principal_id),
                principal_name: claims.principal_name.clone(),
                impersonator: claims.impersonator.clone(),
                source: caller.source.clone(),
                action: "compute:nodes:report".to_owned(),
                resource: Vm::KIND.name(scope, id).to_string(),
                outcome: Outcome::Success,
                reason: format!("host '{node}', which was given up, has removed it"),
                request_id: caller.request_id.clone(),
                before_digest: None,
                after_digest: None,
            };
            if matches!(self.ledger.commit(tx, event).await?, Committed::Done(_)) {
                return Ok(());
            }
        }
        Err(too_often(id))
    }

    async fn take_one(
        &self,
        caller: &Caller,
        node: &str,
        revision: Revision,
        id: VmId,
        report: &Report,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut tx = self.db.begin();
            let Some((before, changed)) = store::vm::vm_read(&mut tx, id).await? else {
                return Ok(());
            };
            if before.node != node || revision < changed {
                return Ok(());
            }
            let mut after = before.clone();
            if !after.observe(report) {
                return Ok(());
            }
            let released = after.stage != before.stage;
            let let_go = after.leaving != before.leaving;
            if released || let_go {
                store::vm::vm_update(&mut tx, &before, &after).await?;
            } else {
                store::vm::vm_update_status(&mut tx, &after)?;
            }
            // A new phase is news for the log; a new message alone is not.
            let committed = if released || let_go || after.status.phase != before.status.phase {
                let claims = &caller.claims;
                // Of what is stored: a phase alone leaves what is wanted as it is.
                let key = Vm::key(&id);
                let before_digest = tx.stored_before(&key).map(Digest::of);
                let after_digest = tx.stored_after(&key).map(Digest::of);
                let event = NewEvent {
                    org_id: Some(after.meta.org_id.clone()),
                    project_id: Some(after.meta.project_id.clone()),
                    principal_id: Some(claims.principal_id),
                    principal_name: claims.principal_name.clone(),
                    impersonator: claims.impersonator.clone(),
                    source: caller.source.clone(),
                    action: "compute:nodes:report".to_owned(),
                    resource: after.resource().to_string(),
                    outcome: Outcome::Success,
                    reason: match after.stage {
                        Stage::Releasing => "its host has removed it".to_owned(),
                        _ if let_go => "its guest has let go of an interface".to_owned(),
                        _ => format!("it is {}", after.status.phase.as_str()),
                    },
                    request_id: caller.request_id.clone(),
                    before_digest,
                    after_digest,
                };
                self.ledger.commit(tx, event).await?
            } else {
                tx.commit().await?
            };
            if matches!(committed, Committed::Done(_)) {
                if released || let_go {
                    self.saga.begin(id);
                }
                return Ok(());
            }
        }
        Err(too_often(id))
    }
}

/// The host reports again.
fn too_often(id: VmId) -> Error {
    Error::Unavailable(format!(
        "VM {id} is being changed too often to take in a report: report again"
    ))
}
