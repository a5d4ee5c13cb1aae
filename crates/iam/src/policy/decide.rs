//! Deciding: the Cedar policies of one principal, asked one question.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::SystemTime;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression,
};
use photon_policy::Given;
use photon_resource::{Action, BindingId, PrincipalKind, ResourceName, Scope};

use crate::model::{Binding, Permission, Principal};

/// A binding with what its role permits.
#[derive(Clone, Debug)]
pub struct Grant {
    pub binding: Binding,
    /// For messages.
    pub role_name: String,
    /// Empty when the role can't be read: it permits nothing then.
    pub permissions: Vec<Permission>,
}

/// One question: may the principal do this?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub action: &'a Action,
    pub resource: &'a ResourceName,
    /// What conditions read: `source_ip`, `owner`, `name`, `node`, `kind`, `role`, `label.KEY`. Others are ignored, which is
    /// safe: no condition that the schema accepted reads them. One that is read and missing, or malformed,
    /// makes the permission not apply.
    pub attributes: &'a BTreeMap<String, String>,
    pub now: SystemTime,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub allowed: bool,
    /// Why not, for people; empty when allowed.
    pub reason: String,
    /// The bindings that allowed it.
    pub bindings: Vec<BindingId>,
}

/// Everything that one principal's bindings permit, compiled.
pub struct Rights {
    name: String,
    uid: EntityUid,
    entity: Entity,
    grants: Vec<Grant>,
    policies: PolicySet,
}

fn uid(kind: &'static str, id: &str) -> EntityUid {
    // Can't fail: the three names are identifiers.
    let kind: EntityTypeName = kind.parse().expect("an entity type's name");
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// As conditions read it.
pub fn kind_text(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServiceAccount => "service_account",
        PrincipalKind::Node => "node",
        PrincipalKind::Service => "service",
    }
}

