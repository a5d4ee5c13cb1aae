//! The policy engine: what roles and bindings permit. Pure: it reads no store and no clock. What a permission says is
//! `photon-policy`'s.
//!
//! ```text
//!  role (patterns, condition) ─┐
//!  binding (principal, scope) ─┴─ compile ─► Rights (Cedar policies of one principal) ─ decide ─► Answer
//! ```

mod builtin;
mod ceiling;
mod decide;
mod wall;

pub use builtin::{built_in, built_in_roles};
pub use ceiling::beyond;
pub use decide::{Answer, Grant, Question, Rights, kind_text};
pub use photon_policy::{ActionPattern, Condition, ConditionError, PatternError, ResourcePattern};
pub use wall::{Outside, Wall};

#[cfg(test)]
pub(crate) mod tests;
