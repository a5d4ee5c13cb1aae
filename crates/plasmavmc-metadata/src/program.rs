//! The program, which runs until it is stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use photon_host::links::{Links, Netlink};
use photon_program::{Component, boot, metrics, systemd, tls};
use photon_reconcile::{Driver, Outcome, Signal, Status, Timing};
use tokio::sync::watch;

use crate::files::{Directory, stamps};
use crate::reconcile::Service;
use crate::token::Issuer;

/// Where plasmavmc-agent puts a file for each VM.
pub const DIRECTORY: &str = "/run/photoncloud/metadata";
/// The group that may read them, in which this program is.
pub const GROUP: &str = "photoncloud-metadata";

const COMPONENT: Component = Component {
    name: "plasmavmc-metadata",
    port: METRICS_PORT - 1000,
};
const METRICS_PORT: u16 = 51_184;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Changes of the host that come together cause no more than one pass in this time.
const GATHER: Duration = Duration::from_millis(200);

/// Tells the guests of this host who they are
#[derive(Parser)]
#[command(name = "plasmavmc-metadata", version)]
pub struct Args {
    /// Where the files of the host's VMs are
    #[arg(long, default_value = DIRECTORY)]
    directory: PathBuf,
    /// Address and port of /metrics
    #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], METRICS_PORT)))]
    metrics_listen: SocketAddr,
}

/// Runs until SIGTERM or SIGINT.
///
/// The exit code is 0 after a stop that was asked for, 1 after an error, which was logged.
pub fn main(args: &Args) -> ExitCode {
    tls::install_provider();
    boot::block_on(COMPONENT, async move {
        metrics::recorder();
        let shutdown = boot::shutdown_on_signals()?;
        metrics::serve(args.metrics_listen, COMPONENT.name, shutdown.clone()).await;
        let links = Arc::new(Netlink::new()?);
        let signal = Signal::new();
        tokio::spawn(changes(links.changes(), signal.clone()));
        tokio::spawn(look(args.directory.clone(), signal.clone()));
        let service = Service::new(links, Directory::new(&args.directory), Issuer::new()?);
        let driver = Driver::new("metadata", service, Timing::default(), signal);
        tokio::spawn(tell(driver.status()));
        driver.run(shutdown).await;
        systemd::stopping();
        Ok(())
    })
}

/// Asks for a pass when an interface or an address has changed.
async fn changes(mut changes: watch::Receiver<u64>, signal: Signal) {
    while changes.changed().await.is_ok() {
        signal.notify();
        tokio::time::sleep(GATHER).await;
    }
}

/// Asks for a pass when a file has. What can't be looked at is found out by the pass, which says so.
async fn look(directory: PathBuf, signal: Signal) {
    let look = |directory: &Path| stamps(directory).ok();
    let mut last = look(&directory);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = look(&directory);
        if now != last {
            last = now;
            signal.notify();
        }
    }
}

/// Tells systemd how it goes: ready after the first pass.
async fn tell(mut status: watch::Receiver<Status>) {
    let mut ready = false;
    loop {
        let now = status.borrow_and_update().clone();
        let text = match &now.last {
            Outcome::Starting | Outcome::Unknown => "starting".to_owned(),
            Outcome::NothingToDo => "nothing to do".to_owned(),
            Outcome::Applied => "applying".to_owned(),
            Outcome::Failed { error, failures } => format!("failed {failures} times: {error}"),
        };
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