impl Rights {
    /// Compiles what `grants` permit `principal`. A permission that does not compile is left out and logged:
    /// there are only permits, so that it permits nothing.
    pub fn compile(principal: &Principal, grants: Vec<Grant>) -> Self {
        let uid = uid("Principal", &principal.id.to_string());
        let attributes = [
            ("id", text(&principal.id.to_string())),
            ("name", text(&principal.name)),
            ("kind", text(kind_text(principal.kind))),
            (
                "org",
                text(principal.org_id.as_ref().map_or("", |org| org.as_str())),
            ),
            ("node", text(principal.node.as_deref().unwrap_or(""))),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
        let entity = Entity::new(uid.clone(), attributes.into(), HashSet::new())
            .unwrap_or_else(|_| Entity::new_no_attrs(uid.clone(), HashSet::new()));
        let mut policies = PolicySet::new();
        for grant in &grants {
            let given = Given {
                principal: principal.id,
                scope: &grant.binding.scope,
                until: grant.binding.expires_at,
            };
            for (index, permission) in grant.permissions.iter().enumerate() {
                let id = format!("{}.{index}", grant.binding.id);
                let added = photon_policy::policy(given, &id, permission)
                    .and_then(|policy| policies.add(policy).map_err(|error| error.to_string()));
                if let Err(problem) = added {
                    tracing::error!(
                        role = grant.role_name, binding = %grant.binding.id, problem,
                        "a permission can't be compiled and permits nothing"
                    );
                }
            }
        }
        Self {
            name: principal.name.clone(),
            uid,
            entity,
            grants,
            policies,
        }
    }

    /// What it decides by.
    pub fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The bindings and what they permit.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Decides. What can't be decided is refused.
    pub fn decide(&self, question: &Question<'_>) -> Answer {
        let (request, entities) = match self.request(question) {
            Ok(asked) => asked,
            Err(problem) => {
                tracing::error!(action = %question.action, resource = %question.resource, problem, "can't decide");
                return Answer {
                    allowed: false,
                    reason: "the question can't be evaluated".into(),
                    bindings: Vec::new(),
                };
            }
        };
        let response = Authorizer::new().is_authorized(&request, &self.policies, &entities);
        for error in response.diagnostics().errors() {
            tracing::debug!(action = %question.action, resource = %question.resource, %error, "a permission does not apply");
        }
        if response.decision() == Decision::Allow {
            let mut bindings: Vec<BindingId> = response
                .diagnostics()
                .reason()
                .filter_map(|id| AsRef::<str>::as_ref(id).split('.').next()?.parse().ok())
                .collect();
            bindings.sort();
            bindings.dedup();
            return Answer {
                allowed: true,
                reason: String::new(),
                bindings,
            };
        }
        Answer {
            allowed: false,
            reason: self.explain(question),
            bindings: Vec::new(),
        }
    }

    /// Whether it is a condition alone that a permission for it fails by: nobody can say whether that would hold for
    /// what there is not.
    pub fn allows_on_a_condition(&self, question: &Question<'_>) -> bool {
        let mut near = self.near(question);
        near.any(|grant| grant.binding.active(question.now)) && !self.decide(question).allowed
    }

    /// What would permit it if it were active and its conditions held.
    fn near(&self, question: &Question<'_>) -> impl Iterator<Item = &Grant> {
        self.grants.iter().filter(|grant| {
            grant.binding.scope.contains(question.resource.scope())
                && grant.permissions.iter().any(|permission| {
                    permission.action.matches(question.action)
                        && permission.resource.matches(question.resource)
                })
        })
    }

    /// Why a question was answered with no.
    fn explain(&self, question: &Question<'_>) -> String {
        let scope = question.resource.scope();
        match self.near(question).next() {
            Some(grant) if !grant.binding.active(question.now) => format!(
                "the binding {} of role {} to {} has ended",
                grant.binding.id, grant.role_name, self.name
            ),
            Some(grant) => format!(
                "the condition of role {} (binding {}) does not hold",
                grant.role_name, grant.binding.id
            ),
            None => format!(
                "no role of {} permits {} in {scope}",
                self.name, question.action
            ),
        }
    }

    fn request(&self, question: &Question<'_>) -> Result<(Request, Entities), String> {
        let resource = uid("Resource", &question.resource.to_string());
        let scopes = scope_chain(question.resource.scope());
        let request = Request::new(
            self.uid.clone(),
            uid("Action", "call"),
            resource.clone(),
            context(question)?,
            None,
        )
        .map_err(|error| error.to_string())?;
        let mut entities = vec![
            self.entity.clone(),
            resource_entity(resource, question, &scopes)?,
        ];
        for (at, scope) in scopes.iter().enumerate() {
            let above = scopes.get(at + 1).cloned().into_iter().collect();
            entities.push(Entity::new_no_attrs(scope.clone(), above));
        }
        let entities =
            Entities::from_entities(entities, None).map_err(|error| error.to_string())?;
        Ok((request, entities))
    }
}

/// The scope and those above it, from the inside out.
fn scope_chain(scope: &Scope) -> Vec<EntityUid> {
    let mut chain = Vec::with_capacity(3);
    if scope.project().is_some() {
        chain.push(uid("Scope", &scope.to_string()));
    }
    if let Some(org) = scope.org() {
        chain.push(uid("Scope", &Scope::Org(org.clone()).to_string()));
    }
    chain.push(uid("Scope", &Scope::System.to_string()));
    chain
}

fn context(question: &Question<'_>) -> Result<Context, String> {
    let mut parts = question.action.as_str().splitn(3, ':');
    let mut part = || text(parts.next().unwrap_or_default());
    let mut pairs = vec![
        ("service".to_owned(), part()),
        ("type".to_owned(), part()),
        ("verb".to_owned(), part()),
        (
            "now".to_owned(),
            RestrictedExpression::new_datetime(photon_policy::timestamp(question.now)),
        ),
    ];
    let source = question.attributes.get("source_ip");
    if let Some(address) = source.and_then(|source| source.parse::<IpAddr>().ok()) {
        // An IPv4 caller on a dual-stack socket is still an IPv4 caller.
        let address = address.to_canonical().to_string();
        pairs.push((
            "source_ip".to_owned(),
            RestrictedExpression::new_ip(address),
        ));
    }
    Context::from_pairs(pairs).map_err(|error| error.to_string())
}

fn resource_entity(
    uid: EntityUid,
    question: &Question<'_>,
    scopes: &[EntityUid],
) -> Result<Entity, String> {
    let name = question.resource;
    let scope = name.scope();
    let level = match scope {
        Scope::System => "system",
        Scope::Org(_) => "org",
        Scope::Project(..) => "project",
    };
    let mut attributes = vec![
        ("level".to_owned(), text(level)),
        (
            "org".to_owned(),
            text(scope.org().map_or("", |org| org.as_str())),
        ),
        (
            "project".to_owned(),
            text(scope.project().map_or("", |project| project.as_str())),
        ),
        ("type".to_owned(), text(name.kind())),
        ("id".to_owned(), text(name.id())),
    ];
    let mut labels = Vec::new();
    for (key, value) in question.attributes {
        if let "owner" | "name" | "node" | "kind" | "role" = key.as_str() {
            attributes.push((key.clone(), text(value)));
        } else if let Some(label) = key.strip_prefix("label.") {
            labels.push((label.to_owned(), text(value)));
        }
    }
    Entity::new_with_tags(uid, attributes, scopes.first().cloned(), labels)
        .map_err(|error| error.to_string())
}
