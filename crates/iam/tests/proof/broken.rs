//! Compilers that are wrong, each in one way: the proofs catch them, and show a request that should not be allowed.

use super::walls::at_most;
use super::*;

const WEB: &str = "org/acme/project/web";

/// What a compiler would make that writes `wrong` for `right`.
fn miscompiled(policies: &PolicySet, right: &str, wrong: &str) -> PolicySet {
    let changed = policies.policies().map(|policy| {
        let text = policy.to_string();
        assert!(text.contains(right), "{right:?} is not in {text}");
        Policy::parse(Some(policy.id().clone()), text.replace(right, wrong)).unwrap()
    });
    PolicySet::from_policies(changed).unwrap()
}

/// The request that shows what is wrong; what the true compiler made does not permit it.
async fn caught(right: &str, wrong: &str) -> Counterexample {
    let mut prover = prover();
    let (principal, web) = (principal(), scope(WEB));
    let permissions = vec![permission("compute:instances:*", "*", FREE)];
    let sound = compiled(&principal, vec![grant(&web, Some(end()), permissions)]);
    let outer = at_most(&principal, &web);
    let world = World::with(&[web, scope("org/acme")]);
    let none = prover.within(&sound, &outer, &world).await.unwrap();
    assert!(none.is_none(), "{}", none.unwrap());
    let broken = miscompiled(&sound, right, wrong);
    let found = prover.within(&broken, &outer, &world).await.unwrap();
    let found = found.expect("nobody noticed");
    // By the engine that decides, without the solver.
    assert!(found.permitted_by(&broken), "{found}");
    assert!(
        !found.permitted_by(&sound) && !found.permitted_by(&outer),
        "{found}"
    );
    found
}

#[tokio::test]
async fn one_that_leaves_the_scope_out() {
    let found = caught(&format!("resource in Scope::\"{WEB}\""), "resource").await;
    println!("without the scope: {found}");
    assert!(!found.resource().starts_with(WEB), "{found}");
}

#[tokio::test]
async fn one_that_takes_the_organization_for_the_project() {
    let found = caught(WEB, "org/acme").await;
    assert!(found.resource().starts_with("org/acme/"), "{found}");
    assert!(!found.resource().starts_with(WEB), "{found}");
}

#[tokio::test]
async fn one_that_forgets_whose_the_binding_is() {
    let whose = format!("principal == Principal::\"{ALICE}\"");
    caught(&whose, "principal").await;
}

#[tokio::test]
async fn one_that_forgets_when_it_ends() {
    let until = format!(
        "context.now < datetime(\"{}\")",
        photon_policy::timestamp(end())
    );
    caught(&until, "true").await;
}

#[tokio::test]
async fn one_that_lets_a_condition_stand_beside_the_rest() {
    caught(" } when {\n", " ||\n").await;
}
