//! Nobody gives what they don't have.
//!
//! A permission is within somebody's rights when a single permission of theirs covers it: its action and
//! resource patterns speak of at least as much, its binding's scope contains the scope that it is given at
//! and lasts at least as long, and it has no condition or the very same one. Rights that only several
//! permissions cover together are refused: an answer that errs on the side of giving less, and one that
//! people can predict.

use std::time::SystemTime;

use photon_resource::Scope;

use super::Grant;
use crate::model::Permission;

/// The first of `wanted`, given at `scope` until `end`, that goes beyond what `grants` allow at `now`.
pub fn beyond<'a>(
    grants: &[Grant],
    wanted: &'a [Permission],
    scope: &Scope,
    end: Option<SystemTime>,
    now: SystemTime,
) -> Option<&'a Permission> {
    wanted.iter().find(|wanted| {
        // What has no effect at this scope gives nothing.
        let Some(resource) = wanted.resource.within(scope) else {
            return false;
        };
        !grants.iter().any(|grant| {
            let binding = &grant.binding;
            let outlasts = match (binding.expires_at, end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(end)) => end <= own,
            };
            binding.active(now)
                && outlasts
                && binding.scope.contains(scope)
                && grant.permissions.iter().any(|own| {
                    own.action.covers(&wanted.action)
                        && own.resource.covers(&resource)
                        && (own.condition.is_none() || own.condition == wanted.condition)
                })
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::policy::tests::grant;

    fn permission(action: &str, resource: &str, condition: &str) -> Permission {
        Permission {
            action: action.parse().unwrap(),
            resource: resource.parse().unwrap(),
            condition: (!condition.is_empty()).then(|| condition.parse().unwrap()),
        }
    }

    fn allowed(own: &Grant, wanted: Permission, scope: &str) -> bool {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        beyond(
            std::slice::from_ref(own),
            &[wanted],
            &scope.parse().unwrap(),
            None,
            now,
        )
        .is_none()
    }

    #[test]
    fn an_administrator_gives_within_the_organization_only() {
        let own = grant("org/acme", &[("*", "org/*", "")]);
        for scope in ["org/acme", "org/acme/project/web"] {
            assert!(allowed(&own, permission("*", "*", ""), scope), "{scope}");
        }
        assert!(!allowed(
            &own,
            permission("compute:images:get", "*", ""),
            "org/globex"
        ));
        assert!(!allowed(&own, permission("*", "*", ""), "system"));
    }

    #[test]
    fn a_narrow_right_does_not_widen() {
        let own = grant(
            "org/acme",
            &[("compute:instances:*", "org/acme/project/web/*", "")],
        );
        assert!(allowed(
            &own,
            permission("compute:instances:get", "*", ""),
            "org/acme/project/web"
        ));
        assert!(!allowed(
            &own,
            permission("compute:instances:get", "*", ""),
            "org/acme"
        ));
        assert!(!allowed(
            &own,
            permission("compute:*", "*", ""),
            "org/acme/project/web"
        ));
    }

    #[test]
    fn a_condition_can_only_be_passed_on_as_it_is() {
        let own = grant("org/acme", &[("*", "*", "resource.owner == principal.id")]);
        assert!(!allowed(&own, permission("*", "*", ""), "org/acme"));
        assert!(!allowed(&own, permission("*", "*", "true"), "org/acme"));
        assert!(allowed(
            &own,
            permission("*", "*", "resource.owner == principal.id"),
            "org/acme"
        ));
    }

    #[test]
    fn a_right_that_ends_gives_none_that_lasts_longer() {
        let mut own = grant("org/acme", &[("*", "*", "")]);
        let second = |s| UNIX_EPOCH + Duration::from_secs(s);
        own.binding.expires_at = Some(second(2000));
        let wanted = [permission("*", "*", "")];
        let scope = "org/acme".parse().unwrap();
        let check =
            |end, now| beyond(std::slice::from_ref(&own), &wanted, &scope, end, now).is_none();
        assert!(check(Some(second(1500)), second(1000)));
        assert!(!check(Some(second(2500)), second(1000)));
        assert!(!check(None, second(1000)));
        assert!(!check(Some(second(1500)), second(2000)));
    }
}
