//! Peerings of VPCs.

use clap::{Args, Subcommand};
use photon_api::prismnet::v1::{
    AcceptPeeringRequest, CreatePeeringRequest, DeletePeeringRequest, GetPeeringRequest,
    GetVpcRequest, Labels, ListPeeringsRequest, ListVpcsRequest, Peering, RejectPeeringRequest,
    UpdatePeeringRequest,
};
use serde_json::Value;

use super::vpc::Vpcs;
use super::{NewLabels, OtherLabels, Renaming, confirm};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Action, Changing, Desk, Flags, Noun, Once, One, Removal, USUAL, Whole, Words, may_be_gone,
    name_ids, plain_request,
};
use crate::output::Column;

/// VPCs whose guests reach each other.
pub struct Peerings;

impl Noun for Peerings {
    type Resource = Peering;
    type Get = GetPeeringRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeletePeeringRequest;

    const WORDS: Words = Words {
        noun: "peering",
        create: "Ask another VPC for a peering, by which guests of both reach each other",
        list: "List the project's, and what others ask it for",
        delete: "End one; connections through it end",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("VPC", "vpc_id"),
        ("PEER", "peer_vpc_id"),
        ("OF", "peer_org_id"),
        ("RANGE", "peer_cidr"),
        ("STATE", "state"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        let vpcs = desk.names::<ListVpcsRequest>().await;
        name_ids(rows, "vpc_id", &vpcs);
        name_ids(rows, "peer_vpc_id", &vpcs);
    }

    fn question(peering: &Peering) -> String {
        format!(
            "End peering {}? Connections through it end, and only the side that asked can ask again.",
            peering.name
        )
    }
}

impl Whole for Peerings {
    type New = New;
    type Actions = PeeringAction;
    type Removal = Removal<Self>;
}

/// How what others ask for is answered.
#[derive(Subcommand)]
pub enum PeeringAction {
    /// Accept what another VPC asks for: guests of both then reach each other, as security groups permit.
    Accept(Changing<One<Peerings>>),
    /// Refuse what another VPC asks for.
    Reject(Changing<Refusal>),
}

/// What is refused.
#[derive(Args)]
pub struct Refusal {
    /// Name or id.
    #[arg(add = names::<Peerings>())]
    name: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Action for PeeringAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::Accept(Changing { flags, once }) => {
                let id = desk.id_of::<Peerings>(&flags.name, &once).await?;
                let request = AcceptPeeringRequest {
                    id,
                    ..Default::default()
                };
                desk.output.one(&desk.make(&once, request).await?)
            }
            Self::Reject(Changing { flags, once }) => reject(flags, &once, desk).await,
        }
    }
}

async fn reject(flags: Refusal, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let id = match desk.find::<GetPeeringRequest>("peering", &flags.name).await {
        Ok(found) => {
            let question = format!("Refuse what {} asks for?", found.peer_org_id);
            confirm(flags.yes, &question)?;
            found.id
        }
        Err(failure) => may_be_gone(failure, once, &flags.name)?,
    };
    let request = RejectPeeringRequest {
        id,
        ..Default::default()
    };
    desk.change(once, request).await?;
    desk.output
        .done(&format!("Peering {} is refused.", flags.name))
}

/// A peering to ask for.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: String,
    /// The other VPC: its id; its name too if it is in the same project.
    #[arg(long, value_name = "VPC")]
    peer_vpc: String,
    /// Organization of the other VPC. Default: the same.
    #[arg(
        long,
        value_name = "ORG",
        default_value = "",
        hide_default_value = true
    )]
    peer_org: String,
    /// Project of the other VPC. Default: the same.
    #[arg(
        long,
        value_name = "PROJECT",
        default_value = "",
        hide_default_value = true
    )]
    peer_project: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

impl Flags for New {
    type Request = CreatePeeringRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<CreatePeeringRequest, Failure> {
        let here = self.peer_org.is_empty() && self.peer_project.is_empty();
        let is_id = uuid::Uuid::try_parse(&self.peer_vpc).is_ok();
        let peer_vpc_id = match here && !is_id {
            true => desk.find::<GetVpcRequest>("VPC", &self.peer_vpc).await?.id,
            false => self.peer_vpc,
        };
        Ok(CreatePeeringRequest {
            name: self.name,
            vpc_id: self.vpc,
            peer_vpc_id,
            peer_org_id: self.peer_org,
            peer_project_id: self.peer_project,
            description: self.description,
            labels: self.labels.map(),
            ..Default::default()
        })
    }
}

/// Which peerings.
#[derive(Args)]
pub struct Filter {
    /// Only of this VPC (name or id).
    #[arg(long, add = names::<Vpcs>())]
    vpc: Option<String>,
}

impl Flags for Filter {
    type Request = ListPeeringsRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListPeeringsRequest, Failure> {
        let mut request = ListPeeringsRequest::default();
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
    Update as UpdatePeeringRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
