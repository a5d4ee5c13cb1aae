//! How every program starts and ends: settings, logging, the runtime, the signals that stop it.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{AgentArgs, AgentSettings, Component, ComponentSettings, ConfigError};
use crate::{metrics, systemd, telemetry, tls};

/// Runs an agent: reads its settings (and with `--check-config` only tells whether they are right), sets logging up,
/// serves `/metrics`, and calls `run`, which ends soon after its token is cancelled by SIGTERM or SIGINT. The agent
/// itself says when it is [ready](systemd::ready).
///
/// The exit code is 0 after a stop that was asked for, 1 after an error, which was logged.
pub fn agent_main<S, F, Run>(component: Component, args: &AgentArgs, run: Run) -> ExitCode
where
    S: ComponentSettings,
    F: Future<Output = anyhow::Result<()>>,
    Run: FnOnce(AgentSettings<S>, CancellationToken) -> F,
{
    tls::install_provider();
    let loaded = args.load::<S>(component, &environment);
    let settings = match settled(component, args.common.check_config, loaded) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    block_on(component, async move {
        metrics::recorder();
        let shutdown = shutdown_on_signals()?;
        if let Some(address) = settings.metrics_listen {
            metrics::serve(address, component.name, shutdown.clone()).await;
        }
        let done = run(settings, shutdown).await;
        systemd::stopping();
        done
    })
}

/// A variable of the process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The settings to run with, or what to exit with: after a `check`, with their errors told.
pub fn settled<T>(
    component: Component,
    check: bool,
    loaded: Result<T, ConfigError>,
) -> Result<T, ExitCode> {
    match loaded {
        Err(error) => {
            // To the journal this goes by stderr; there is no logging before there are settings.
            eprintln!("{}: {error}", component.name);
            Err(ExitCode::FAILURE)
        }
        Ok(_) if check => {
            println!("{}: the configuration is valid", component.name);
            Err(ExitCode::SUCCESS)
        }
        Ok(settings) => Ok(settings),
    }
}

/// Runs `work` to its end, with logging, a runtime and systemd's watchdog.
///
/// The exit code is 0 after a stop that was asked for, 1 after an error, which was logged.
pub fn block_on(component: Component, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    telemetry::init(component.name);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        let watchdog = tokio::spawn(systemd::feed_watchdog());
        let done = work.await;
        watchdog.abort();
        done
    });
    // Blocking work that is still under way (a file read) must not hold the exit up.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(component = component.name, "{error:#}");
            systemd::status(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Cancelled by the first SIGTERM or SIGINT.
///
/// Errors: the signals can't be handled.
pub fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            shutdown.cancel();
        }
    });
    Ok(shutdown)
}
