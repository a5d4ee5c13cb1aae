//! What a type of resource is called, wherever that is said.

use crate::{ResourceName, Scope};

/// The names of a type of resource: in actions, in resource names and to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The first part of its actions: `network`.
    pub service: &'static str,
    /// Its type in resource names, policies and actions: `vpcs`.
    pub plural: &'static str,
    /// What people call one: `VPC`.
    pub noun: &'static str,
}

impl Kind {
    /// `service:type:verb`.
    pub fn action(&self, verb: &str) -> String {
        format!("{}:{}:{verb}", self.service, self.plural)
    }

    /// The full name of one.
    pub fn name(&self, scope: Scope, id: impl std::fmt::Display) -> ResourceName {
        ResourceName::new(scope, self.plural, id)
    }

    /// All of them in a scope: what create and list are authorized on.
    pub fn any(&self, scope: Scope) -> ResourceName {
        ResourceName::any(scope, self.plural)
    }
}
