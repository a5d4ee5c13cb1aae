//! Nothing permits outside its binding, and a token reaches no further than it is for.

use std::collections::BTreeMap;

use iam::policy::{Question, Wall};
use photon_policy::words::{a_resource, an_action};
use proptest::prelude::*;

use super::*;

const SCOPES: [&str; 5] = [
    "system",
    "org/acme",
    "org/globex",
    "org/acme/project/web",
    "org/acme/project/ops",
];

/// What a binding may permit at most: its principal, in its scope, while it lasts.
pub(crate) fn at_most(principal: &Principal, scope: &Scope) -> PolicySet {
    only(&format!(
        "permit(principal == Principal::\"{}\", action, resource) when {{ {} && context.now < datetime(\"{}\") }};",
        principal.id,
        World::inside(scope),
        photon_policy::timestamp(end())
    ))
}

#[tokio::test]
async fn nothing_permits_outside_its_bindings_scope_principal_and_time() {
    let mut prover = prover();
    let principal = principal();
    for place in SCOPES.map(scope) {
        let mut permissions = Vec::new();
        for action in ACTIONS {
            for resource in resource_patterns() {
                permissions.push(permission(action, &resource, FREE));
            }
        }
        let given = compiled(&principal, vec![grant(&place, Some(end()), permissions)]);
        let outer = at_most(&principal, &place);
        let outside = beyond(&mut prover, &given, &outer, &World::with([&place])).await;
        assert!(outside.is_none(), "{place}: {}", outside.unwrap());
    }
}

/// Rights of every form at every scope: more than anybody has.
fn rights_everywhere(principal: &Principal) -> PolicySet {
    let grants = SCOPES.map(scope).into_iter().map(|place| {
        let patterns = resource_patterns();
        let permissions = patterns.iter().map(|it| permission("*", it, FREE));
        grant(&place, Some(end()), permissions.collect())
    });
    compiled(principal, grants.collect())
}

#[tokio::test]
async fn a_token_reaches_no_further_than_it_is_for_whatever_its_bearer_may() {
    let mut prover = prover();
    let principal = principal();
    let rights = rights_everywhere(&principal);
    let scopes = SCOPES.map(scope);
    let (acme, web) = ("acme".parse().unwrap(), "web".parse().unwrap());
    for (project, place) in [(None, "org/acme"), (Some(&web), "org/acme/project/web")] {
        let place = scope(place);
        let wall = Wall::around(Some(&acme), project).as_condition();
        let behind = World::with(&scopes).assuming(wall);
        let outer = at_most(&principal, &place);
        let outside = beyond(&mut prover, &rights, &outer, &behind).await;
        assert!(outside.is_none(), "{place}: {}", outside.unwrap());
        // It is the wall that keeps them: without it they go further.
        let open = World::with(&scopes);
        let outside = beyond(&mut prover, &rights, &outer, &open).await;
        let outside = outside.expect("these rights are everywhere");
        assert!(outside.permitted_by(&rights) && !outside.permitted_by(&outer));
    }
}

/// Whether IAM, deciding for who has everything under this condition, says yes.
fn decided(condition: &str, action: &str, resource: &str) -> bool {
    let given = grant(&Scope::System, None, vec![permission("*", "*", condition)]);
    let rights = Rights::compile(&principal(), vec![given]);
    let answer = rights.decide(&Question {
        action: &action.parse().unwrap(),
        resource: &resource.parse().unwrap(),
        attributes: &BTreeMap::new(),
        now: UNIX_EPOCH,
    });
    answer.allowed
}

proptest! {
    /// What the proofs take for granted of requests.
    #[test]
    fn every_request_that_iam_makes_is_one_of_the_world(action in an_action(), resource in a_resource()) {
        let scopes = SCOPES.map(scope);
        prop_assert!(decided(&World::with(&scopes).text(), &action, &resource), "{} on {}", action, resource);
    }

    /// The wall that is proven is the one that IAM keeps.
    #[test]
    fn the_wall_is_the_same_in_both_languages(
        action in an_action(),
        resource in a_resource(),
        org in proptest::option::of("acme|globex"),
        project in proptest::option::of("web|ops"),
    ) {
        let org = org.map(|org| org.parse().unwrap());
        let project = project.map(|project| project.parse().unwrap());
        let wall = Wall::around(org.as_ref(), project.as_ref());
        let place = resource.parse::<photon_resource::ResourceName>().unwrap();
        let passes = wall.check(place.scope()).is_ok();
        prop_assert_eq!(decided(&wall.as_condition(), &action, &resource), passes, "{} on {}", action, resource);
    }
}
