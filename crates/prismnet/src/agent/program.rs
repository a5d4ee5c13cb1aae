//! The program: the long-running agent, and the commands by which an operator looks at what it would do.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use photon_api::components::PRISMNET;
use photon_host::nft;
use photon_program::{AgentSettings, Component, Identity, systemd};
use photon_reconcile::{Driver, Outcome, Pass, Plan, Reconciler, Signal, Timing, run_once};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::cache::{self, Cache};
use super::convert;
use super::reconcile::{Host, Networks};
use super::report::{self, Report};
use super::watch::{self as follow, Known};

/// The agent's name; `/metrics` is at the port + 1000.
pub const COMPONENT: Component = Component::agent_of(&PRISMNET);

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print as JSON what a pass would change now, and change nothing
    Plan {
        /// One plan, then exit: what it does anyway
        #[arg(long)]
        once: bool,
        /// Desired state as JSON (`prismnet.v1.DesiredNetwork`) [default: the last one received]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Bring the host's networks to a desired state once, without the control plane
    Apply {
        /// Desired state as JSON (`prismnet.v1.DesiredNetwork`) [default: the last one received]
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
}

/// Runs the agent until `shutdown`.
///
/// Errors: settings that can't work, no netlink socket, an unreadable cache. An unreachable control plane is
/// none.
pub async fn run(settings: AgentSettings<()>, shutdown: CancellationToken) -> Result<()> {
    let state = &settings.state_dir;
    tokio::fs::create_dir_all(state)
        .await
        .with_context(|| format!("the state directory {} can't be made", state.display()))?;
    let identity = Identity::new(
        &format!("{}@{}", COMPONENT.name, settings.node),
        settings.credential_file.as_deref(),
        &settings.endpoints,
    )?;
    let channel = settings.endpoints.channel(&PRISMNET)?;

    let cache = Cache::in_directory(state);
    let known = watch::Sender::new(cached(&cache));
    let reports = watch::Sender::new(Report::default());
    let host = Host::real()?;
    let signal = Signal::new();
    let networks = Networks::new(
        host.clone(),
        known.subscribe(),
        reports.clone(),
        memory_file(&settings),
    );
    let driver = Driver::new("networks", networks, Timing::default(), signal.clone());

    let tasks = [
        tokio::spawn(follow::follow(
            settings.node.clone(),
            identity.clone(),
            channel.clone(),
            cache,
            known,
            signal.clone(),
        )),
        tokio::spawn(report::send(
            settings.node.clone(),
            identity,
            channel,
            reports.subscribe(),
        )),
        tokio::spawn(publish(driver.status())),
        tokio::spawn(notify_of_changes(host.links.changes(), signal.clone())),
        tokio::spawn(notify_of_changes(nft::changes()?, signal)),
    ];
    driver.run(shutdown).await;
    for task in tasks {
        task.abort();
    }
    Ok(())
}

/// A cache that can't be read is as none: the control plane will send everything again, and until then
/// nothing is touched.
fn cached(cache: &Cache) -> Known {
    match cache.load() {
        Ok(message) => message.map(|message| {
            tracing::info!(revision = message.revision, "desired state from the cache");
            Arc::new(convert::desired(&message))
        }),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "cached desired state not usable"
            );
            None
        }
    }
}

fn memory_file(settings: &AgentSettings<()>) -> PathBuf {
    settings.state_dir.join("filter.json")
}

/// Changes that come together cause no more than one pass in this time.
const GATHER: Duration = Duration::from_millis(200);

/// A change of any interface or filter may be one of ours. The agent's own changes cause one pass more, which
/// finds nothing to do.
async fn notify_of_changes(mut changes: watch::Receiver<u64>, signal: Signal) {
    while changes.changed().await.is_ok() {
        signal.notify();
        // A guest that starts changes its interface several times.
        tokio::time::sleep(GATHER).await;
    }
}

/// Tells systemd and `/metrics` how the reconciler fares.
async fn publish(mut status: watch::Receiver<photon_reconcile::Status>) {
    let mut ready = false;
    loop {
        let now = status.borrow_and_update().clone();
        metrics::counter!("photon_reconcile_passes_total", "reconciler" => "networks")
            .absolute(now.passes);
        metrics::counter!("photon_reconcile_applied_total", "reconciler" => "networks")
            .absolute(now.applied);
        metrics::counter!("photon_reconcile_failed_total", "reconciler" => "networks")
            .absolute(now.failed);
        metrics::gauge!("photon_reconcile_converged", "reconciler" => "networks").set(
            if now.last == Outcome::NothingToDo {
                1.0
            } else {
                0.0
            },
        );
        let text = match &now.last {
            Outcome::Starting => "starting".to_owned(),
            Outcome::Unknown => "waiting for the control plane".to_owned(),
            Outcome::NothingToDo => "nothing to do".to_owned(),
            Outcome::Applied => "applying".to_owned(),
            Outcome::Failed { error, failures } => format!("failed {failures} times: {error}"),
        };
        // Ready after the first pass, whatever came of it: what is wrong with one network is reported, and
        // units that wait for the agent must not wait for the control plane.
        if !ready && now.passes > 0 {
            systemd::ready(&text);
            ready = true;
        } else {
            systemd::status(&text);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Runs one of the operator's commands.
///
/// Errors: no desired state, or what goes wrong with the host.
pub async fn run_command(settings: AgentSettings<()>, command: Command) -> Result<()> {
    let (Command::Plan { from, .. } | Command::Apply { from }) = &command;
    let message = match from {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            cache::from_json(&text).with_context(|| format!("read {}", path.display()))?
        }
        None => Cache::in_directory(&settings.state_dir)
            .load()?
            .context("no desired state was received yet: give one with --from FILE")?,
    };
    let understood = convert::desired(&message);
    for (port, reason) in &understood.refused {
        eprintln!("port {port} is left out: {reason}");
    }
    let known = watch::Sender::new(Some(Arc::new(understood)));
    let reports = watch::Sender::new(Report::default());
    let mut networks = Networks::new(
        Host::real()?,
        known.subscribe(),
        reports,
        memory_file(&settings),
    );
    if matches!(command, Command::Apply { .. }) {
        std::fs::create_dir_all(&settings.state_dir)
            .with_context(|| format!("create {}", settings.state_dir.display()))?;
        const PASSES: u32 = 5;
        for _ in 0..PASSES {
            if run_once("networks", &mut networks).await? == Pass::NothingToDo {
                println!("nothing to do");
                return Ok(());
            }
        }
        bail!("after {PASSES} passes there is still something to do: see 'prismnet-agent plan'");
    }
    let observed = networks.observe().await?.context("no desired state")?;
    let plan = networks.plan(&observed);
    println!(
        "{}",
        serde_json::to_string_pretty(&serde_json::json!({
            "empty": plan.is_empty(),
            "plan": plan,
        }))?
    );
    Ok(())
}
