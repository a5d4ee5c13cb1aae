//! Routes of VPCs.

use clap::{ArgGroup, Args};
use photon_api::prismnet::v1::{
    CreateRouteRequest, DeleteRouteRequest, GetRouteRequest, GetVpcRequest, Labels,
    ListNatGatewaysRequest, ListPortsRequest, ListRoutesRequest, ListVpcsRequest, Route,
    RouteTarget, UpdateRouteRequest,
};
use serde_json::Value;

use super::port::Ports;
use super::vpc::Vpcs;
use super::{NewLabels, OtherLabels, Renaming};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Desk, Flags, NoMore, Noun, Removal, USUAL, Whole, Words, name_ids, plain_request,
};
use crate::output::Column;

/// Where VPCs send what is for others.
pub struct Routes;

impl Noun for Routes {
    type Resource = Route;
    type Get = GetRouteRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteRouteRequest;

    const WORDS: Words = Words {
        noun: "route",
        create: "Make a route of a VPC: to a port that sends on for others, to its NAT gateway, or nowhere",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("VPC", "vpc_id"),
        ("DESTINATION", "destination"),
        ("TO", "target"),
        ("WHICH", "target_id"),
        ("LABELS", "labels"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        name_ids(rows, "vpc_id", &desk.names::<ListVpcsRequest>().await);
        if rows.iter().any(|row| row["target_id"] != "") {
            let mut named = desk.names::<ListPortsRequest>().await;
            named.extend(desk.names::<ListNatGatewaysRequest>().await);
            name_ids(rows, "target_id", &named);
        }
    }

    fn question(route: &Route) -> String {
        format!(
            "Remove route {}? What is for {} then goes as the VPC's other routes say.",
            route.name, route.destination
        )
    }
}

impl Whole for Routes {
    type New = New;
    type Actions = NoMore;
    type Removal = Removal<Self>;
}

/// A route to make.
#[derive(Args)]
#[command(group = ArgGroup::new("target").required(true))]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: String,
    /// What it is for: a network such as 192.168.0.0/16; 0.0.0.0/0 is all that nothing else is said of.
    #[arg(long, value_name = "CIDR")]
    destination: String,
    /// To this port (name or id) of the VPC, which needs its source check off: `photon port update PORT --no-source-check`.
    #[arg(long, value_name = "PORT", group = "target", add = names::<Ports>())]
    to_port: Option<String>,
    /// To the VPC's NAT gateway.
    #[arg(long, group = "target")]
    to_nat_gateway: bool,
    /// Nowhere: drop it.
    #[arg(long, group = "target")]
    blackhole: bool,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

impl New {
    fn target(&self) -> RouteTarget {
        match (self.to_nat_gateway, self.blackhole) {
            (true, _) => RouteTarget::NatGateway,
            (_, true) => RouteTarget::Blackhole,
            _ => RouteTarget::Port,
        }
    }
}

plain_request! {
    New as CreateRouteRequest, |this| {
        target: this.target().into(),
        name: this.name,
        vpc_id: this.vpc,
        destination: this.destination,
        target_id: this.to_port.unwrap_or_default(),
        description: this.description,
        labels: this.labels.map(),
    }
}

/// Which routes.
#[derive(Args)]
pub struct Filter {
    /// Only of this VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: Option<String>,
}

impl Flags for Filter {
    type Request = ListRoutesRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListRoutesRequest, Failure> {
        let mut request = ListRoutesRequest::default();
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
    Update as UpdateRouteRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
