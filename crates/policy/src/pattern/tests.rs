use proptest::prelude::*;

use super::*;
use crate::words::{a_resource, a_resource_pattern, an_action, an_action_pattern};

fn action(text: &str) -> ActionPattern {
    text.parse().unwrap()
}

fn resource(text: &str) -> ResourcePattern {
    text.parse().unwrap()
}

#[test]
fn a_star_at_the_end_covers_the_rest() {
    let create = "compute:instances:create".parse().unwrap();
    for pattern in [
        "*",
        "compute:*",
        "compute:instances:*",
        "*:*:create",
        "*:instances:*",
    ] {
        assert!(action(pattern).matches(&create), "{pattern}");
    }
    for pattern in ["network:*", "compute:images:*", "*:*:delete"] {
        assert!(!action(pattern).matches(&create), "{pattern}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_at_its_column() {
    for (text, column) in [
        ("", 1),
        ("compute", 8),
        ("compute:", 9),
        ("compute:inst*:create", 13),
        ("compute:instances:create:more", 26),
        ("compute::create", 9),
        ("compute:instances:cre ate", 22),
    ] {
        let error = text.parse::<ActionPattern>().unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
    }
    for (text, column) in [
        ("acme", 1),
        ("org", 4),
        ("org/acme", 9),
        ("org/ac*e", 7),
        ("org/acme/project/web", 21),
        ("org/acme/project/web/vpcs/x/y", 29),
        ("org/acme/*/x/y", 14),
        ("system/nodes", 13),
        ("org//project/web/*", 5),
        ("*/acme", 1),
    ] {
        let error = text.parse::<ResourcePattern>().unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
    }
}

#[test]
fn covering_is_matching_more() {
    assert!(action("*").covers(&action("compute:*")));
    assert!(action("compute:*").covers(&action("compute:instances:create")));
    assert!(!action("compute:instances:create").covers(&action("compute:*")));
    assert!(resource("org/acme/*").covers(&resource("org/acme/project/web/vpcs/*")));
    assert!(!resource("org/acme/project/*").covers(&resource("org/acme/*")));
    assert!(!resource("system/*").covers(&resource("*")));
}

#[test]
fn a_pattern_narrows_to_a_scope() {
    let acme: Scope = "org/acme".parse().unwrap();
    let web: Scope = "org/acme/project/web".parse().unwrap();
    let everything = resource("*").within(&web).unwrap();
    assert!(everything.matches(&"org/acme/project/web/vpcs/x".parse().unwrap()));
    assert!(!everything.matches(&"org/acme/project/ops/vpcs/x".parse().unwrap()));
    assert!(!everything.matches(&"org/acme/roles/x".parse().unwrap()));
    assert_eq!(resource("system/*").within(&acme), None);
    assert_eq!(resource("org/globex/*").within(&acme), None);
    assert_eq!(resource("org/acme/roles/*").within(&web), None);
}

/// The meaning of patterns as the documentation puts it: part by part, and a last `*` covers the rest.
fn naive(pattern: &str, text: &str, separator: char) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let pattern: Vec<&str> = pattern.split(separator).collect();
    let text: Vec<&str> = text.split(separator).collect();
    let rest = pattern.last() == Some(&"*");
    (pattern.len() == text.len() || (rest && pattern.len() < text.len()))
        && pattern
            .iter()
            .zip(&text)
            .all(|(pattern, text)| *pattern == "*" || pattern == text)
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC*") {
        let _ = text.parse::<ActionPattern>();
        let _ = text.parse::<ResourcePattern>();
    }

    #[test]
    fn an_error_points_into_the_text(text in "[a-z*:/ ]{0,30}") {
        for error in [text.parse::<ActionPattern>().err(), text.parse::<ResourcePattern>().err()].into_iter().flatten() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
        }
    }

    #[test]
    fn actions_match_as_the_naive_matcher_does(pattern in an_action_pattern(), text in an_action()) {
        prop_assert_eq!(action(&pattern).matches(&text.parse().unwrap()), naive(&pattern, &text, ':'));
    }

    #[test]
    fn resources_match_as_the_naive_matcher_does(pattern in a_resource_pattern(), text in a_resource()) {
        prop_assert_eq!(resource(&pattern).matches(&text.parse().unwrap()), naive(&pattern, &text, '/'));
    }

    #[test]
    fn a_cover_matches_all_that_is_covered(a in a_resource_pattern(), b in a_resource_pattern(), text in a_resource()) {
        let (a, b, text) = (resource(&a), resource(&b), text.parse().unwrap());
        if a.covers(&b) && b.matches(&text) {
            prop_assert!(a.matches(&text));
        }
    }

    #[test]
    fn narrowing_is_matching_within_the_scope(
        pattern in a_resource_pattern(),
        scope in "system|org/acme|org/acme/project/web",
        text in a_resource(),
    ) {
        let scope: Scope = scope.parse().unwrap();
        let text: ResourceName = text.parse().unwrap();
        let pattern = resource(&pattern);
        let both = pattern.matches(&text) && scope.contains(text.scope());
        prop_assert_eq!(pattern.within(&scope).is_some_and(|narrowed| narrowed.matches(&text)), both);
    }
}
