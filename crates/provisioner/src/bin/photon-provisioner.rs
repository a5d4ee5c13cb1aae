//! `photon-provisioner`: machines, their installation, and the cluster's certificate authority.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Parser, Subcommand};
use provisioner::{COMPONENT, bootstrap};

/// Machines, their installation, and the cluster's certificate authority.
#[derive(Debug, Parser)]
#[command(name = "photon-provisioner", version, about)]
struct Args {
    #[command(flatten)]
    server: photon_program::ServerArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the cluster's certificate authority and this host's own certificate. What is there and good stays as it
    /// is; the host's certificate is made anew after two thirds of its life.
    /// Of the settings' file, only `listen` and the section `[provisioner]` are read.
    Bootstrap,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        None => photon_service::main(COMPONENT, &args.server, provisioner::run),
        Some(Command::Bootstrap) => match made(args.server.common.config.as_deref()) {
            Ok(made) if made.is_empty() => {
                println!("everything is there");
                ExitCode::SUCCESS
            }
            Ok(made) => {
                println!("made {}", made.join(", "));
                if bootstrap::clock_is_unset(Path::new("/run")) {
                    eprintln!(
                        "photon-provisioner: the clock has not been set by NTP yet; if it turns out to be ahead, run \
                         `systemctl restart photon-pki.service` then"
                    );
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("photon-provisioner: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn made(config: Option<&Path>) -> anyhow::Result<Vec<String>> {
    let (settings, listen) = bootstrap::settings(config)?;
    bootstrap::bootstrap(&settings, listen, SystemTime::now())
}
