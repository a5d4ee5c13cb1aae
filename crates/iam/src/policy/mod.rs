//! The policy engine: what roles and bindings permit. Pure: it reads no store and no clock.
//!
//! ```text
//!  role (patterns, condition) ─┐
//!  binding (principal, scope) ─┴─ compile ─► Rights (Cedar policies of one principal) ─ decide ─► Answer
//! ```

mod builtin;
mod ceiling;
mod compile;
mod condition;
mod decide;
mod pattern;

pub use builtin::{built_in, built_in_roles};
pub use ceiling::beyond;
pub use condition::{Condition, ConditionError};
pub use decide::{Answer, Grant, Question, Rights, kind_text};
pub use pattern::{ActionPattern, PatternError, ResourcePattern};

#[cfg(test)]
pub(crate) mod tests;
