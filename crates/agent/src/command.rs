//! The commands by which an operator looks at what an agent would do, or has it done without the control plane.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use photon_program::Component;
use photon_reconcile::{Pass, Plan, Reconciler, Signal, run_once};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::cache::from_file;
use super::{Cache, Desired};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print as JSON what a pass would change now, and change nothing
    Plan(PlanArgs),
    /// Bring this host to a desired state, without the control plane
    Apply(ApplyArgs),
    /// Print as JSON what there is of the desired state, as it is reported, and change nothing
    Status(StatusArgs),
}

/// The arguments of `plan`.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// One plan, then exit: what it does anyway
    #[arg(long)]
    once: bool,
    /// File with a desired state, of the form of STATE/desired.json [default: the last one received]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// The arguments of `apply`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// File with a desired state, of the form of STATE/desired.json; it is kept there [default: the last one received]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How long to work toward it, in seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

/// The arguments of `status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// File with a desired state, of the form of STATE/desired.json [default: the last one received]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl Command {
    /// The desired state that the command is about. One from a file that is to be applied is kept in the cache: it is
    /// what the host is to have from now on.
    ///
    /// Errors: none is known, or what is given is none.
    pub async fn desired<D: Desired>(&self, cache: &Cache<D>) -> Result<Arc<D>> {
        let (Self::Plan(PlanArgs { from, .. })
        | Self::Apply(ApplyArgs { from, .. })
        | Self::Status(StatusArgs { from })) = self;
        let desired = match from {
            Some(path) => {
                let (desired, contents) = from_file(path)?;
                if self.changes() {
                    cache.store(contents).await?;
                }
                desired
            }
            None => cache
                .load()?
                .context("no desired state was received yet: give one with --from FILE")?,
        };
        Ok(Arc::new(desired))
    }

    /// Whether it changes anything on the host.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Apply(_))
    }
}

/// Carries a command out with a reconciler that knows what the command is about, and prints what came of it.
/// `signal` is the reconciler's; `settled` says whether nothing is under way any more when a pass had nothing to do;
/// `status` is what there is of the desired state.
///
/// Errors: what goes wrong with the host, or that the desired state was not reached in time.
pub async fn carry_out<R>(
    command: &Command,
    component: Component,
    reconciler: &mut R,
    signal: &Signal,
    settled: impl Fn() -> bool,
    status: impl Fn(&R::Observed, &R::Plan) -> Value,
) -> Result<()>
where
    R: Reconciler<Plan: Serialize, Error: Into<anyhow::Error>>,
{
    if let Command::Apply(args) = command {
        apply(component, reconciler, signal, settled, args.timeout).await?;
    }
    let observed = reconciler.observe().await.map_err(Into::into)?;
    let observed = observed.context("no desired state")?;
    let plan = reconciler.plan(&observed);
    let printed = match command {
        Command::Plan(_) => json!({ "empty": plan.is_empty(), "plan": plan }),
        Command::Apply(_) | Command::Status(_) => {
            json!({ "converged": plan.is_empty(), "status": status(&observed, &plan) })
        }
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(())
}

/// What changed without a signal is looked for after this.
const AGAIN: Duration = Duration::from_secs(1);

async fn apply<R>(
    component: Component,
    reconciler: &mut R,
    signal: &Signal,
    settled: impl Fn() -> bool,
    seconds: u64,
) -> Result<()>
where
    R: Reconciler<Error: Into<anyhow::Error>>,
{
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let pass = run_once(component.name, reconciler).await;
        let pass = pass.map_err(Into::into)?;
        if pass == Pass::NothingToDo && settled() {
            println!("nothing to do");
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "after {seconds} s there is still something to do: see '{} plan'",
                component.name
            );
        }
        if pass != Pass::Applied {
            let again = tokio::time::timeout(AGAIN, signal.notified());
            // What there was to wait for may have happened without a signal.
            let _ = again.await;
        }
    }
}
