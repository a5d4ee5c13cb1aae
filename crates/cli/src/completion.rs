//! Completion on the command line: of commands and flags, and of names of what there is.

use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches};
use clap_complete::CompletionCandidate;
use clap_complete::engine::ArgValueCandidates;
use clap_complete::env::{CompleteEnv, Shells};
use photon_api::plasmavmc::v1::ListNodesRequest;
use photon_api::provisioner::v1::ListMachinesRequest;
use photon_client::call::{List, Named};
use tokio::time::{Instant, timeout_at};

use crate::Cli;
use crate::context::Config;
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

/// Completes with the names of a noun in the current context's scope; with nothing when they cannot be had.
pub fn names<N: Noun>() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let by_id = N::WORDS.named.0 == "ID";
        candidates(<N::Filter as Flags>::Request::default(), |one| {
            if by_id { one.id() } else { one.name() }.to_owned()
        })
    })
}

/// Completes with hosts.
pub fn hosts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(ListNodesRequest::default(), |host| host.name.clone()))
}

/// Completes with machines: with the names of those that have one, else with their ids.
pub fn machines() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        candidates(ListMachinesRequest::default(), |machine| {
            match machine.name.is_empty() {
                true => machine.id.clone(),
                false => machine.name.clone(),
            }
        })
    })
}

/// Completes with the contexts that are kept.
pub fn contexts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let kept = Config::load().unwrap_or_default().contexts;
        kept.into_keys().map(CompletionCandidate::new).collect()
    })
}

fn candidates<R: List>(
    request: R,
    called: impl Fn(&R::Item) -> String,
) -> Vec<CompletionCandidate> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return Vec::new();
    };
    let found = runtime.block_on(listed(request)).unwrap_or_default();
    found
        .iter()
        .map(called)
        .map(CompletionCandidate::new)
        .collect()
}

async fn listed<R: List>(request: R) -> Result<Vec<R::Item>, Failure> {
    let late = |_| Failure::TimedOut("no names in time".to_owned());
    let until = Instant::now() + PATIENCE;
    let command = Connection::augment_args(clap::Command::new("photon"));
    // No flags, but what the environment says.
    let connection = command
        .try_get_matches_from(["photon"])
        .and_then(|matches| Connection::from_arg_matches(&matches))
        .map_err(|error| Failure::Local(error.to_string()))?;
    let opened = timeout_at(until, Session::open(&connection)).await;
    let session = opened.map_err(late)??;
    let desk = Desk {
        session: &session,
        output: &Output::new(Format::Name),
    };
    let found = timeout_at(until, desk.first(request, MOST)).await;
    // Whoever pressed the tab key is not to lose the session by it.
    session.settled().await;
    found.map_err(late)?
}
