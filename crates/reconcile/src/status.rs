//! How a reconciler fares, for readiness, metrics and people.

use serde::Serialize;

/// What the last pass came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// No pass has ended yet.
    #[default]
    Starting,
    /// The desired state is not known yet.
    Unknown,
    /// Everything is as it should be.
    NothingToDo,
    /// Something was changed; a pass that confirms it follows.
    Applied,
    /// The pass failed.
    Failed {
        /// Why.
        error: String,
        /// Passes that failed since the last that did not.
        failures: u32,
    },
}

/// Counters since the start, and the last outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The last pass.
    #[serde(flatten)]
    pub last: Outcome,
    /// Passes that ended.
    pub passes: u64,
    /// Passes that changed something.
    pub applied: u64,
    /// Passes that failed.
    pub failed: u64,
}
