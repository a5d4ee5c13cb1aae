//! Sessions: sign-ins that go on.

use clap::{Args, Subcommand};
use photon_api::iam::v1::{EndSessionRequest, ListSessionsRequest, WhoAmIRequest};

use super::present;
use super::principal::{Users, whose};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{Changing, Desk, Listed};
use crate::output::Column;

const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("ORG", "org_id"),
    ("PROJECT", "project_id"),
    ("CLIENT", "client"),
    ("FROM", "source"),
    ("LAST USED", "last_used_at"),
    ("ENDS UNUSED", "idle_at"),
];

/// Sessions.
#[derive(Subcommand)]
pub enum SessionCommand {
    /// List where you are signed in, or somebody else is.
    #[command(visible_alias = "ls")]
    List(Listed<Whose>),
    /// End a session: what was signed in with it stops working at once.
    End(Changing<Ended>),
}

/// Whose sessions.
#[derive(Args)]
pub struct Whose {
    /// Principal (name or id). Default: yourself.
    #[arg(add = names::<Users>())]
    principal: Option<String>,
}

/// A session to end, or all of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Ended {
    /// The session's id.
    id: Option<String>,
    /// All of your sessions, this one too.
    #[arg(long)]
    all: bool,
    /// All sessions of this principal (name or id).
    #[arg(long, value_name = "PRINCIPAL", add = names::<Users>())]
    all_of: Option<String>,
}

/// `photon session`
pub async fn run(command: SessionCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        SessionCommand::List(list) => {
            let principal_id = match list.filter.principal {
                Some(name) => whose(desk, &name).await?.0,
                None => String::new(),
            };
            let request = ListSessionsRequest {
                principal_id,
                ..Default::default()
            };
            desk.print_all(request, COLUMNS, &list.shape).await
        }
        SessionCommand::End(Changing { flags, once }) => {
            let (request, done) = match (flags.id, flags.all_of) {
                (Some(id), _) => {
                    let done = format!("Session {id} has ended.");
                    let request = EndSessionRequest {
                        id,
                        ..Default::default()
                    };
                    (request, done)
                }
                (None, Some(name)) => {
                    let done = format!("All sessions of {name} have ended.");
                    (all_of(whose(desk, &name).await?.0), done)
                }
                (None, None) => {
                    let request = all_of(me(desk).await?);
                    (request, "All of your sessions have ended.".to_owned())
                }
            };
            desk.change(&once, request).await?;
            desk.output.done(&done)
        }
    }
}

/// Id of who calls.
async fn me(desk: &Desk<'_>) -> Result<String, Failure> {
    let answer = desk.call(WhoAmIRequest {}).await?;
    Ok(present(answer.principal, "principal")?.id)
}

fn all_of(principal_id: String) -> EndSessionRequest {
    EndSessionRequest {
        principal_id,
        ..Default::default()
    }
}
