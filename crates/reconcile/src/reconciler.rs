//! What is reconciled, and one pass of it.

use std::fmt;

use async_trait::async_trait;

/// The difference between what is and what should be.
pub trait Plan: Send + Sync {
    /// Whether nothing has to be done.
    fn is_empty(&self) -> bool;

    /// What it would do, for the log: one line.
    fn summary(&self) -> String;
}

/// Brings one part of the host to its desired state.
///
/// `observe` and `apply` may fail; `plan` is pure. Nothing is remembered between passes that another pass
/// could not find out again, so the process may be killed anywhere.
#[async_trait]
pub trait Reconciler: Send {
    /// What there is, and what there should be.
    type Observed: Send + Sync;
    /// What has to be done.
    type Plan: Plan;
    /// What went wrong; its text is for the operator.
    type Error: fmt::Display + Send;

    /// Reads what is there. `None`: what should be is not known yet, so nothing may be touched.
    async fn observe(&mut self) -> Result<Option<Self::Observed>, Self::Error>;

    /// What has to be done. Pure: the same observation gives the same plan.
    fn plan(&self, observed: &Self::Observed) -> Self::Plan;

    /// Does it, in the order that keeps tenants safe and running; stops at the first failure.
    async fn apply(&mut self, plan: &Self::Plan) -> Result<(), Self::Error>;

    /// A number that is another one when something else should be, such as the desired state's revision. A plan
    /// that does not become empty is retried ever more slowly; one for a new goal is no repetition.
    fn goal(&self) -> u64 {
        0
    }

    /// Called after each pass that did not fail and left nothing to do.
    async fn converged(&mut self, _observed: &Self::Observed) {}
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The desired state is not known yet.
    Unknown,
    /// The plan was empty.
    NothingToDo,
    /// The plan was applied; another pass will see whether it is all there.
    Applied,
}

/// One pass.
///
/// Errors: of `observe` or `apply`, as they are.
pub async fn run_once<R: Reconciler>(name: &str, reconciler: &mut R) -> Result<Pass, R::Error> {
    let Some(observed) = reconciler.observe().await? else {
        tracing::debug!(reconciler = name, "desired state not known yet");
        return Ok(Pass::Unknown);
    };
    let plan = reconciler.plan(&observed);
    if plan.is_empty() {
        tracing::debug!(reconciler = name, "nothing to do");
        reconciler.converged(&observed).await;
        return Ok(Pass::NothingToDo);
    }
    tracing::info!(reconciler = name, "applying: {}", plan.summary());
    reconciler.apply(&plan).await?;
    Ok(Pass::Applied)
}
