//! What roles and bindings compile to, proven over all requests by a solver (decision 0036): nothing permits outside
//! its binding, a token reaches no further than it is for, and the built-in roles are ordered as documented.

mod broken;
mod built_in;
mod walls;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cedar_policy::{Policy, PolicyId, PolicySet};
use iam::model::{Binding, Permission, Principal};
use iam::policy::{Grant, Rights};
use photon_proof::Prover;
use photon_resource::{BindingId, PrincipalId, PrincipalKind, Scope};

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

fn principal() -> Principal {
    Principal {
        id: PrincipalId::generate(),
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
            principal_id: PrincipalId::generate(),
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

/// Patterns of actions of every form.
fn action_patterns() -> Vec<String> {
    let mut all = Vec::new();
    for service in ["*", "compute"] {
        for kind in ["*", "instances"] {
            all.extend(["*", "get"].map(|verb| format!("{service}:{kind}:{verb}")));
        }
    }
    all
}

/// One policy by its text.
fn only(text: &str) -> PolicySet {
    let policy = Policy::parse(Some(PolicyId::new("only")), text).unwrap();
    PolicySet::from_policies([policy]).unwrap()
}
