//! The `main` of every server.

use std::future::Future;
use std::net::SocketAddr;
use std::process::ExitCode;

use photon_program::boot::{block_on, environment, settled, shutdown_on_signals};
use photon_program::{
    Component, ComponentSettings, ServerArgs, Settings, StoreCommand, listen, tls,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::store;

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
        let address = SocketAddr::new(settings.server.listen, settings.server.port);
        let listener = listen(address).await?;
        let shutdown = shutdown_on_signals()?;
        run(settings, listener, shutdown).await
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
