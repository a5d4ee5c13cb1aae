//! The program: the agent that runs until it is stopped, and the commands beside it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use photon_api::components;
use photon_program::{AgentArgs, AgentSettings, Component, ComponentSettings};
use photon_reconcile::{Backoff, Driver, Reconciler, Signal, Timing, follow};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::desired::Desires;
use super::publish::{self, Ready};
use super::{Cache, Command, Desired, Known, Session, report};

/// Delays before a stream is opened again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Changes of the host that come together cause no more than one pass in this time: a guest that starts changes its
/// interface several times.
const GATHER: Duration = Duration::from_millis(200);

/// An agent's `main`: without a command it runs until SIGTERM or SIGINT, with one that is carried out. A command takes no
/// port for `/metrics`, which the agent that runs has.
///
/// The exit code is 0 after a stop that was asked for, 1 after an error, which was logged.
pub fn main<S, Run, Ran, Once, Done>(
    component: Component,
    args: &AgentArgs,
    command: Option<Command>,
    run: Run,
    once: Once,
) -> ExitCode
where
    S: ComponentSettings,
    Run: FnOnce(AgentSettings<S>, CancellationToken) -> Ran,
    Ran: Future<Output = Result<()>>,
    Once: FnOnce(AgentSettings<S>, Command) -> Done,
    Done: Future<Output = Result<()>>,
{
    let Some(command) = command else {
        return photon_program::agent_main(component, args, run);
    };
    let mut args = args.clone();
    if args.common.metrics_listen.is_none() {
        args.common.metrics_listen = Some("off".to_owned());
    }
    photon_program::agent_main(component, &args, |settings, shutdown| async move {
        // What a pass has begun is begun again by the next: nothing is lost when an operator stops it.
        let done = shutdown.run_until_cancelled(once(settings, command)).await;
        done.unwrap_or(Ok(()))
    })
}

/// An agent that runs. What it began ends with it.
pub struct Agent {
    session: Session,
    signal: Signal,
    tasks: JoinSet<()>,
}

impl Agent {
    /// Makes the state directory; connects to its server when first used.
    ///
    /// Errors: settings that can't work, no state directory. An unreachable control plane is none.
    pub async fn new<S>(
        component: Component,
        settings: &AgentSettings<S>,
        server: &components::Component,
    ) -> Result<Self> {
        let state = &settings.state_dir;
        tokio::fs::create_dir_all(state)
            .await
            .with_context(|| format!("the state directory {} can't be made", state.display()))?;
        let session = Session::new(component, settings, server);
        Ok(Self {
            session: session.map_err(|invalid| anyhow::anyhow!("{invalid}"))?,
            signal: Signal::new(),
            tasks: JoinSet::new(),
        })
    }

    /// The server.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Asks the reconciler for a pass.
    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    /// Does this beside the reconciler for as long as the agent runs.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Follows what the server wants of this host, beginning with what was heard last.
    pub fn follow<D: Desired>(&mut self, cache: Cache<D>) -> watch::Receiver<Known<D>> {
        let (known, wanted) = watch::channel(cache.last().map(Arc::new));
        let desires = Desires {
            session: self.session.clone(),
            cache,
            known,
            signal: self.signal.clone(),
        };
        self.spawn(follow(desires, Backoff::new(RETRY_FIRST, RETRY_MOST)));
        wanted
    }

    /// Sends each new report with `send` until it is accepted, and the last one again after a while.
    pub fn report<R, F>(
        &mut self,
        reports: watch::Receiver<R>,
        send: impl Fn(Session, R) -> F + Send + 'static,
    ) where
        R: Clone + Default + PartialEq + Send + Sync + 'static,
        F: Future<Output = Result<(), Status>> + Send + 'static,
    {
        self.spawn(report::send(self.session.clone(), reports, send));
    }

    /// Asks for a pass when something on the host has changed that may be ours. The agent's own changes cause one pass
    /// more, which finds nothing to do.
    pub fn watch(&mut self, mut changes: watch::Receiver<u64>) {
        let signal = self.signal.clone();
        self.spawn(async move {
            while changes.changed().await.is_ok() {
                signal.notify();
                tokio::time::sleep(GATHER).await;
            }
        });
    }

    /// Reconciles until `shutdown`; a pass in progress is finished first.
    pub async fn drive<R: Reconciler>(
        mut self,
        name: &'static str,
        reconciler: R,
        ready: Ready,
        shutdown: CancellationToken,
    ) {
        let driver = Driver::new(name, reconciler, Timing::default(), self.signal.clone());
        let status = driver.status();
        self.spawn(publish::publish(name, status, ready));
        driver.run(shutdown).await;
        self.tasks.shutdown().await;
    }
}
