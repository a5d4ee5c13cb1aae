//! VPCs.

use clap::Subcommand;
use photon_api::prismnet::v1::{
    CreateVpcRequest, DeleteVpcRequest, GetVpcRequest, Labels, ListVpcsRequest, UpdateVpcRequest,
    Vpc,
};

use super::{all_pages, confirm, label_map, parse_label, present};
use crate::error::Failure;
use crate::output::{Column, Output};
use crate::session::Session;

const MESSAGE: &str = "prismnet.v1.Vpc";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("CIDR", "cidr"),
    ("IPV6", "ipv6_cidr"),
    ("PROJECT", "project_id"),
    ("LABELS", "labels"),
];

/// VPCs.
#[derive(Subcommand)]
pub enum VpcCommand {
    /// Make a VPC.
    Create {
        /// Its name, unique in the project.
        name: String,
        /// Its IPv4 addresses, for example 10.0.0.0/16.
        #[arg(long)]
        cidr: String,
        /// Its IPv6 addresses.
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
        /// Only with this label; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Change name, description or labels.
    Update {
        /// Name or id.
        name: String,
        /// New name.
        #[arg(long)]
        rename: Option<String>,
        /// New description.
        #[arg(long)]
        description: Option<String>,
        /// KEY=VALUE; replaces all labels; can be repeated.
        #[arg(long = "label", value_parser = parse_label)]
        labels: Vec<(String, String)>,
    },
    /// Remove one that has no subnets any more.
    Delete {
        /// Name or id.
        name: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// The VPC of this name or id.
pub async fn find(session: &Session, name: &str) -> Result<Vpc, Failure> {
    let request = GetVpcRequest {
        id: name.to_owned(),
        org_id: session.org(),
        project_id: session.project(),
    };
    let answer = session.vpcs().await?.get_vpc(request).await?.into_inner();
    present(answer.vpc, "VPC")
}

/// `photon vpc`
pub async fn run(command: VpcCommand, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut vpcs = session.vpcs().await?;
    match command {
        VpcCommand::Create {
            name,
            cidr,
            ipv6_cidr,
            description,
            labels,
        } => {
            let request = CreateVpcRequest {
                org_id: session.org(),
                project_id: session.project(),
                name,
                cidr,
                description,
                ipv6_cidr,
                labels: label_map(&labels),
                ..Default::default()
            };
            let answer = vpcs.create_vpc(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.vpc, "VPC")?)
        }
        VpcCommand::Get { name } => output.one(MESSAGE, &find(session, &name).await?),
        VpcCommand::List { labels } => {
            let request = ListVpcsRequest {
                org_id: session.org(),
                project_id: session.project(),
                labels: label_map(&labels),
                ..Default::default()
            };
            let all = all_pages!(vpcs, list_vpcs, vpcs, request);
            output.many(MESSAGE, &all, COLUMNS)
        }
        VpcCommand::Update {
            name,
            rename,
            description,
            labels,
        } => {
            let request = UpdateVpcRequest {
                id: find(session, &name).await?.id,
                name: rename,
                description,
                labels: (!labels.is_empty()).then(|| Labels {
                    labels: label_map(&labels),
                }),
                ..Default::default()
            };
            let answer = vpcs.update_vpc(request).await?.into_inner();
            output.one(MESSAGE, &present(answer.vpc, "VPC")?)
        }
        VpcCommand::Delete { name, yes } => {
            let vpc = find(session, &name).await?;
            confirm(yes, &format!("Remove VPC {} ({})?", vpc.name, vpc.cidr))?;
            vpcs.delete_vpc(DeleteVpcRequest {
                id: vpc.id,
                ..Default::default()
            })
            .await?;
            output.done(&format!("VPC {name} is gone."));
            Ok(())
        }
    }
}
