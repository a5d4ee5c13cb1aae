//! VPCs.

use clap::Args;
use photon_api::prismnet::v1::{
    CreateVpcRequest, DeleteVpcRequest, GetVpcRequest, Labels, ListVpcsRequest, UpdateVpcRequest,
    Vpc,
};

use super::{ChosenLabels, NewLabels, OtherLabels, Renaming};
use crate::error::Failure;
use crate::noun::{Desk, Flags, NoMore, Noun, USUAL, Whole, Words};
use crate::output::Column;

/// Virtual private clouds.
pub struct Vpcs;

impl Noun for Vpcs {
    type Resource = Vpc;
    type Get = GetVpcRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteVpcRequest;

    const WORDS: Words = Words {
        noun: "VPC",
        create: "Make a VPC",
        delete: "Remove one that has no subnets any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("CIDR", "cidr"),
        ("IPV6", "ipv6_cidr"),
        ("PROJECT", "project_id"),
        ("LABELS", "labels"),
    ];

    fn question(vpc: &Vpc) -> String {
        format!("Remove VPC {} ({})?", vpc.name, vpc.cidr)
    }
}

impl Whole for Vpcs {
    type New = New;
    type Actions = NoMore;

    async fn act(action: NoMore, _: &Desk<'_>) -> Result<(), Failure> {
        match action {}
    }
}

/// A VPC to make.
#[derive(Args)]
pub struct New {
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
    #[command(flatten)]
    labels: NewLabels,
}

impl Flags for New {
    type Request = CreateVpcRequest;

    async fn request(self, _: &Desk<'_>) -> Result<CreateVpcRequest, Failure> {
        Ok(CreateVpcRequest {
            name: self.name,
            cidr: self.cidr,
            description: self.description,
            ipv6_cidr: self.ipv6_cidr,
            labels: self.labels.map(),
            ..Default::default()
        })
    }
}

/// Which VPCs.
#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    labels: ChosenLabels,
}

impl Flags for Filter {
    type Request = ListVpcsRequest;

    async fn request(self, _: &Desk<'_>) -> Result<ListVpcsRequest, Failure> {
        Ok(ListVpcsRequest {
            labels: self.labels.map(),
            ..Default::default()
        })
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    #[command(flatten)]
    labels: OtherLabels,
}

impl Flags for Update {
    type Request = UpdateVpcRequest;

    async fn request(self, _: &Desk<'_>) -> Result<UpdateVpcRequest, Failure> {
        Ok(UpdateVpcRequest {
            name: self.meta.rename,
            description: self.meta.description,
            labels: self.labels.map().map(|labels| Labels { labels }),
            ..Default::default()
        })
    }
}
