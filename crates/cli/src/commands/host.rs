//! The rack's hosts: what they run, and bringing them to another version and back.
//!
//! The operator's flake says what a host is; `nixos-rebuild` brings it there. What is added here is the order, the
//! look at each host before the next one's turn, and the way back. Nothing on a host depends on it: `nixos-rebuild` by
//! hand is as good.

mod facts;
mod finalize;
mod health;
mod inventory;
mod plan;
mod remote;
mod status;
mod switch;

use clap::{Args, Subcommand};

use crate::completion::hosts;
use crate::error::Failure;
use crate::output::{Output, Shape};

/// The rack's hosts.
#[derive(Subcommand)]
pub enum HostCommand {
    /// List all hosts as places for VMs: how much they have, and how much of it is taken. Asks the cloud, not the hosts.
    #[command(visible_alias = "ls")]
    List(Shape),
    /// List the VMs of a host, of all organizations.
    Vms(OfHost),
    #[command(flatten)]
    OverSsh(OverSsh),
}

/// Whose VMs.
#[derive(Args)]
pub struct OfHost {
    /// Its host name.
    #[arg(add = hosts())]
    pub name: String,
    #[command(flatten)]
    pub shape: Shape,
}

/// What is done on the hosts themselves.
#[derive(Subcommand)]
pub enum OverSsh {
    /// Show what hosts run and whether they are healthy. Exit code 1 if one is not.
    Status(status::Status),
    /// Bring hosts to what the flake says, one after the other: agents' hosts first, the control plane last.
    ///
    /// VMs stay running. After each host, its units, APIs and VMs are looked at; the first failure ends the upgrade and
    /// takes that host back to what it ran before. Ctrl-C ends it after the current host.
    Upgrade(Box<switch::Upgrade>),
    /// Bring hosts back to their previous generation: the control plane first, agents' hosts last.
    ///
    /// VMs stay running. The first failure ends it and takes that host to where it was.
    Rollback(Box<switch::Rollback>),
}

/// `photon host`, over SSH. It watches for Ctrl-C itself.
pub async fn run(command: OverSsh, output: &Output) -> Result<(), Failure> {
    match command {
        OverSsh::Status(args) => status::run(args, output).await,
        OverSsh::Upgrade(args) => switch::upgrade(*args, output).await,
        OverSsh::Rollback(args) => switch::rollback(*args, output).await,
    }
}
