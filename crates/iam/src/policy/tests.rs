use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use photon_policy::words::{a_resource, a_resource_pattern, an_action, an_action_pattern};
use photon_resource::{BindingId, PrincipalId, PrincipalKind, Scope};
use proptest::prelude::*;

use super::*;
use crate::model::{Binding, Permission, Principal};

/// A binding at `scope` of a role with these action patterns, resource patterns and conditions.
pub(crate) fn grant(scope: &str, permissions: &[(&str, &str, &str)]) -> Grant {
    let permission = |(action, resource, condition): &(&str, &str, &str)| Permission {
        action: action.parse().unwrap(),
        resource: resource.parse().unwrap(),
        condition: (!condition.is_empty()).then(|| condition.parse().unwrap()),
    };
    Grant {
        binding: Binding {
            id: BindingId::generate(),
            principal_id: PrincipalId::generate(),
            role_id: "tested".into(),
            scope: scope.parse().unwrap(),
            created_at: UNIX_EPOCH,
            expires_at: None,
            revision: 1,
        },
        role_name: "tested".into(),
        permissions: permissions.iter().map(permission).collect(),
    }
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

fn ask(rights: &Rights, action: &str, resource: &str, attributes: &[(&str, &str)]) -> Answer {
    let attributes: BTreeMap<String, String> = attributes
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    rights.decide(&Question {
        action: &action.parse().unwrap(),
        resource: &resource.parse().unwrap(),
        attributes: &attributes,
        now: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    })
}

#[test]
fn scopes_inherit_downward() {
    let rights = Rights::compile(
        &principal(),
        vec![grant("org/acme", &[("compute:*", "*", "")])],
    );
    let allowed = |resource| ask(&rights, "compute:instances:create", resource, &[]).allowed;
    assert!(allowed("org/acme/project/web/instances/*"));
    assert!(allowed("org/acme/instances/*"));
    assert!(!allowed("org/globex/project/web/instances/*"));
    assert!(!allowed("system/instances/*"));
}

#[test]
fn the_answer_names_the_binding_or_the_reason() {
    let given = grant("org/acme", &[("compute:*", "*", "")]);
    let id = given.binding.id;
    let rights = Rights::compile(&principal(), vec![given]);
    let yes = ask(
        &rights,
        "compute:images:get",
        "org/acme/project/web/images/x",
        &[],
    );
    assert_eq!(yes.bindings, [id]);
    let no = ask(
        &rights,
        "network:vpcs:create",
        "org/acme/project/web/vpcs/*",
        &[],
    );
    assert_eq!(
        no.reason,
        "no role of alice permits network:vpcs:create in org/acme/project/web"
    );
}

#[test]
fn conditions_read_the_attributes_and_fail_closed() {
    let principal = principal();
    let me = principal.id.to_string();
    let rights = Rights::compile(
        &principal,
        vec![grant(
            "org/acme",
            &[
                (
                    "compute:instances:delete",
                    "*",
                    "resource.owner == principal.id",
                ),
                (
                    "compute:instances:start",
                    "*",
                    r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
                ),
                (
                    "compute:instances:stop",
                    "*",
                    r#"!context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
                ),
                (
                    "compute:images:get",
                    "*",
                    r#"resource.hasTag("env") && resource.getTag("env") == "test""#,
                ),
                (
                    "compute:images:list",
                    "*",
                    r#"context.now < datetime("2020-01-01")"#,
                ),
            ],
        )],
    );
    let allowed = |action, attributes: &[(&str, &str)]| {
        ask(
            &rights,
            action,
            "org/acme/project/web/instances/i",
            attributes,
        )
        .allowed
    };
    assert!(allowed("compute:instances:delete", &[("owner", &me)]));
    assert!(!allowed(
        "compute:instances:delete",
        &[("owner", "somebody else")]
    ));
    assert!(!allowed("compute:instances:delete", &[]), "no owner told");
    assert!(allowed(
        "compute:instances:start",
        &[("source_ip", "10.1.2.3")]
    ));
    assert!(allowed(
        "compute:instances:start",
        &[("source_ip", "::ffff:10.1.2.3")]
    ));
    assert!(!allowed(
        "compute:instances:start",
        &[("source_ip", "192.0.2.1")]
    ));
    assert!(!allowed(
        "compute:instances:start",
        &[("source_ip", "nowhere")]
    ));
    assert!(
        !allowed("compute:instances:stop", &[]),
        "a negation does not open what is unknown"
    );
    assert!(allowed(
        "compute:images:get",
        &[("label.env", "test"), ("unknown", "x")]
    ));
    assert!(!allowed("compute:images:get", &[("label.env", "live")]));
    assert!(!allowed("compute:images:list", &[]));
    let no = ask(
        &rights,
        "compute:instances:delete",
        "org/acme/project/web/instances/i",
        &[],
    );
    assert!(
        no.reason.contains("condition of role tested"),
        "{}",
        no.reason
    );
}

#[test]
fn a_binding_ends_without_anybody_recompiling() {
    let mut ended = grant("org/acme", &[("*", "*", "")]);
    ended.binding.expires_at = Some(UNIX_EPOCH + Duration::from_millis(1_800_000_000_000));
    let mut lasting = ended.clone();
    lasting.binding.expires_at = Some(UNIX_EPOCH + Duration::from_millis(1_800_000_000_001));
    let check = |grant| {
        let rights = Rights::compile(&principal(), vec![grant]);
        ask(&rights, "compute:images:get", "org/acme/images/x", &[])
    };
    let no = check(ended);
    assert!(
        !no.allowed && no.reason.contains("has ended"),
        "{}",
        no.reason
    );
    assert!(check(lasting).allowed);
}

#[test]
fn a_decision_takes_well_under_a_millisecond() {
    let grants = (0..10).map(|at| {
        grant(
            &format!("org/acme/project/p{at}"),
            &[("network:*", "*", ""), ("compute:*", "*", "")],
        )
    });
    let rights = Rights::compile(&principal(), grants.collect());
    let rounds = 200;
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            assert!(
                ask(
                    &rights,
                    "compute:images:get",
                    "org/acme/project/p7/images/x",
                    &[]
                )
                .allowed
            );
            start.elapsed()
        })
        .collect();
    times.sort();
    // The median, unoptimized and on a busy machine: an order of magnitude above what a release build takes.
    assert!(
        times[rounds / 2] < Duration::from_millis(5),
        "{:?}",
        times[rounds / 2]
    );
}

