//! Scopes, resource names and actions: what roles, bindings, policies and events speak of.

use std::fmt;
use std::str::FromStr;

use crate::{Error, OrgId, ProjectId};

/// Where something belongs, or where a binding holds. Scopes inherit downward.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole cloud: only operators, nodes and services are bound here.
    System,
    /// An organization and all of its projects.
    Org(OrgId),
    /// One project.
    Project(OrgId, ProjectId),
}

impl Scope {
    /// The organization, if the scope is in one.
    pub fn org(&self) -> Option<&OrgId> {
        match self {
            Self::System => None,
            Self::Org(org) | Self::Project(org, _) => Some(org),
        }
    }

    /// The project, if the scope is one.
    pub fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::Project(_, project) => Some(project),
            _ => None,
        }
    }

    /// Whether `other` is this scope or lies below it.
    pub fn contains(&self, other: &Scope) -> bool {
        match (self, other) {
            (Self::System, _) => true,
            (Self::Org(org), other) => other.org() == Some(org),
            (Self::Project(..), other) => self == other,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Org(org) => write!(f, "org/{org}"),
            Self::Project(org, project) => write!(f, "org/{org}/project/{project}"),
        }
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["system"] => Ok(Self::System),
            ["org", org] => Ok(Self::Org(org.parse()?)),
            ["org", org, "project", project] => Ok(Self::Project(org.parse()?, project.parse()?)),
            _ => Err(Error::invalid(
                "scope",
                text,
                "'system', 'org/ORG' or 'org/ORG/project/PROJECT'",
            )),
        }
    }
}

/// The full name of a resource: its scope, type and id.
///
/// `org/{org}/project/{project}/{type}/{id}`, `org/{org}/{type}/{id}` or `system/{type}/{id}`; the id `*`
/// stands for all of that type (for create and list).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    scope: Scope,
    kind: String,
    id: String,
}

impl ResourceName {
    /// One resource. `kind` is the plural of interfaces and policies: `vpcs`, `instances`.
    pub fn new(scope: Scope, kind: &str, id: impl fmt::Display) -> Self {
        Self {
            scope,
            kind: kind.to_owned(),
            id: id.to_string(),
        }
    }

    /// All resources of a type in a scope: what create and list are authorized on.
    pub fn any(scope: Scope, kind: &str) -> Self {
        Self::new(scope, kind, "*")
    }

    /// Where it belongs.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Its id, or `*`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.scope, self.kind, self.id)
    }
}

fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._@".contains(&b))
}

impl FromStr for ResourceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::invalid(
                "resource",
                text,
                "'system/TYPE/ID', 'org/ORG/TYPE/ID' or 'org/ORG/project/PROJECT/TYPE/ID'",
            )
        };
        let parts: Vec<&str> = text.split('/').collect();
        let (scope, kind, id) = match parts.as_slice() {
            ["system", kind, id] => (Scope::System, kind, id),
            ["org", org, kind, id] if *kind != "project" => (Scope::Org(org.parse()?), kind, id),
            ["org", org, "project", project, kind, id] => {
                (Scope::Project(org.parse()?, project.parse()?), kind, id)
            }
            _ => return Err(wrong()),
        };
        if !is_segment(kind) || !(is_segment(id) || *id == "*") {
            return Err(wrong());
        }
        Ok(Self::new(scope, kind, id))
    }
}

/// What somebody wants to do: `service:type:verb`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(String);

impl Action {
    /// The action as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split(':').collect();
        let word =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if parts.len() == 3 && parts.iter().all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(
                "action",
                text,
                "'SERVICE:TYPE:VERB' such as 'compute:instances:create'",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_inherit_downward_only() {
        assert!(scope("system").contains(&scope("org/acme")));
        assert!(scope("org/acme").contains(&scope("org/acme/project/web")));
        assert!(!scope("org/acme").contains(&scope("org/globex/project/web")));
        assert!(!scope("org/acme/project/web").contains(&scope("org/acme")));
        assert!(!scope("org/acme/project/web").contains(&scope("org/globex/project/web")));
    }

    #[test]
    fn names_round_trip() {
        for text in [
            "system/organizations/acme",
            "org/acme/projects/web",
            "org/acme/project/web/instances/*",
        ] {
            assert_eq!(text.parse::<ResourceName>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "org",
            "org/acme",
            "org/acme/project/web",
            "org/acme/project/web/vpcs/a b",
            "x/y/z",
        ] {
            assert!(text.parse::<ResourceName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_the_same(text in "(system|org/[a-z*]{0,3})?(/project/[a-z]{0,3})?(/[a-z*/:.]{0,8}){0,3}") {
            if let Ok(name) = text.parse::<ResourceName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<ResourceName>();
            let _ = text.parse::<Scope>();
            let _ = text.parse::<Action>();
        }
    }
}
