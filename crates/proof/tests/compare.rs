//! What is said of two roles, by the real solver.

use photon_policy::Permission;
use photon_proof::{Error, Excess, Prover, beyond};
use photon_resource::Scope;

fn prover() -> Prover {
    let program = std::env::var("PHOTON_CVC5").unwrap_or_else(|_| "cvc5".to_owned());
    Prover::start(&program).unwrap()
}

fn permission((action, resource, condition): &(&str, &str, &str)) -> Permission {
    Permission {
        action: action.parse().unwrap(),
        resource: resource.parse().unwrap(),
        condition: (!condition.is_empty()).then(|| condition.parse().unwrap()),
    }
}

/// What the first lines allow that the second do not, given in project web of acme: permission, action, resource, and
/// what else is told.
async fn more(own: &[(&str, &str, &str)], other: &[(&str, &str, &str)]) -> Vec<[String; 4]> {
    let own: Vec<Permission> = own.iter().map(permission).collect();
    let other: Vec<Permission> = other.iter().map(permission).collect();
    let scope: Scope = "org/acme/project/web".parse().unwrap();
    let shown = |it: &Excess<'_>| {
        let told: Vec<String> = it
            .told
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let permission = it.permission.action.to_string();
        [
            permission,
            it.action.clone(),
            it.resource.clone(),
            told.join(" "),
        ]
    };
    let found = beyond(&mut prover(), &own, &other, &scope).await.unwrap();
    found.iter().map(shown).collect()
}

#[tokio::test]
async fn a_permission_is_within_all_of_another_role_together() {
    let halves = [
        ("compute:instances:*", "*", "resource.owner == principal.id"),
        ("compute:*", "*", "resource.owner != principal.id"),
    ];
    let found = more(&[("compute:instances:get", "*", "")], &halves).await;
    assert_eq!(found, Vec::<[String; 4]>::new());
    let found = more(&[("compute:images:get", "*", "")], &halves).await;
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    let said = [
        "compute:images:get",
        "compute:images:get",
        "org/acme/project/web/images/example",
    ];
    assert_eq!(one[..3], said);
    assert_eq!(one[3], "resource.owner=principal.id");
}

#[tokio::test]
async fn each_permission_that_goes_beyond_has_an_example_of_its_own() {
    let viewer = [("*:*:get", "*", ""), ("*:*:list", "*", "")];
    let member = [("compute:*", "*", ""), ("iam:projects:get", "*", "")];
    let found = more(&member, &viewer).await;
    let [one] = found.as_slice() else {
        panic!("{found:?}")
    };
    let ["compute:*", action, resource, ""] = one.each_ref().map(String::as_str) else {
        panic!("{one:?}")
    };
    assert!(
        ["compute:instances:", "compute:images:"]
            .iter()
            .any(|known| action.starts_with(known)),
        "{action}"
    );
    assert!(
        !action.ends_with(":get") && !action.ends_with(":list"),
        "{action}"
    );
    assert!(resource.starts_with("org/acme/project/web/"), "{resource}");
    assert_eq!(more(&viewer, &member).await.len(), 2);
}

#[tokio::test]
async fn conditions_count_by_what_they_mean() {
    let one = [(
        "compute:*",
        "*",
        "resource.owner == principal.id && context.source_ip.isInRange(ip(\"10.0.0.0/24\"))",
    )];
    let other = [(
        "compute:*",
        "*",
        "context.source_ip.isInRange(ip(\"10.0.0.0/8\")) && principal.id == resource.owner",
    )];
    assert!(more(&one, &other).await.is_empty());
    let found = more(&other, &one).await;
    let told = &found[0][3];
    assert!(
        told.contains("context.source_ip=") && told.contains("resource.owner=principal.id"),
        "{told}"
    );
}

#[tokio::test]
async fn what_permits_nothing_is_within_everything_and_everything_beyond_nothing() {
    assert!(more(&[("*", "*", "false")], &[]).await.is_empty());
    assert!(
        more(&[("*", "system/*", "")], &[]).await.is_empty(),
        "not in a project"
    );
    assert!(
        more(&[("*", "org/globex/*", "")], &[]).await.is_empty(),
        "not in acme"
    );
    assert!(more(&[], &[]).await.is_empty());
    assert_eq!(more(&[("*", "*", "")], &[]).await.len(), 1);
}

#[tokio::test]
async fn labels_are_told_where_a_condition_reads_them() {
    let own = [(
        "compute:*",
        "*",
        "resource.hasTag(\"env\") && resource.getTag(\"env\") like \"test*\"",
    )];
    let found = more(
        &own,
        &[(
            "compute:*",
            "*",
            "resource.hasTag(\"env\") && resource.getTag(\"env\") == \"test\"",
        )],
    )
    .await;
    let told = &found[0][3];
    assert!(
        told.starts_with("resource.getTag(\"env\")=test") && told.len() > 27,
        "{told}"
    );
}

#[tokio::test]
async fn a_solver_that_is_not_there_is_named() {
    let Err(error) = Prover::start("/nowhere/cvc5") else {
        panic!("it started")
    };
    assert!(matches!(error, Error::NoSolver { .. }));
    assert!(error.to_string().contains("/nowhere/cvc5"), "{error}");
}

#[tokio::test]
async fn what_is_no_solver_is_an_error() {
    let mut prover = Prover::start("true").unwrap();
    let own = [permission(&("*", "*", ""))];
    let scope = "org/acme".parse().unwrap();
    let error = beyond(&mut prover, &own, &[], &scope).await.unwrap_err();
    assert!(matches!(error, Error::Solver(_)), "{error:?}");
}
