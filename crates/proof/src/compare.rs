//! What one role allows that another does not.

use std::collections::BTreeSet;

use cedar_policy::PolicySet;
use photon_policy::{Given, Permission, policy};
use photon_resource::{PrincipalId, Scope};

use crate::prover::{Counterexample, Error, Prover};
use crate::world::World;

/// Types of resources and verbs that examples speak of where they can, because readers know them.
const TYPES: &[(&str, &[&str])] = &[
    ("compute", &["instances", "images"]),
    ("network", &["vpcs", "subnets", "ports"]),
    ("iam", &["bindings", "projects", "roles"]),
];
const VERBS: &[&str] = &["get", "list", "create", "update", "delete"];

/// What a condition can read of a request beside the action and the resource's name.
const TOLD: [&str; 11] = [
    "principal.name",
    "principal.kind",
    "principal.org",
    "principal.node",
    "resource.owner",
    "resource.name",
    "resource.node",
    "resource.kind",
    "resource.role",
    "context.source_ip",
    "context.now",
];

/// A permission that goes beyond another role's.
#[derive(Clone, Debug)]
pub struct Excess<'a> {
    pub permission: &'a Permission,
    /// The action of a request that it allows and the other role does not.
    pub action: String,
    /// The name of the resource.
    pub resource: String,
    /// What else is so in it: what the conditions read, and its value.
    pub told: Vec<(String, String)>,
}

/// Those of the permissions `own` that allow, given at `scope`, what `other` given there does not, each with an example.
/// None: all that `own` allows is allowed by `other` too.
///
/// Errors: as [`Error`] says.
pub async fn beyond<'a>(
    prover: &mut Prover,
    own: &'a [Permission],
    other: &[Permission],
    scope: &Scope,
) -> Result<Vec<Excess<'a>>, Error> {
    let principal = PrincipalId::generate();
    let given = Given {
        principal,
        scope,
        until: None,
    };
    let world = World::with([scope]).asked_by(principal);
    let outer = policies(given, other)?;
    let readable = readable(own, other, scope, principal);
    let read: Vec<&str> = conditions_of(own, other);
    let mut found = Vec::new();
    for permission in own {
        let inner = policies(given, std::slice::from_ref(permission))?;
        let Some(example) = prover.within(&inner, &outer, &world).await? else {
            continue;
        };
        // One that people can read, where there is one.
        let nicer = world.clone().assuming(readable.clone());
        let nicer = prover.within(&inner, &outer, &nicer).await?;
        let example = nicer.unwrap_or(example);
        found.push(Excess {
            permission,
            action: example.action(),
            resource: example.resource(),
            told: told(&example, principal, &read),
        });
    }
    Ok(found)
}

fn policies(given: Given<'_>, permissions: &[Permission]) -> Result<PolicySet, Error> {
    let mut all = PolicySet::new();
    for (index, permission) in permissions.iter().enumerate() {
        policy(given, &index.to_string(), permission)
            .and_then(|policy| all.add(policy).map_err(|error| error.to_string()))
            .map_err(Error::Unanswerable)?;
    }
    Ok(all)
}

fn conditions_of<'a>(own: &'a [Permission], other: &'a [Permission]) -> Vec<&'a str> {
    let both = own.iter().chain(other);
    both.filter_map(|permission| Some(permission.condition.as_ref()?.as_str()))
        .collect()
}

/// What of the example a condition reads.
fn told(example: &Counterexample, principal: PrincipalId, read: &[&str]) -> Vec<(String, String)> {
    let is_read = |name: &str| read.iter().any(|condition| condition.contains(name));
    let mut found = Vec::new();
    for (name, value) in example.attributes() {
        let shown = match name.starts_with("resource.getTag(") {
            true => is_read("Tag("),
            false => TOLD.contains(&name.as_str()) && is_read(&name),
        };
        if shown {
            let own = value == principal.to_string();
            let value = if own {
                "principal.id".to_owned()
            } else {
                value
            };
            found.push((name, value));
        }
    }
    found
}

/// That a request is one that people would think of: words that exist, or that the roles name.
fn readable(
    own: &[Permission],
    other: &[Permission],
    scope: &Scope,
    principal: PrincipalId,
) -> String {
    let mut named = Named::default();
    for permission in own.iter().chain(other) {
        named.add(permission);
    }
    let mut types: Vec<String> = TYPES
        .iter()
        .map(|(service, types)| {
            let types = list(types.iter().copied());
            format!("(context.service == \"{service}\" && {types}.contains(context.type))")
        })
        .collect();
    types.extend(named.kinds.iter().cloned());
    let verbs = list(
        VERBS
            .iter()
            .copied()
            .chain(named.verbs.iter().map(String::as_str)),
    );
    let org = scope.org().map_or("acme", |org| org.as_str());
    let project = scope.project().map_or("web", |project| project.as_str());
    let orgs = list(named.orgs.iter().map(String::as_str).chain(["", org]));
    let projects = list(
        named
            .projects
            .iter()
            .map(String::as_str)
            .chain(["", project]),
    );
    let ids = list(named.ids.iter().map(String::as_str).chain(["example"]));
    [
        format!("({})", types.join(" || ")),
        format!("{verbs}.contains(context.verb)"),
        "resource.type == context.type".to_owned(),
        format!("{orgs}.contains(resource.org)"),
        format!("{projects}.contains(resource.project)"),
        // Of all of a type, and of what is not there yet, the id is `*`.
        format!(
            "(if [\"create\", \"list\"].contains(context.verb) then resource.id == \"*\" else {ids}.contains(resource.id))"
        ),
        format!("[\"{principal}\", \"somebody else\"].contains(resource.owner)"),
    ]
    .join(" && ")
}

/// A set in Cedar's language.
fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    format!("[{}]", words.join(", "))
}

/// The words that roles name.
#[derive(Default)]
struct Named {
    /// Services and types of resources, as Cedar expressions.
    kinds: BTreeSet<String>,
    verbs: BTreeSet<String>,
    orgs: BTreeSet<String>,
    projects: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Named {
    fn add(&mut self, permission: &Permission) {
        let [service, of_action, verb] = permission.action.words();
        let [org, project, of_resource, id] = permission.resource.words();
        let kind = of_action.or(of_resource);
        if let Some(kind) = kind {
            let service = service.map(|it| format!("context.service == \"{it}\" && "));
            let service = service.unwrap_or_default();
            self.kinds
                .insert(format!("({service}context.type == \"{kind}\")"));
        } else if let Some(service) = service
            && !TYPES.iter().any(|(known, _)| *known == service)
        {
            self.kinds.insert(format!(
                "(context.service == \"{service}\" && context.type == \"things\")"
            ));
        }
        self.verbs.extend(verb.map(str::to_owned));
        self.orgs.extend(org.map(str::to_owned));
        self.projects.extend(project.map(str::to_owned));
        self.ids.extend(id.map(str::to_owned));
    }
}
