//! The `main` of every server and agent.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{
    AgentArgs, AgentSettings, Component, ComponentSettings, ConfigError, ServerArgs, Settings,
    StoreCommand,
};
use crate::{metrics, store, systemd, telemetry, tls};

/// Runs a server, or carries out the command about its store that was given instead: reads its settings (and with
/// `--check-config` only tells whether they are right), sets logging up, binds the listener, and calls `run`, which ends soon after its token is cancelled by SIGTERM or SIGINT.
///
/// The exit code is 0 after a stop that was asked for, 1 after an error, which was logged.
pub fn main<S, F, Run>(component: Component, args: &ServerArgs, run: Run) -> ExitCode
where
    S: ComponentSettings,
    F: Future<Output = anyhow::Result<()>>,
    Run: FnOnce(Settings<S>, TcpListener, CancellationToken) -> F,
{
    tls::install_provider();
    if let Some(command) = &args.command {
        return carry_out::<S>(component, args, command);
    }
    let loaded = args.load::<S>(component, &environment);
    let settings = match settled(component, args.common.check_config, loaded) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    block_on(component, async move {
        let address = (settings.server.listen, settings.server.port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on {}:{}", address.0, address.1))?;
        let shutdown = shutdown_on_signals()?;
        run(settings, listener, shutdown).await
    })
}

/// Runs an agent: as [`main`], with `/metrics` in place of the listener. The agent itself says when it is
/// [ready](systemd::ready).
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
            metrics::serve(address, component.name, shutdown.clone())
                .await
                .with_context(|| format!("/metrics can't listen on {address}"))?;
        }
        let done = run(settings, shutdown).await;
        systemd::stopping();
        done
    })
}

/// A command about the store: says what it did, or why not.
fn carry_out<S: ComponentSettings>(
    component: Component,
    args: &ServerArgs,
    command: &StoreCommand,
) -> ExitCode {
    let done = args
        .store::<S>(component, &environment)
        .map_err(anyhow::Error::from)
        .and_then(|store| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(store::carry_out(command, &store, component))
        });
    match done {
        Ok(said) => {
            println!("{}: {said}", component.name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error:#}", component.name);
            ExitCode::FAILURE
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The settings to run with, or what to exit with.
fn settled<T>(
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

fn block_on(component: Component, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
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
fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
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
