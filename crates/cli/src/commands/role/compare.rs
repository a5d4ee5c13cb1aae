//! `photon role compare`: what one role allows that another does not. Asked of a solver on this machine, about the
//! policies that IAM makes of the roles; no server has a part in it but to say what the roles are.

use clap::Args;
use photon_api::iam::v1::{GetRoleRequest, Role};
use photon_policy::Permission;
use photon_proof::{Excess, Prover, beyond};
use photon_resource::{Scope, is_hidden};
use serde_json::{Map, Value, json};

use crate::error::Failure;
use crate::noun::Desk;
use crate::session::Session;

/// Which roles, and where.
#[derive(Args)]
pub struct Comparison {
    /// A role (name or id).
    first: String,
    /// The other (name or id).
    second: String,
    /// Where both are given: `system`, `org/ORG` or `org/ORG/project/PROJECT`.
    #[arg(long)]
    scope: Option<Scope>,
    /// The solver cvc5: a path, or a name on the PATH.
    #[arg(
        long,
        value_name = "PROGRAM",
        env = "PHOTON_CVC5",
        default_value = "cvc5"
    )]
    solver: String,
}

/// Where the roles are given, unless it is said.
fn scope_in_use(session: &Session) -> Result<Scope, Failure> {
    let text = match (session.org.as_str(), session.project.as_str()) {
        ("", _) => "system".to_owned(),
        (org, "") => format!("org/{org}"),
        (org, project) => format!("org/{org}/project/{project}"),
    };
    text.parse()
        .map_err(|error| Failure::Local(format!("{text}: {error}")))
}

/// What a role permits, as the policies are made of it.
fn permissions(role: &Role) -> Result<Vec<Permission>, Failure> {
    let unreadable = |what: &str, text: &str, problem: String| {
        Failure::Local(format!(
            "this photon can't read the {what} '{text}' of role {}: {problem}",
            role.name
        ))
    };
    let read = role.permissions.iter().map(|it| {
        Ok(Permission {
            action: it
                .action
                .parse()
                .map_err(|error| unreadable("action", &it.action, format!("{error}")))?,
            resource: it
                .resource
                .parse()
                .map_err(|error| unreadable("resource", &it.resource, format!("{error}")))?,
            condition: match it.condition.as_str() {
                "" => None,
                text => Some(
                    text.parse()
                        .map_err(|error| unreadable("condition", text, format!("{error}")))?,
                ),
            },
        })
    });
    read.collect()
}

impl Comparison {
    /// Fetches both and says what differs.
    pub async fn run(self, desk: &Desk<'_>) -> Result<(), Failure> {
        let scope = match self.scope {
            Some(scope) => scope,
            None => scope_in_use(desk.session)?,
        };
        let first = desk.find::<GetRoleRequest>("role", &self.first).await?;
        let second = desk.find::<GetRoleRequest>("role", &self.second).await?;
        let (of_first, of_second) = (permissions(&first)?, permissions(&second)?);
        let failed = |error: photon_proof::Error| Failure::Local(error.to_string());
        let mut prover = Prover::start(&self.solver).map_err(failed)?;
        let only_first = beyond(&mut prover, &of_first, &of_second, &scope)
            .await
            .map_err(failed)?;
        let only_second = beyond(&mut prover, &of_second, &of_first, &scope)
            .await
            .map_err(failed)?;
        if !desk.output.for_people() {
            return desk.output.value(&json!({
                "scope": scope.to_string(),
                "only_first": only_first.iter().map(as_json).collect::<Vec<_>>(),
                "only_second": only_second.iter().map(as_json).collect::<Vec<_>>(),
            }));
        }
        let said = [
            said(&first.name, &second.name, &only_first),
            said(&second.name, &first.name, &only_second),
        ];
        let text = format!("Given at {scope}:\n\n{}", said.join("\n"));
        // Tenants chose some of these texts.
        let hidden = |c: char| c != '\n' && is_hidden(c);
        desk.output.text(&text.replace(hidden, " "))
    }
}

fn as_json(excess: &Excess<'_>) -> Value {
    let told = excess.told.iter();
    let told: Map<String, Value> = told
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    json!({
        "permission": {
            "action": excess.permission.action.to_string(),
            "resource": excess.permission.resource.to_string(),
            "condition": excess.permission.condition.as_ref().map(ToString::to_string).unwrap_or_default(),
        },
        "example": { "action": excess.action, "resource": excess.resource, "attributes": told },
    })
}

/// What of one role goes beyond the other, for people.
fn said(one: &str, other: &str, excesses: &[Excess<'_>]) -> String {
    if excesses.is_empty() {
        return format!("All that {one} allows, {other} allows too.\n");
    }
    let mut text = format!("{one} allows what {other} does not:\n");
    for excess in excesses {
        let permission = excess.permission;
        let resource = match permission.resource.to_string() {
            resource if resource.is_empty() || resource == "*" => String::new(),
            resource => format!(" on {resource}"),
        };
        text += &format!("  {}{resource}", permission.action);
        if let Some(condition) = &permission.condition {
            text += &format!(" if {condition}");
        }
        text += &format!("\n    for example {} on {}", excess.action, excess.resource);
        for (at, (name, value)) in excess.told.iter().enumerate() {
            let before = if at == 0 { ", where " } else { " and " };
            text += &format!("{before}{name} is {value}");
        }
        text.push('\n');
    }
    text
}
