//! Hosts.

use clap::Subcommand;
use photon_api::iam::v1::ListOrganizationsRequest;
use photon_api::plasmavmc::v1::{ListNodesRequest, ListVmsRequest, Vm};
use photon_client::call::{Call, Resource};

use crate::error::Failure;
use crate::noun::Desk;
use crate::output::{Column, Shape, tell, to_rows};

const COLUMNS: &[Column] = &[
    ("NAME", "name"),
    ("READY", "ready"),
    ("VCPUS", "vcpus"),
    ("VCPUS USED", "vcpus_used"),
    ("MEMORY", "memory_mib"),
    ("MEMORY USED", "memory_mib_used"),
    ("OVERHEAD", "memory_mib_overhead"),
    ("DISK", "disk_bytes"),
    ("DISK USED", "disk_bytes_used"),
    ("ACCELERATOR", "accelerator"),
    ("LAST SEEN", "last_seen"),
];

/// Hosts.
#[derive(Subcommand)]
pub enum NodeCommand {
    /// List all hosts, with what they hold.
    #[command(visible_alias = "ls")]
    List(Shape),
}

/// `photon node`
pub async fn run(command: NodeCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    let NodeCommand::List(shape) = command;
    list(&shape, desk).await
}

/// All hosts, with what they hold.
pub async fn list(shape: &Shape, desk: &Desk<'_>) -> Result<(), Failure> {
    desk.print_all(ListNodesRequest::default(), COLUMNS, shape)
        .await
}

const VMS: &[Column] = &[
    ("ORG", "org_id"),
    ("PROJECT", "project_id"),
    ("NAME", "name"),
    ("PHASE", "phase"),
    ("VCPUS", "spec.vcpus"),
    ("MEMORY", "spec.memory_mib"),
    ("AGE", "created_at"),
    ("ID", "id"),
];

/// The VMs of a host, of all organizations.
pub async fn vms(host: &str, shape: &Shape, desk: &Desk<'_>) -> Result<(), Failure> {
    let hosts = desk.all(ListNodesRequest::default()).await?;
    let mut found = Vec::new();
    for org in desk.all(ListOrganizationsRequest::default()).await? {
        let request = ListVmsRequest::default().within(&org.id, "");
        found.extend(desk.session.all(request).await?);
    }
    found.retain(|vm| vm.node == host);
    if found.is_empty() && !hosts.iter().any(|known| known.name == host) {
        let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
        tell!(
            "note: no host '{host}' has told of itself; these have: {}",
            names.join(", ")
        );
    }
    desk.output
        .rows(to_rows(&found)?, VMS, shape, Some(Vm::NAME))
}
