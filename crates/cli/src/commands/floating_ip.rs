//! Floating IPs.

use clap::{Args, Subcommand};
use photon_api::prismnet::v1::{
    AssociateFloatingIpRequest, CreateFloatingIpRequest, DeleteFloatingIpRequest,
    DisassociateFloatingIpRequest, FloatingIp, GetFloatingIpRequest, GetPortRequest, Labels,
    ListExternalNetworksRequest, ListFloatingIpsRequest, ListPortsRequest, UpdateFloatingIpRequest,
};
use serde_json::Value;

use super::external_network::ExternalNetworks;
use super::port::Ports;
use super::{NewLabels, OtherLabels, Renaming, confirm, present};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Action, Changing, Desk, Flags, Noun, Once, Removal, USUAL, Whole, Words, name_ids,
    plain_request,
};
use crate::output::Column;

/// Addresses of external networks for ports.
pub struct FloatingIps;

impl Noun for FloatingIps {
    type Resource = FloatingIp;
    type Get = GetFloatingIpRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeleteFloatingIpRequest;

    const WORDS: Words = Words {
        noun: "floating IP",
        create: "Take an address of an external network for the project",
        delete: "Give an address back that no port has",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("ADDRESS", "ip_address"),
        ("PORT", "port_id"),
        ("PORT'S ADDRESS", "fixed_ip_address"),
        ("EXTERNAL NETWORK", "external_network_id"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        if rows.iter().any(|row| row["port_id"] != "") {
            name_ids(rows, "port_id", &desk.names::<ListPortsRequest>().await);
        }
        let networks = desk.names::<ListExternalNetworksRequest>().await;
        name_ids(rows, "external_network_id", &networks);
    }

    fn question(floating: &FloatingIp) -> String {
        format!(
            "Give floating IP {} ({}) back? Somebody else may then get the address.",
            floating.name, floating.ip_address
        )
    }
}

impl Whole for FloatingIps {
    type New = New;
    type Actions = FloatingIpAction;
    type Removal = Removal<Self>;
}

/// What else a floating IP can do.
#[derive(Subcommand)]
pub enum FloatingIpAction {
    /// Give it to a port. A VPC without a NAT gateway gets one, if you may make that.
    Associate(Changing<Association>),
    /// Take it from its port: connections through it end.
    Disassociate(Changing<Disassociation>),
}

/// Which floating IP goes to which port.
#[derive(Args)]
pub struct Association {
    /// Name or id.
    #[arg(add = names::<FloatingIps>())]
    name: String,
    /// Port (name or id).
    #[arg(long, add = names::<Ports>())]
    port: String,
    /// Also if another port has it, whose connections through it then end.
    #[arg(long)]
    reassociate: bool,
}

/// Which floating IP is taken away.
#[derive(Args)]
pub struct Disassociation {
    /// Name or id.
    #[arg(add = names::<FloatingIps>())]
    name: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Action for FloatingIpAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::Associate(Changing { flags, once }) => associate(flags, &once, desk).await,
            Self::Disassociate(Changing { flags, once }) => disassociate(flags, &once, desk).await,
        }
    }
}

async fn associate(flags: Association, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let id = desk.id_of::<FloatingIps>(&flags.name, once).await?;
    let port = desk.find::<GetPortRequest>("port", &flags.port).await?;
    let request = AssociateFloatingIpRequest {
        id,
        port_id: port.id,
        reassociate: flags.reassociate,
        ..Default::default()
    };
    let answer = desk.change(once, request).await?;
    desk.output
        .one(&present(answer.floating_ip, "floating IP")?)
}

async fn disassociate(flags: Disassociation, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let id = match desk
        .find::<GetFloatingIpRequest>("floating IP", &flags.name)
        .await
    {
        Ok(floating) => {
            if !floating.port_id.is_empty() {
                let question = format!(
                    "Take floating IP {} ({}) from its port? Connections through it end.",
                    floating.name, floating.ip_address
                );
                confirm(flags.yes, &question)?;
            }
            floating.id
        }
        Err(failure) => crate::noun::may_be_gone(failure, once, &flags.name)?,
    };
    let request = DisassociateFloatingIpRequest {
        id,
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

/// A floating IP to take.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// External network (name or id). Default: the only one.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        add = names::<ExternalNetworks>()
    )]
    external_network: String,
    /// The address. Default: a free one.
    #[arg(long, default_value = "", hide_default_value = true)]
    ip: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
}

plain_request! {
    New as CreateFloatingIpRequest, |this| {
        name: this.name,
        external_network_id: this.external_network,
        ip_address: this.ip,
        description: this.description,
        labels: this.labels.map(),
    }
}

/// Which floating IPs.
#[derive(Args)]
pub struct Filter {
    /// Only of this port (name or id).
    #[arg(long, add = names::<Ports>())]
    port: Option<String>,
}

impl Flags for Filter {
    type Request = ListFloatingIpsRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListFloatingIpsRequest, Failure> {
        let mut request = ListFloatingIpsRequest::default();
        if let Some(name) = self.port {
            request.port_id = desk.find::<GetPortRequest>("port", &name).await?.id;
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
    Update as UpdateFloatingIpRequest, |this| {
        name: this.meta.rename,
        description: this.meta.description,
        labels: this.labels.map().map(|labels| Labels { labels }),
    }
}
