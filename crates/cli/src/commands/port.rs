//! Ports.

use clap::Subcommand;
use photon_api::prismnet::v1::{
    CreatePortRequest, DeletePortRequest, DetachPortRequest, GetPortRequest, Labels,
    ListPortsRequest, Port, SecurityGroupIds, UpdatePortRequest,
};

use super::{all_pages, confirm, label_map, parse_label, present, security_group, subnet};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "prismnet.v1.Port";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("ADDRESS", "ip_address"),
    ("MAC", "mac_address"),
    ("STATUS", "status"),
    ("DEVICE", "device_id"),
    ("NODE", "node"),
];

/// Ports.
#[derive(Subcommand)]
pub enum PortCommand {
    /// Make a port.
    Create {
        /// Its name, unique in the project.
        name: String,
        /// Subnet (name or id).
        #[arg(long)]
        subnet: String,
        /// Its address. Default: a free one.
        #[arg(long, default_value = "")]
        ip: String,
        /// Its IPv6 address. Default: made from its MAC, where the subnet has IPv6.
        #[arg(long, default_value = "")]
        ipv6: String,
        /// Security group (name or id); can be repeated. Default: the project's `default`.
        #[arg(long = "security-group")]
        security_groups: Vec<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// KEY=VALUE; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Show one.
    Get {
        /// Name or id.
        name: String,
    },
    /// List the project's.
    List {
        /// Only of this subnet (name or id).
        #[arg(long)]
        subnet: Option<String>,
    },
    /// Change name, description, security groups or labels.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// Security group (name or id); replaces all; can be repeated.
        #[arg(long = "security-group")]
        security_groups: Vec<String>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Take it from its device.
    Detach {
        /// Name or id.
        name: String,
    },
    /// Remove one that is attached to nothing.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The port of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Port, Failure> {
    let request = GetPortRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session.ports().await?.get_port(request).await?.into_inner();
    present(answer.port, "port")
}

async fn group_ids(session: &Session, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        ids.push(security_group::find(session, name).await?.id);
    }
    Ok(ids)
}

/// `photon port`
pub async fn run(command: PortCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut ports = session.ports().await?;
    match command {
        PortCommand::Create {
            name,
            subnet,
            ip,
            ipv6,
            security_groups,
            description,
            labels,
        } => {
            let request = CreatePortRequest {
                org_id: session.org(),
                project_id: session.project(),
                subnet_id: subnet::find(session, &subnet).await?.id,
                name,
                ip_address: ip,
                ipv6_address: ipv6,
                description,
                security_group_ids: group_ids(session, &security_groups).await?,
                labels: label_map(&labels),
                ..Default::default()
            };
            let answer = ports.create_port(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.port, "port")?)
        }
        PortCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        PortCommand::List { subnet } => {
            let subnet_id = match subnet {
                Some(name) => subnet::find(session, &name).await?.id,
                None => String::new(),
            };
            let request = ListPortsRequest {
                org_id: session.org(),
                project_id: session.project(),
                subnet_id,
                ..Default::default()
            };
            let all = all_pages!(ports, list_ports, ports, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        PortCommand::Update {
            name,
            rename,
            description,
            security_groups,
            labels,
        } => {
            let ids = group_ids(session, &security_groups).await?;
            let request = UpdatePortRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                security_group_ids: (!ids.is_empty()).then_some(SecurityGroupIds { ids }),
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                ..Default::default()
            };
            let answer = ports.update_port(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.port, "port")?)
        }
        PortCommand::Detach { name } => {
            let id = find(session, &name).await?.id;
            let request = DetachPortRequest {
                id,
                ..Default::default()
            };
            let answer = ports.detach_port(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.port, "port")?)
        }
        PortCommand::Delete { name, yes } => {
            let port = find(session, &name).await?;
            confirm(
                yes,
                &format!("Remove port {} ({})?", port.name, port.ip_address),
            )?;
            ports
                .delete_port(DeletePortRequest {
                    id: port.id,
                    ..Default::default()
                })
                .await?;
            output.done(&format!("Port {name} is gone."));
            Ok(())
        }
    }
}
