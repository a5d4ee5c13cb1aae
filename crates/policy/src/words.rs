//! For tests: names and patterns from few words, so that they meet often.

use proptest::prelude::*;

/// Names of resources.
pub fn a_resource() -> impl Strategy<Value = String> {
    prop_oneof![
        "system/(nodes|roles)/(x|y|\\*)",
        "org/(acme|globex)/(roles|vpcs)/(x|y|\\*)",
        "org/(acme|globex)/project/(web|ops)/(roles|vpcs)/(x|y|\\*)",
    ]
}

/// Patterns of resources.
pub fn a_resource_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        "|\\*|system/\\*|org/\\*",
        "system/(nodes|roles|\\*)/(x|y|\\*)",
        "org/(acme|globex|\\*)/(roles|vpcs|\\*)/(x|y|\\*)",
        "org/(acme|\\*)/(\\*|project/\\*|project/web/\\*)",
        "org/(acme|globex|\\*)/project/(web|ops|\\*)/(roles|vpcs|\\*)/(x|y|\\*)",
    ]
}

/// Actions.
pub fn an_action() -> impl Strategy<Value = String> {
    "(iam|compute):(roles|vpcs):(get|list)"
}

/// Patterns of actions.
pub fn an_action_pattern() -> impl Strategy<Value = String> {
    "\\*|(iam|compute):\\*|(iam|compute|\\*):(roles|vpcs|\\*):(get|list|\\*)"
}

/// Texts of conditions, most of which validation accepts: they read what there is to read, and try to get out of the
/// clause that they are put into.
pub fn a_condition() -> impl Strategy<Value = String> {
    let reading = prop_oneof![
        "resource\\.(owner|name|node|kind|role|org|project|type|id|level) (==|!=) (principal\\.(id|name|kind|org|node)|\"[a-z]{0,3}\")",
        Just("resource.hasTag(\"env\") && resource.getTag(\"env\") == \"test\"".to_owned()),
        Just("context.source_ip.isInRange(ip(\"10.0.0.0/8\"))".to_owned()),
        Just("context.now < datetime(\"2027-01-01\")".to_owned()),
        Just("resource in Scope::\"org/globex\"".to_owned()),
        "(true|false|principal has node|context\\.verb like \"g\\*\")",
        "true( //.{0,5}| } when \\{ true|; permit\\(principal, action, resource\\)| \\}; //)",
    ];
    reading.prop_recursive(3, 12, 2, |inner| {
        (inner.clone(), inner, 0..4).prop_map(|(a, b, how)| match how {
            0 => format!("{a} || {b}"),
            1 => format!("!({a})"),
            2 => format!("if {a} then {b} else true"),
            _ => format!("({a}) && {b}\n"),
        })
    })
}
