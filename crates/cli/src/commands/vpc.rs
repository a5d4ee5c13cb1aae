//! VPCs.

use clap::Args;
use photon_api::prismnet::v1::{
    CreateVpcRequest, DeleteVpcRequest, GetVpcRequest, Labels, ListVpcsRequest, UpdateVpcRequest,
    Vpc,
};

use super::{ChosenLabels, NewLabels, OtherLabels, Renaming};
use crate::noun::{NoMore, Noun, Removal, USUAL, Whole, Words, plain_request};
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
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    fn question(vpc: &Vpc) -> String {
        format!("Remove VPC {} ({})?", vpc.name, vpc.cidr)
    }
}

impl Whole for Vpcs {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
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
    #[arg(long, default_value = "", hide_default_value = true)]
    ipv6_cidr: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateVpcRequest, |this| {
        name: this.name,
        cidr: this.cidr,
        description: this.description,
        ipv6_cidr: this.ipv6_cidr,
        labels: this.labels.map(),
    }
}

/// Which VPCs.
#[derive(Args)]
pub struct Filter {
    #[command(flatten)]
    labels: ChosenLabels,
}

plain_request! {
    Filter as ListVpcsRequest, |this| {
        labels: this.labels.map(),
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

plain_request! {
    Update as UpdateVpcRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
