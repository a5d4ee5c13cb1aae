//! Whether one policy set permits only what another does.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{
    Authorizer, Decision, Entities, EvalResult, Policy, PolicyId, PolicySet, Request, RequestEnv,
};
use cedar_policy_symcc::solver::SolverError;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet};

use crate::solver::Cvc5;
use crate::world::World;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the solver {program} can't be started: {source}; it is the package cvc5 of Debian and of nixpkgs"
    )]
    NoSolver {
        program: String,
        source: photon_host::Error,
    },
    #[error("the solver gave up: a condition is too hard for it")]
    TooHard,
    #[error("the solver failed: {0}; version 1.3 of cvc5 is known to work")]
    Solver(#[source] SolverError),
    #[error("it can't be put to the solver: {0}")]
    Unanswerable(String),
}

impl From<cedar_policy_symcc::err::Error> for Error {
    fn from(error: cedar_policy_symcc::err::Error) -> Self {
        use cedar_policy_symcc::err::Error as Symbolic;
        match error {
            Symbolic::SolverUnknown => Self::TooHard,
            Symbolic::SolverError(error) => Self::Solver(error),
            error => Self::Unanswerable(error.to_string()),
        }
    }
}

/// Asks the solver.
pub struct Prover {
    compiler: CedarSymCompiler<Cvc5>,
    about: RequestEnv,
}

impl Prover {
    /// With the solver `program`: a path, or a name on the PATH.
    ///
    /// Errors: [`Error::NoSolver`].
    pub fn start(program: &str) -> Result<Self, Error> {
        let solver = Cvc5::start(program).map_err(|source| Error::NoSolver {
            program: program.to_owned(),
            source,
        })?;
        // The schema has one action, so there is one kind of request.
        let about = photon_policy::schema().request_envs().next();
        Ok(Self {
            compiler: CedarSymCompiler::new(solver)?,
            about: about.ok_or_else(|| Error::Unanswerable("the schema has no action".into()))?,
        })
    }

    /// Whether, in `world`, all that `inner` permits is permitted by `outer` too; else a request that shows it is not.
    ///
    /// Errors: as [`Error`] says.
    pub async fn within(
        &mut self,
        inner: &PolicySet,
        outer: &PolicySet,
        world: &World,
    ) -> Result<Option<Counterexample>, Error> {
        let schema = photon_policy::schema();
        let mut inner = inner.clone();
        // What the world does not have is not permitted, so that it is no counterexample.
        let bounds = format!(
            "forbid(principal, action, resource) unless {{ {} }};",
            world.text()
        );
        let added = Policy::parse(Some(PolicyId::new("world")), bounds)
            .map_err(|error| error.to_string())
            .and_then(|bounds| inner.add(bounds).map_err(|error| error.to_string()));
        added.map_err(Error::Unanswerable)?;
        let compiled = CompiledPolicySet::compile(&inner, &self.about, schema)?;
        let outer = CompiledPolicySet::compile(outer, &self.about, schema)?;
        let found = self
            .compiler
            .check_implies_with_counterexample_opt(&compiled, &outer)
            .await?;
        Ok(found.map(|env| Counterexample {
            request: env.request,
            entities: env.entities,
        }))
    }
}

/// A request, with all that it is about.
#[derive(Clone, Debug)]
pub struct Counterexample {
    request: Request,
    entities: Entities,
}

fn text(value: EvalResult) -> String {
    match value {
        EvalResult::String(text) => text,
        // As Cedar writes it: `ip("10.0.0.1")`.
        value => value.to_string(),
    }
}

impl Counterexample {
    /// Whether these policies permit it, by the engine that decides: no solver has a part in it.
    pub fn permitted_by(&self, policies: &PolicySet) -> bool {
        let answer = Authorizer::new().is_authorized(&self.request, policies, &self.entities);
        answer.decision() == Decision::Allow
    }

    /// `resource.org`, `principal.kind`, `context.verb` and so on, as conditions name them; `resource.getTag("env")`
    /// for labels. Texts stand without quotes.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for (name, uid) in [
            ("principal", self.request.principal()),
            ("resource", self.request.resource()),
        ] {
            let Some(entity) = uid.and_then(|uid| self.entities.get(uid)) else {
                continue;
            };
            for (attribute, value) in entity.attrs() {
                if let Ok(value) = value {
                    found.insert(format!("{name}.{attribute}"), text(value));
                }
            }
            for (key, value) in entity.tags() {
                if let Ok(value) = value {
                    found.insert(format!("{name}.getTag({key:?})"), text(value));
                }
            }
        }
        for attribute in ["service", "type", "verb", "source_ip", "now"] {
            let value = self.request.context().and_then(|it| it.get(attribute));
            if let Some(value) = value {
                found.insert(format!("context.{attribute}"), text(value));
            }
        }
        found
    }

    /// The action: `compute:instances:create`.
    pub fn action(&self) -> String {
        let all = self.attributes();
        let part = |name: &str| all.get(name).map_or("", String::as_str);
        format!(
            "{}:{}:{}",
            part("context.service"),
            part("context.type"),
            part("context.verb")
        )
    }

    /// The resource's name: `org/acme/project/web/instances/example`.
    pub fn resource(&self) -> String {
        let all = self.attributes();
        let part = |name: &str| all.get(name).map_or("", String::as_str);
        let scope = match part("resource.level") {
            "system" => "system".to_owned(),
            "org" => format!("org/{}", part("resource.org")),
            _ => format!(
                "org/{}/project/{}",
                part("resource.org"),
                part("resource.project")
            ),
        };
        format!("{scope}/{}/{}", part("resource.type"), part("resource.id"))
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.action(), self.resource())
    }
}
