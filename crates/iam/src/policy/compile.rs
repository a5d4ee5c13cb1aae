//! Roles and bindings become Cedar policies: one `permit` per permission of each binding.
//!
//! There are only permits. So whatever can't be read or does not evaluate permits nothing, and leaving it
//! out can never allow more.

use std::fmt::Write;
use std::time::SystemTime;

use cedar_policy::{Policy, PolicyId};
use photon_resource::PrincipalId;

use super::pattern::{Reach, Word};
use crate::model::{Binding, Permission};

/// The Cedar policy of one permission that `binding` gives.
///
/// Errors: the text, with what Cedar said, when Cedar can't read it; patterns and conditions were validated
/// when their role was made, so that is a damaged record.
pub(super) fn policy(
    principal: PrincipalId,
    binding: &Binding,
    index: usize,
    permission: &Permission,
) -> Result<Policy, String> {
    let text = policy_text(principal, binding, permission);
    let id = PolicyId::new(format!("{}.{index}", binding.id));
    Policy::parse(Some(id), &text).map_err(|error| format!("{error} in {text}"))
}

fn policy_text(principal: PrincipalId, binding: &Binding, permission: &Permission) -> String {
    let mut text = format!(
        "permit(principal == Principal::\"{principal}\", action == Action::\"call\", resource in Scope::\"{}\") when {{ true",
        binding.scope
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
    if let Some(end) = binding.expires_at {
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
pub(super) fn timestamp(time: SystemTime) -> String {
    let mut timestamp = prost_types::Timestamp::from(time);
    timestamp.nanos -= timestamp.nanos % 1_000_000;
    timestamp.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use cedar_policy::{PolicySet, ValidationMode, Validator};
    use photon_resource::BindingId;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::pattern::tests::{a_resource_pattern, an_action_pattern};

    proptest! {
        #[test]
        fn every_permission_compiles_to_a_policy_that_the_schema_accepts(
            action in an_action_pattern(),
            resource in a_resource_pattern(),
            scope in "system|org/acme|org/acme/project/web",
            end in proptest::option::of(0u64..4_000_000_000_000),
            conditional in any::<bool>(),
        ) {
            let binding = Binding {
                id: BindingId::generate(),
                principal_id: PrincipalId::generate(),
                role_id: "role".into(),
                scope: scope.parse().unwrap(),
                created_at: UNIX_EPOCH,
                expires_at: end.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
                revision: 1,
            };
            let permission = Permission {
                action: action.parse().unwrap(),
                resource: resource.parse().unwrap(),
                condition: conditional.then(|| "resource.owner == principal.id // mine".parse().unwrap()),
            };
            let policy = policy(binding.principal_id, &binding, 0, &permission).unwrap();
            let set = PolicySet::from_policies([policy]).unwrap();
            let result = Validator::new(super::super::condition::SCHEMA.clone()).validate(&set, ValidationMode::Strict);
            prop_assert!(result.validation_errors().next().is_none(), "{:?}", result);
        }
    }
}
