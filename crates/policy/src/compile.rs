//! Roles and bindings become Cedar policies: one `permit` per permission of each binding.
//!
//! There are only permits. So whatever can't be read or does not evaluate permits nothing, and leaving it
//! out can never allow more.

use std::fmt::Write;
use std::time::SystemTime;

use cedar_policy::{Policy, PolicyId};
use photon_resource::{PrincipalId, Scope};

use super::Permission;
use super::pattern::{Reach, Word};

/// To whom, where and for how long a binding gives what its role permits.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub principal: PrincipalId,
    pub scope: &'a Scope,
    /// `None`: for good.
    pub until: Option<SystemTime>,
}

/// The Cedar policy, under `id`, of one permission that a binding gives.
///
/// Errors: the text, with what Cedar said, when Cedar can't read it; patterns and conditions were validated
/// when their role was made, so that is a damaged record.
pub fn policy(given: Given<'_>, id: &str, permission: &Permission) -> Result<Policy, String> {
    let text = policy_text(given, permission);
    Policy::parse(Some(PolicyId::new(id)), &text).map_err(|error| format!("{error} in {text}"))
}

fn policy_text(given: Given<'_>, permission: &Permission) -> String {
    let mut text = format!(
        "permit(principal == Principal::\"{}\", action == Action::\"call\", resource in Scope::\"{}\") when {{ true",
        given.principal, given.scope
    );
    let mut is = |attribute: &str, word: &Word| {
        if let Word::Is(word) = word {
            // Words hold nothing that would need an escape: see the patterns' parser.
            let _ = write!(text, " && {attribute} == \"{word}\"");
        }
    };
    is("context.service", &permission.action.service);
    is("context.type", &permission.action.kind);
    is("context.verb", &permission.action.verb);
    is("resource.org", &permission.resource.org);
    is("resource.project", &permission.resource.project);
    is("resource.type", &permission.resource.kind);
    is("resource.id", &permission.resource.id);
    text.push_str(match permission.resource.reach {
        Reach::Everything => "",
        Reach::System => " && resource.level == \"system\"",
        Reach::Tenant => " && resource.level != \"system\"",
        Reach::Org => " && resource.level == \"org\"",
        Reach::Project => " && resource.level == \"project\"",
    });
    if let Some(end) = given.until {
        let _ = write!(text, " && context.now < datetime(\"{}\")", timestamp(end));
    }
    text.push_str(" }");
    if let Some(condition) = &permission.condition {
        // On lines of its own, so that a comment at its end ends there.
        let _ = write!(text, " when {{\n{condition}\n}}");
    }
    text.push(';');
    text
}

/// A point in time as Cedar reads it: RFC 3339 in UTC with milliseconds.
pub fn timestamp(time: SystemTime) -> String {
    let mut timestamp = prost_types::Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000_000;
    timestamp.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use cedar_policy::{PolicySet, ResourceConstraint, ValidationMode, Validator};
    use proptest::prelude::*;

    use super::*;
    use crate::condition::schema;
    use crate::words::{a_condition, a_resource_pattern, an_action_pattern};

    /// Everything of a policy, without what Cedar notes about its text.
    fn parts(policy: &Policy) -> serde_json::Value {
        policy.to_json().unwrap()
    }

    proptest! {
        #[test]
        fn every_permission_compiles_to_a_policy_that_the_schema_accepts(
            action in an_action_pattern(),
            resource in a_resource_pattern(),
            scope in "system|org/acme|org/acme/project/web",
            end in proptest::option::of(0u64..4_000_000_000_000),
            conditional in any::<bool>(),
        ) {
            let given = Given {
                principal: PrincipalId::generate(),
                scope: &scope.parse().unwrap(),
                until: end.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
            };
            let permission = Permission {
                action: action.parse().unwrap(),
                resource: resource.parse().unwrap(),
                condition: conditional.then(|| "resource.owner == principal.id // mine".parse().unwrap()),
            };
            let policy = policy(given, "0", &permission).unwrap();
            let set = PolicySet::from_policies([policy]).unwrap();
            let result = Validator::new(schema().clone()).validate(&set, ValidationMode::Strict);
            prop_assert!(result.validation_errors().next().is_none(), "{:?}", result);
        }

        /// The proofs have a truth value of its own for the condition: this is why it stands for all of them.
        #[test]
        fn a_condition_is_one_clause_more_and_changes_no_other(
            action in an_action_pattern(),
            resource in a_resource_pattern(),
            scope in "system|org/[a-z0-9-]{1,20}|org/acme/project/[a-z0-9-]{1,20}",
            condition in a_condition(),
        ) {
            let (Ok(scope), Ok(condition)) = (scope.parse::<Scope>(), condition.parse::<crate::Condition>()) else {
                return Ok(());
            };
            let given = Given { principal: PrincipalId::generate(), scope: &scope, until: None };
            let mut permission = Permission {
                action: action.parse().unwrap(),
                resource: resource.parse().unwrap(),
                condition: None,
            };
            let without = policy(given, "0", &permission).unwrap();
            let alone = format!("permit(principal, action, resource) when {{\n{condition}\n}};");
            permission.condition = Some(condition);
            let with = policy(given, "0", &permission).unwrap();
            let scope = scope.to_string();
            prop_assert!(matches!(
                with.resource_constraint(),
                ResourceConstraint::In(place) if place.id().unescaped() == scope
            ));
            let mut expected = parts(&without);
            let alone = parts(&Policy::parse(None, alone).unwrap());
            let clauses = expected["conditions"].as_array_mut().unwrap();
            prop_assert_eq!(clauses.len(), 1);
            clauses.push(alone["conditions"][0].clone());
            prop_assert_eq!(parts(&with), expected);
        }
    }
}
