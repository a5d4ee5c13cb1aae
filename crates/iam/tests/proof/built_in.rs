//! The built-in roles are ordered as docs/getting-started/roles.md says.

use iam::policy::{built_in, built_in_roles};

use super::*;

const WEB: &str = "org/acme/project/web";

/// A request that the first role at its scope permits and the second at its does not.
async fn more(
    prover: &mut Prover,
    inner: (&str, &str),
    outer: (&str, &str),
) -> Option<Counterexample> {
    let principal = principal();
    let given = |(role, place): (&str, &str)| {
        let role = built_in(role).unwrap();
        let grant = grant(&scope(place), None, role.permissions.clone());
        compiled(&principal, vec![grant])
    };
    let scopes = ["org/acme", WEB].map(scope);
    let world = World::with(&scopes).asked_by(principal.id);
    let (inner, outer) = (given(inner), given(outer));
    prover.within(&inner, &outer, &world).await.unwrap()
}

#[tokio::test]
async fn the_built_in_roles_are_ordered_as_documented() {
    let mut prover = prover();
    let order = [
        (("ProjectViewer", WEB), ("ProjectAdmin", WEB)),
        (("ProjectMember", WEB), ("ProjectAdmin", WEB)),
        (("ProjectViewer", "org/acme"), ("ProjectAdmin", "org/acme")),
        (("ProjectMember", "org/acme"), ("ProjectAdmin", "org/acme")),
        (("ProjectAdmin", WEB), ("ProjectAdmin", "org/acme")),
        (("ProjectAdmin", WEB), ("OrgAdmin", "org/acme")),
        (("ProjectAdmin", "org/acme"), ("OrgAdmin", "org/acme")),
        (("OrgAdmin", "org/acme"), ("SystemAdmin", "system")),
        (("NodeAgent", "system"), ("Provisioner", "system")),
    ];
    for (inner, outer) in order {
        let beyond = more(&mut prover, inner, outer).await;
        assert!(beyond.is_none(), "{inner:?} {outer:?}: {}", beyond.unwrap());
        let less = more(&mut prover, outer, inner).await;
        assert!(less.is_some(), "{inner:?} is as much as {outer:?}");
    }
}

#[tokio::test]
async fn an_operator_may_all_that_any_role_permits() {
    let mut prover = prover();
    for role in built_in_roles() {
        for place in ["system", "org/acme", WEB] {
            let beyond = more(&mut prover, (&role.name, place), ("SystemAdmin", "system")).await;
            assert!(
                beyond.is_none(),
                "{} {place}: {}",
                role.name,
                beyond.unwrap()
            );
        }
    }
}

/// A viewer sees who has which role, a member does not: neither role holds the other.
#[tokio::test]
async fn members_and_viewers_each_have_what_the_other_has_not() {
    let mut prover = prover();
    let (member, viewer) = (("ProjectMember", WEB), ("ProjectViewer", WEB));
    assert!(more(&mut prover, member, viewer).await.is_some());
    assert!(more(&mut prover, viewer, member).await.is_some());
}

/// Roles for what the cloud's own programs do let nobody reach into a tenant.
#[tokio::test]
async fn what_hosts_and_servers_have_is_the_systems() {
    let mut prover = prover();
    for role in ["NodeAgent", "Custodian", "Provisioner"] {
        for place in ["org/acme", WEB] {
            let nothing = compiled(&principal(), Vec::new());
            let principal = principal();
            let permissions = built_in(role).unwrap().permissions.clone();
            let given = compiled(&principal, vec![grant(&scope(place), None, permissions)]);
            let world = World::with(&["org/acme", WEB].map(scope));
            let some = prover.within(&given, &nothing, &world).await.unwrap();
            assert!(some.is_none(), "{role} at {place}: {}", some.unwrap());
        }
    }
}
