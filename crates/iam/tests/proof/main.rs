//! What roles and bindings compile to, proven over all requests by a solver (decision 0036): nothing permits outside
//! its binding, a token reaches no further than it is for, and the built-in roles are ordered as documented.

mod broken;
mod built_in;
mod walls;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cedar_policy::{Policy, PolicyId, PolicySet};
use iam::model::{Binding, Permission, Principal};
use iam::policy::{Grant, Rights};
use photon_proof::{Counterexample, Prover, World};
use photon_resource::{BindingId, PrincipalKind, Scope};

/// A condition whose truth is free, since nothing else speaks of this label: it stands for every condition, whatever
/// that reads and whether it can be evaluated. That a condition changes nothing else of a policy is
/// `photon-policy`'s test.
const FREE: &str = r#"resource.hasTag("free")"#;

/// The solver. It is one of the programs that `cargo xtask test` installs.
fn prover() -> Prover {
    let program = std::env::var("PHOTON_CVC5").unwrap_or_else(|_| "cvc5".to_owned());
    Prover::start(&program).unwrap()
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// When bindings end.
fn end() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Whose bindings they are.
const ALICE: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";

fn principal() -> Principal {
    Principal {
        id: ALICE.parse().unwrap(),
        org_id: Some("acme".parse().unwrap()),
        name: "alice".into(),
        kind: PrincipalKind::User,
        description: String::new(),
        disabled: false,
        node: None,
        password_hash: None,
        token_generation: 0,
        created_at: UNIX_EPOCH,
        updated_at: UNIX_EPOCH,
        revision: 1,
    }
}

fn grant(scope: &Scope, until: Option<SystemTime>, permissions: Vec<Permission>) -> Grant {
    Grant {
        binding: Binding {
            id: BindingId::generate(),
            principal_id: ALICE.parse().unwrap(),
            role_id: "proven".into(),
            scope: scope.clone(),
            created_at: UNIX_EPOCH,
            expires_at: until,
            revision: 1,
        },
        role_name: "proven".into(),
        permissions,
    }
}

/// What IAM decides by when the principal has this; none of it was left out.
fn compiled(principal: &Principal, grants: Vec<Grant>) -> PolicySet {
    let permissions: usize = grants.iter().map(|grant| grant.permissions.len()).sum();
    let policies = Rights::compile(principal, grants).policies().clone();
    assert_eq!(policies.policies().count(), permissions);
    policies
}

fn permission(action: &str, resource: &str, condition: &str) -> Permission {
    Permission {
        action: action.parse().unwrap(),
        resource: resource.parse().unwrap(),
        condition: (!condition.is_empty()).then(|| condition.parse().unwrap()),
    }
}

/// Patterns of resources of every form: each part a word or a star, the words those of scopes and others.
fn resource_patterns() -> Vec<String> {
    let mut all: Vec<String> = ["*", "system/*", "org/*"].map(str::to_owned).into();
    let ends = ["vpcs/x", "vpcs/*", "*/x", "*/*"];
    all.extend(ends.map(|end| format!("system/{end}")));
    for org in ["*", "acme", "globex"] {
        all.push(format!("org/{org}/*"));
        all.extend(ends.map(|end| format!("org/{org}/{end}")));
        all.push(format!("org/{org}/project/*"));
        for project in ["*", "web", "ops"] {
            all.push(format!("org/{org}/project/{project}/*"));
            all.extend(ends.map(|end| format!("org/{org}/project/{project}/{end}")));
        }
    }
    all
}

/// Patterns of actions, each part once a word and once a star.
const ACTIONS: [&str; 4] = [
    "*",
    "compute:*:get",
    "*:instances:*",
    "compute:instances:get",
];

/// How many policies are asked about at once: the compiler's terms nest with their number, and a test's stack is small.
const AT_ONCE: usize = 24;

/// What of these policies, of which there may be many, goes beyond `outer`. There are only permits, so that what holds for
/// each part holds for all.
async fn beyond(
    prover: &mut Prover,
    policies: &PolicySet,
    outer: &PolicySet,
    world: &World,
) -> Option<Counterexample> {
    let policies: Vec<Policy> = policies.policies().cloned().collect();
    for part in policies.chunks(AT_ONCE) {
        let part = PolicySet::from_policies(part.iter().cloned()).unwrap();
        let found = prover.within(&part, outer, world).await.unwrap();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// One policy by its text.
fn only(text: &str) -> PolicySet {
    let policy = Policy::parse(Some(PolicyId::new("only")), text).unwrap();
    PolicySet::from_policies([policy]).unwrap()
}
