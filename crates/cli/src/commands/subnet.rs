//! Subnets.

use clap::Subcommand;
use photon_api::prismnet::v1::{
    CreateSubnetRequest, DeleteSubnetRequest, DnsServers, GetSubnetRequest, Labels,
    ListSubnetsRequest, Subnet, UpdateSubnetRequest,
};

use super::{all_pages, confirm, label_map, parse_label, present, vpc};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "prismnet.v1.Subnet";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("CIDR", "cidr"),
    ("GATEWAY", "gateway"),
    ("DHCP", "dhcp_enabled"),
    ("VPC", "vpc_id"),
    ("LABELS", "labels"),
];

/// Subnets.
#[derive(Subcommand)]
pub enum SubnetCommand {
    /// Make a subnet.
    Create {
        /// Its name, unique in the project.
        name: String,
        /// VPC (name or id).
        #[arg(long)]
        vpc: String,
        /// Its addresses, inside the VPC's, for example 10.0.1.0/24.
        #[arg(long)]
        cidr: String,
        /// Its gateway. Default: the first host address.
        #[arg(long, default_value = "")]
        gateway: String,
        /// Guests configure their addresses themselves.
        #[arg(long)]
        no_dhcp: bool,
        /// Name server that DHCP gives out; can be repeated.
        #[arg(long = "dns")]
        dns_servers: Vec<String>,
        /// Its IPv6 /64, inside the VPC's.
        #[arg(long, default_value = "")]
        ipv6_cidr: String,
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
        /// Only of this VPC (name or id).
        #[arg(long)]
        vpc: Option<String>,
    },
    /// Change name, description, DHCP or labels.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// Whether guests get their addresses by DHCP.
        #[arg(long)]
        dhcp: Option<bool>,
        /// Name server that DHCP gives out; replaces all; can be repeated.
        #[arg(long = "dns")]
        dns_servers: Vec<String>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Remove one that has no ports any more.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The subnet of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Subnet, Failure> {
    let request = GetSubnetRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session
        .subnets()
        .await?
        .get_subnet(request)
        .await?
        .into_inner();
    present(answer.subnet, "subnet")
}

/// `photon subnet`
pub async fn run(
    command: SubnetCommand,
    session: &Session,
    output: &Output,
) -> Result<(), Failure> {
    let mut subnets = session.subnets().await?;
    match command {
        SubnetCommand::Create {
            name,
            vpc,
            cidr,
            gateway,
            no_dhcp,
            dns_servers,
            ipv6_cidr,
            description,
            labels,
        } => {
            let request = CreateSubnetRequest {
                org_id: session.org(),
                project_id: session.project(),
                vpc_id: vpc::find(session, &vpc).await?.id,
                name,
                cidr,
                gateway,
                dhcp_enabled: !no_dhcp,
                description,
                dns_servers,
                ipv6_cidr,
                labels: label_map(&labels),
                ..Default::default()
            };
            let answer = subnets.create_subnet(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.subnet, "subnet")?)
        }
        SubnetCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        SubnetCommand::List { vpc } => {
            let vpc_id = match vpc {
                Some(name) => vpc::find(session, &name).await?.id,
                None => String::new(),
            };
            let request = ListSubnetsRequest {
                org_id: session.org(),
                project_id: session.project(),
                vpc_id,
                ..Default::default()
            };
            let all = all_pages!(subnets, list_subnets, subnets, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        SubnetCommand::Update {
            name,
            rename,
            description,
            dhcp,
            dns_servers,
            labels,
        } => {
            let request = UpdateSubnetRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                dhcp_enabled: dhcp,
                dns_servers: (!dns_servers.is_empty()).then_some(DnsServers {
                    addresses: dns_servers,
                }),
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                ..Default::default()
            };
            let answer = subnets.update_subnet(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.subnet, "subnet")?)
        }
        SubnetCommand::Delete { name, yes } => {
            let subnet = find(session, &name).await?;
            confirm(
                yes,
                &format!("Remove subnet {} ({})?", subnet.name, subnet.cidr),
            )?;
            let request = DeleteSubnetRequest {
                id: subnet.id,
                ..Default::default()
            };
            subnets.delete_subnet(request).await?;
            output.done(&format!("Subnet {name} is gone."));
            Ok(())
        }
    }
}
