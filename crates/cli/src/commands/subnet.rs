//! Subnets.

use clap::Args;
use photon_api::prismnet::v1::{
    CreateSubnetRequest, DeleteSubnetRequest, DnsServers, GetSubnetRequest, GetVpcRequest, Labels,
    ListSubnetsRequest, ListVpcsRequest, Subnet, UpdateSubnetRequest,
};
use serde_json::Value;

use super::vpc::Vpcs;
use super::{NewLabels, OtherLabels, Renaming, replaced};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{Desk, Flags, NoMore, Noun, Removal, USUAL, Whole, Words, name_ids};
use crate::output::Column;

/// Subnets of a VPC.
pub struct Subnets;

impl Noun for Subnets {
    type Resource = Subnet;
    type Get = GetSubnetRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteSubnetRequest;

    const WORDS: Words = Words {
        noun: "subnet",
        create: "Make a subnet",
        update: "Change name, description, DHCP or labels",
        delete: "Remove one that has no ports any more",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("CIDR", "cidr"),
        ("GATEWAY", "gateway"),
        ("DHCP", "dhcp_enabled"),
        ("VPC", "vpc_id"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        name_ids(rows, "vpc_id", &desk.names::<ListVpcsRequest>().await);
    }

    fn question(subnet: &Subnet) -> String {
        format!("Remove subnet {} ({})?", subnet.name, subnet.cidr)
    }
}

impl Whole for Subnets {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// A subnet to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: String,
    /// Its addresses, inside the VPC's, for example 10.0.1.0/24.
    #[arg(long)]
    cidr: String,
    /// Its gateway. Default: the first host address.
    #[arg(long, default_value = "", hide_default_value = true)]
    gateway: String,
    /// Guests configure their addresses themselves.
    #[arg(long)]
    no_dhcp: bool,
    /// Name server that DHCP gives out; can be repeated.
    #[arg(long = "dns")]
    dns_servers: Vec<String>,
    /// Its IPv6 /64, inside the VPC's.
    #[arg(long, default_value = "", hide_default_value = true)]
    ipv6_cidr: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

impl Flags for New {
    type Request = CreateSubnetRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<CreateSubnetRequest, Failure> {
        Ok(CreateSubnetRequest {
            vpc_id: desk.find::<GetVpcRequest>("VPC", &self.vpc).await?.id,
            name: self.name,
            cidr: self.cidr,
            gateway: self.gateway,
            dhcp_enabled: Some(!self.no_dhcp),
            description: self.description,
            dns_servers: self.dns_servers,
            ipv6_cidr: self.ipv6_cidr,
            labels: self.labels.map(),
            ..Default::default()
        })
    }
}

/// Which subnets.
#[derive(Args)]
pub struct Filter {
    /// Only of this VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: Option<String>,
}

impl Flags for Filter {
    type Request = ListSubnetsRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListSubnetsRequest, Failure> {
        let mut request = ListSubnetsRequest::default();
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
    /// Whether guests get their addresses by DHCP.
    #[arg(long)]
    dhcp: Option<bool>,
    /// Name server that DHCP gives out; replaces all; can be repeated.
    #[arg(long = "dns")]
    dns_servers: Vec<String>,
    /// Let DHCP give out no name server.
    #[arg(long, conflicts_with = "dns_servers")]
    no_dns: bool,
    #[command(flatten)]
    labels: OtherLabels,
}

impl Flags for Update {
    type Request = UpdateSubnetRequest;

    async fn request(self, _: &Desk<'_>) -> Result<UpdateSubnetRequest, Failure> {
        let dns_servers = replaced(self.dns_servers, self.no_dns);
        Ok(UpdateSubnetRequest {
            name: self.meta.rename,
            description: self.meta.description,
            dhcp_enabled: self.dhcp,
            dns_servers: dns_servers.map(|addresses| DnsServers { addresses }),
            labels: self.labels.map().map(|labels| Labels { labels }),
            ..Default::default()
        })
    }
}
