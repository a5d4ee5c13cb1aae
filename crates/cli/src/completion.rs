//! Completion on the command line: of commands and flags, and of names of what there is.

use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches};
use clap_complete::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use photon_client::call::Named;

use crate::Cli;
use crate::error::Failure;
use crate::noun::{Desk, Flags, Noun};
use crate::output::{Format, Output};
use crate::session::{Connection, Session};

/// What a shell sets to ask.
const ASKED_BY: &str = "PHOTON_COMPLETE";

/// Whoever pressed the tab key waits no longer for names.
const PATIENCE: Duration = Duration::from_secs(2);

/// More names than these help nobody.
const MOST: usize = 1000;

/// Answers the shell, if it is the shell that asks; then the program ends here.
pub fn answer() {
    CompleteEnv::with_factory(Cli::command)
        .var(ASKED_BY)
        .bin("photon")
        .completer("photon")
        .complete();
}

/// Prints what makes a shell ask.
pub fn script(shell: clap_complete::Shell, output: &Output) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::Local(format!("cannot make a script for {shell}: {error}"))
    };
    let shells = Shells::builtins();
    let found = shells.completer(&shell.to_string());
    let completer = found.ok_or_else(|| wrong(&"it is not known"))?;
    let mut script = Vec::new();
    completer
        .write_registration(ASKED_BY, "photon", "photon", "photon", &mut script)
        .map_err(|error| wrong(&error))?;
    output.text(&String::from_utf8_lossy(&script))
}

/// The names of a noun in the current context's scope; none when they cannot be had.
pub fn names<N: Noun>() -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let found = runtime.block_on(async { tokio::time::timeout(PATIENCE, listed::<N>()).await });
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    found.into_iter().map(CompletionCandidate::new).collect()
}

async fn listed<N: Noun>() -> Result<Vec<String>, Failure> {
    let command = Connection::augment_args(clap::Command::new("photon"));
    // No flags, but what the environment says.
    let connection = command
        .try_get_matches_from(["photon"])
        .and_then(|matches| Connection::from_arg_matches(&matches))
        .map_err(|error| Failure::Local(error.to_string()))?;
    let session = Session::open(&connection).await?;
    let desk = Desk {
        session: &session,
        output: &Output::new(Format::Name),
    };
    let request = <N::Filter as Flags>::Request::default();
    let found = desk.first(request, MOST).await?;
    let by_id = N::WORDS.named.0 == "ID";
    Ok(found
        .iter()
        .map(|one| if by_id { one.id() } else { one.name() })
        .map(str::to_owned)
        .collect())
}
