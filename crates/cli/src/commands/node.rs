//! Hosts.

use clap::Subcommand;
use photon_api::plasmavmc::v1::ListNodesRequest;

use super::all_pages;
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

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
pub async fn run(command: NodeCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let NodeCommand::List = command;
    let mut nodes = session.nodes().await?;
    let all = all_pages!(nodes, list_nodes, nodes, ListNodesRequest::default());
    output.many("plasmavmc.v1.Node", &all, COLUMNS)
}
