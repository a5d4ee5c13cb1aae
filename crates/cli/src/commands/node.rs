//! Hosts.

use clap::Subcommand;
use photon_api::plasmavmc::v1::ListNodesRequest;

use crate::error::Failure;
use crate::noun::Desk;
use crate::output::Column;

const COLUMNS: &[Column] = &[
    ("NAME", "name"),
    ("READY", "ready"),
    ("VCPUS", "vcpus"),
    ("USED", "vcpus_used"),
    ("MEMORY MIB", "memory_mib"),
    ("USED", "memory_mib_used"),
    ("ACCELERATOR", "accelerator"),
    ("LAST SEEN", "last_seen"),
];

/// Hosts.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// List all hosts, with what they hold.
    List,
}

/// `photon node`
pub async fn run(command: NodeCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    let NodeCommand::List = command;
    desk.print_all(ListNodesRequest::default(), COLUMNS).await
}