proptest! {
    #[test]
    fn cedar_decides_as_the_patterns_match(
        action_pattern in an_action_pattern(),
        resource_pattern in a_resource_pattern(),
        scope in "system|org/acme|org/acme/project/web",
        action in an_action(),
        resource in a_resource(),
    ) {
        let given = grant(&scope, &[(&action_pattern, &resource_pattern, "")]);
        let scope: Scope = scope.parse().unwrap();
        let expected = scope.contains(resource.parse::<photon_resource::ResourceName>().unwrap().scope())
            && action_pattern.parse::<ActionPattern>().unwrap().matches(&action.parse().unwrap())
            && resource_pattern.parse::<ResourcePattern>().unwrap().matches(&resource.parse().unwrap());
        let rights = Rights::compile(&principal(), vec![given]);
        prop_assert_eq!(ask(&rights, &action, &resource, &[]).allowed, expected);
    }

    #[test]
    fn what_the_ceiling_lets_through_permits_nothing_new(
        own in (an_action_pattern(), a_resource_pattern(), "system|org/acme|org/acme/project/web"),
        wanted in (an_action_pattern(), a_resource_pattern(), "system|org/acme|org/acme/project/web"),
        action in an_action(),
        resource in a_resource(),
    ) {
        let mine = grant(&own.2, &[(&own.0, &own.1, "")]);
        let given = grant(&wanted.2, &[(&wanted.0, &wanted.1, "")]);
        let now = SystemTime::now();
        if beyond(std::slice::from_ref(&mine), &given.permissions, &given.binding.scope, None, now).is_none() {
            let mine = Rights::compile(&principal(), vec![mine]);
            let given = Rights::compile(&principal(), vec![given]);
            let (mine, given) = (ask(&mine, &action, &resource, &[]), ask(&given, &action, &resource, &[]));
            prop_assert!(mine.allowed || !given.allowed, "{} on {}", action, resource);
        }
    }
}
