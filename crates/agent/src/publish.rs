//! Tells systemd and `/metrics` how a reconciler fares.

use photon_program::systemd;
use photon_reconcile::{Outcome, Status};
use tokio::sync::watch;

/// When an agent tells systemd that it is ready. Never later than that: units that wait for the agent must not wait for
/// the control plane, and what is wrong with one network or VM is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// As soon as it runs.
    AtOnce,
    /// After the first pass, whatever came of it.
    AfterFirstPass,
}

/// Follows the status until the driver is gone.
pub(crate) async fn publish(
    reconciler: &'static str,
    mut status: watch::Receiver<Status>,
    ready_when: Ready,
) {
    let mut ready = false;
    loop {
        let now = status.borrow_and_update().clone();
        metrics::counter!("photon_agent_reconcile_passes_total", "reconciler" => reconciler)
            .absolute(now.passes);
        metrics::counter!("photon_agent_reconcile_applied_total", "reconciler" => reconciler)
            .absolute(now.applied);
        metrics::counter!("photon_agent_reconcile_failed_total", "reconciler" => reconciler)
            .absolute(now.failed);
        let converged = now.last == Outcome::NothingToDo;
        metrics::gauge!("photon_agent_reconcile_converged", "reconciler" => reconciler)
            .set(f64::from(converged));
        let text = match &now.last {
            Outcome::Starting => "starting".to_owned(),
            Outcome::Unknown => "waiting for the control plane".to_owned(),
            Outcome::NothingToDo => "nothing to do".to_owned(),
            Outcome::Applied => "applying".to_owned(),
            Outcome::Failed { error, failures } => format!("failed {failures} times: {error}"),
        };
        if !ready && (now.passes > 0 || ready_when == Ready::AtOnce) {
            systemd::ready(&text);
            ready = true;
        } else {
            systemd::status(&text);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
