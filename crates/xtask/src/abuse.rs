//! `cargo xtask abuse`: a stranger, a viewer and a member of one tenant do their worst for a while; another tenant must
//! not notice, and no server may take more memory or disk than it should (decision 0027).
//!
//! ```text
//!  arena: servers natively, tenants, addresses ──► neighbour alone ──► neighbour with attacks ──► report: bounds hold?
//!                                                                        stranger · viewer · member
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `arena` | what attackers know: addresses, tokens, something to look at |
//! | `attack` | what an attack is, its bounds, and how all are carried out |
//! | `stranger`, `viewer`, `member` | the attacks |
//! | `wire` | gRPC by hand, from any address |
//! | `neighbour` | the tenant that must not notice |
//! | `watched` | what servers take of memory and disk |
//! | `report` | the tables and the bounds |
//!
//! It is against the run's own programs alone, on the loopback of a network namespace of the run's own, and bounded: in
//! time, in tries and in sockets of each attack. What is not tried: who guesses a person's name slows that person's
//! sign-in (decision 0009), and a flood from more networks than fill the strangers' eighth (decision 0027).

mod arena;
mod attack;
mod member;
mod neighbour;
mod report;
mod stranger;
mod viewer;
mod watched;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;

use crate::bench::{Profile, programs};
use crate::cache::Cache;
use crate::native::agent::Agent;
use crate::native::servers::{Limits, Metrics, NODE, Servers};
use crate::native::stage;
use crate::prerequisites;
use crate::progress::Step;
use crate::rack::network::Namespace;
use crate::rack::run::Run;
use arena::Arena;
use attack::{Attack, allow_sockets, carry_out};
use neighbour::Neighbour;
pub use report::Report;
use report::{Phase, Server};
use watched::{Watched, on_disk};

/// Files that this process and a server have open beside the attackers' sockets.
const OTHER_FILES: u64 = 1000;
/// Before anything is measured: what is done for the first time takes longer.
const WARM_UP: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How long the neighbour works alone, and then with the abuse.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=600))]
    seconds: u64,
    /// `dev` is for work on the attacks themselves: servers that are not optimized get less done.
    #[arg(long, value_enum, default_value = "release")]
    profile: Profile,
    /// The programs are built, and this is the program that attacks.
    #[arg(long, hide = true)]
    measure: bool,
}

/// Prints the tables.
///
/// # Errors
/// When a bound is broken, or something cannot be started.
pub fn run(options: &Options) -> Result<()> {
    if !options.measure {
        prerequisites::ensure()?;
        programs::build(options.profile)?;
        return programs::become_built(options.profile);
    }
    let report = attempt(
        &programs::measured(options.profile),
        options.seconds,
        floor_ms(options.profile),
    )?;
    println!("{}", report.text());
    match report.broken() {
        broken if broken.is_empty() => Ok(()),
        broken => bail!("bounds are broken:\n  {}", broken.join("\n  ")),
    }
}

/// The p99 that is no harm, in ms.
pub fn floor_ms(profile: Profile) -> f64 {
    match profile {
        Profile::Release => 50.0,
        // Programs that are not optimized take several times as long for the attackers' calls too.
        Profile::Dev => 1000.0,
    }
}

fn attacks() -> Vec<Attack> {
    [stranger::ATTACKS, viewer::ATTACKS, member::ATTACKS].concat()
}

/// Starts the programs of `bin`, and has the neighbour work for so long alone and then with the abuse. Nothing is left
/// behind.
///
/// # Errors
/// When something cannot be started, or a server ended. Broken bounds are the report's to tell.
pub fn attempt(bin: &Path, seconds: u64, floor_ms: f64) -> Result<Report> {
    let sockets = attacks()
        .iter()
        .map(|it| it.workers * it.sockets)
        .sum::<usize>();
    allow_sockets(sockets as u64 + OTHER_FILES)?;
    let run = Run::begin(&Cache::open()?)?;
    for address in arena::addresses() {
        run.namespace.add_to_loopback(address)?;
    }
    let (bin, directory, namespace) = (bin.to_owned(), run.dir.clone(), run.namespace.clone());
    let report = stage::inside(&run.namespace, move || {
        tried(bin, directory, namespace, seconds, floor_ms)
    });
    run.end()?;
    report
}

async fn tried(
    bin: PathBuf,
    directory: PathBuf,
    namespace: Namespace,
    seconds: u64,
    floor_ms: f64,
) -> Result<Report> {
    let step = Step::begin("starting IAM, PrismNET and PlasmaVMC, and making two tenants");
    let servers = Servers::start(&bin, &directory, &namespace, Metrics::On, Limits::Usual).await?;
    let plasmavmc = servers.plasmavmc().await?;
    let watched = [
        Watched::new("iam", "iam-server", servers.iam.clone())?,
        Watched::new("prismnet", "prismnet-server", servers.prismnet.clone())?,
        Watched::new("plasmavmc", "plasmavmc-server", plasmavmc)?,
    ];
    let _agent = Agent::start(&servers).await?;
    let arena = Arena::prepare(&servers).await?;
    let (account, session) = arena::neighbour(&servers).await?;
    let neighbour = Neighbour::settle(account, &session).await?;
    neighbour.work(Instant::now() + WARM_UP).await?;
    step.end();

    let length = Duration::from_secs(seconds);
    let step = Step::begin("the neighbour works alone");
    let course = neighbour.work(Instant::now() + length).await?;
    let before = seen(course, &watched, &directory).await?;
    step.end();

    let step = Step::begin("the neighbour works, and the others do their worst");
    let until = Instant::now() + length;
    let arena = Arc::new(arena.ending(until));
    let attacks = attacks();
    let (course, attacks) = tokio::join!(neighbour.work(until), carry_out(&arena, &attacks));
    let (course, attacks) = (course?, attacks?);
    let with = seen(course, &watched, &directory).await?;
    step.end();

    let host_ready = servers.operator.ready_hosts().await?;
    for server in watched.iter().rev() {
        server.stop().await?;
    }
    let named = watched.iter().map(|server| Server {
        program: server.program,
        memory_max: server.memory_max,
    });
    Ok(Report {
        seconds,
        floor_ms,
        servers: named.collect(),
        before,
        with,
        attacks,
        host_ready: host_ready.iter().any(|host| host == NODE),
    })
}

async fn seen(course: neighbour::Course, watched: &[Watched], directory: &Path) -> Result<Phase> {
    let mut seen = Vec::new();
    for server in watched {
        seen.push(server.look().await?);
    }
    Ok(Phase {
        course,
        seen,
        disk: on_disk(directory),
    })
}
