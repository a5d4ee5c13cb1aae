//! What all requests have in common that IAM makes. Cedar's schema says which attributes there are, not that two of them
//! speak of the same: in the logic a resource could be below `org/acme` and have the attribute `org` of another. What is
//! written here is assumed in every proof, and a test of IAM's holds its requests to it.

use photon_resource::{PrincipalId, Scope};

/// Assumptions about requests, as Cedar text. They are about the scopes that are named: all others are alike to policies
/// that do not name them.
#[derive(Clone, Debug)]
pub struct World {
    assumptions: Vec<String>,
}

impl World {
    /// Requests about resources that are where their attributes say.
    pub fn with<'a>(scopes: impl IntoIterator<Item = &'a Scope>) -> Self {
        let mut assumptions = vec![
            r#"resource in Scope::"system""#.to_owned(),
            r#"if resource.level == "system" then resource.org == "" else resource.org != """#.to_owned(),
            r#"if resource.level == "project" then resource.project != "" else resource.project == """#
                .to_owned(),
            r#"["system", "org", "project"].contains(resource.level)"#.to_owned(),
        ];
        for scope in scopes {
            if let Some(here) = where_it_is(scope) {
                assumptions.push(format!("(resource in Scope::\"{scope}\") == ({here})"));
            }
        }
        Self { assumptions }
    }

    /// And about this principal, whose attributes are a principal's.
    pub fn asked_by(mut self, principal: PrincipalId) -> Self {
        self.assumptions.extend([
            format!(r#"principal.id == "{principal}""#),
            r#"["user", "service_account", "node", "service"].contains(principal.kind)"#.to_owned(),
            r#"(principal.kind == "node") == (principal.node != "")"#.to_owned(),
        ]);
        self
    }

    /// And this as well, a Cedar expression.
    pub fn assuming(mut self, expression: impl Into<String>) -> Self {
        self.assumptions.push(expression.into());
        self
    }

    /// All of it as one expression.
    pub fn text(&self) -> String {
        let all: Vec<String> = self
            .assumptions
            .iter()
            .map(|it| format!("({it})"))
            .collect();
        all.join(" && ")
    }

    /// That a resource is in `scope`, said by its attributes.
    pub fn inside(scope: &Scope) -> String {
        where_it_is(scope).unwrap_or_else(|| "true".to_owned())
    }
}

/// `None`: everywhere.
fn where_it_is(scope: &Scope) -> Option<String> {
    let org = scope.org()?;
    Some(match scope.project() {
        Some(project) => format!(
            r#"resource.level == "project" && resource.org == "{org}" && resource.project == "{project}""#
        ),
        None => format!(r#"resource.level != "system" && resource.org == "{org}""#),
    })
}
