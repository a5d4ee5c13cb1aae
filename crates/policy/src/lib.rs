//! What a role's permissions say, and the Cedar policies that they become. Pure, and without a server: IAM decides by
//! it, and `photon-proof` shows what it can't do.
//!
//! | module | holds |
//! | --- | --- |
//! | `pattern` | which actions and resources a permission speaks of |
//! | `condition` | when it does: Cedar expressions, validated against `schema.cedarschema` |
//! | `compile` | the policy of one permission that a binding gives |
//! | `words` | for tests: patterns and names that meet often |

mod compile;
mod condition;
mod pattern;
#[cfg(any(test, feature = "words"))]
pub mod words;

pub use compile::{Given, policy, timestamp};
pub use condition::{Condition, ConditionError, SCHEMA_TEXT, schema};
pub use pattern::{ActionPattern, PatternError, ResourcePattern};

/// One line of a role: what may be done to what, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub action: ActionPattern,
    pub resource: ResourcePattern,
    pub condition: Option<Condition>,
}
