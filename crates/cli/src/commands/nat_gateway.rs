//! NAT gateways.

use clap::Args;
use photon_api::prismnet::v1::{
    CreateNatGatewayRequest, DeleteNatGatewayRequest, GetNatGatewayRequest, GetVpcRequest, Labels,
    ListExternalNetworksRequest, ListNatGatewaysRequest, ListVpcsRequest, NatGateway,
    UpdateNatGatewayRequest,
};
use serde_json::Value;

use super::external_network::ExternalNetworks;
use super::vpc::Vpcs;
use super::{NewLabels, OtherLabels, Renaming};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Desk, Flags, NoMore, Noun, Removal, USUAL, Whole, Words, name_ids, plain_request,
};
use crate::output::Column;

/// Ways out of VPCs.
pub struct NatGateways;

impl Noun for NatGateways {
    type Resource = NatGateway;
    type Get = GetNatGatewayRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteNatGatewayRequest;

    const WORDS: Words = Words {
        noun: "NAT gateway",
        create: "Make the NAT gateway of a VPC, by which its VMs get out",
        delete: "Remove one; connections through it end",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("VPC", "vpc_id"),
        ("EXTERNAL NETWORK", "external_network_id"),
        ("ADDRESSES", "addresses"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        name_ids(rows, "vpc_id", &desk.names::<ListVpcsRequest>().await);
        let networks = desk.names::<ListExternalNetworksRequest>().await;
        name_ids(rows, "external_network_id", &networks);
    }

    fn question(gateway: &NatGateway) -> String {
        format!(
            "Remove NAT gateway {}? Its VPC then has no way out.",
            gateway.name
        )
    }
}

impl Whole for NatGateways {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// A NAT gateway to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: String,
    /// External network (name or id). Default: the only one.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        add = names::<ExternalNetworks>()
    )]
    external_network: String,
    /// How many addresses it takes, 1 to 8: each carries 64512 connections to one destination at once.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    addresses: u32,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateNatGatewayRequest, |this| {
        name: this.name,
        vpc_id: this.vpc,
        external_network_id: this.external_network,
        address_count: this.addresses,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// Which NAT gateways.
#[derive(Args)]
pub struct Filter {
    /// Only of this VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: Option<String>,
}

impl Flags for Filter {
    type Request = ListNatGatewaysRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListNatGatewaysRequest, Failure> {
        let mut request = ListNatGatewaysRequest::default();
        if let Some(name) = self.vpc {
            request.vpc_id = desk.find::<GetVpcRequest>("VPC", &name).await?.id;
        }
        Ok(request)
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
    Update as UpdateNatGatewayRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
