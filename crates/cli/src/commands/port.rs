//! Ports.

use clap::{Args, Subcommand};
use photon_api::plasmavmc::v1::{
    AttachInterfaceRequest, DetachInterfaceRequest, GetVmRequest, NetworkInterface,
};
use photon_api::prismnet::v1::{
    CreatePortRequest, DeletePortRequest, DetachPortRequest, GetPortRequest,
    GetSecurityGroupRequest, GetSubnetRequest, Labels, ListPortsRequest, Port, SecurityGroupIds,
    UpdatePortRequest,
};

use super::{NewLabels, OtherLabels, Renaming};
use crate::error::Failure;
use crate::noun::{Action, ByName, Changing, Desk, Flags, Noun, Once, USUAL, Whole, Words};
use crate::output::Column;

/// Ports of a subnet.
pub struct Ports;

impl Noun for Ports {
    type Resource = Port;
    type Get = GetPortRequest;
    type Filter = Filter;
    type Update = Update;
    type Delete = DeletePortRequest;

    const WORDS: Words = Words {
        noun: "port",
        create: "Make a port",
        update: "Change name, description, security groups or labels",
        delete: "Remove one that is attached to nothing",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("ADDRESS", "ip_address"),
        ("MAC", "mac_address"),
        ("STATUS", "status"),
        ("DEVICE", "device_id"),
        ("NODE", "node"),
    ];

    fn question(port: &Port) -> String {
        format!("Remove port {} ({})?", port.name, port.ip_address)
    }
}

impl Whole for Ports {
    type New = New;
    type Actions = PortAction;
}

/// What else a port can do.
#[derive(Subcommand)]
pub enum PortAction {
    /// Give it to a VM, which gets one more network interface, at once if it runs.
    Attach(Changing<Attach>),
    /// Take it from its VM: the interface goes, at once if the guest lets go of it.
    Detach(Changing<Detach>),
}

/// Which VM gets it.
#[derive(Args)]
pub struct Attach {
    /// Port (name or id).
    name: String,
    /// VM (name or id).
    vm: String,
    /// Name of the new interface in the VM. Default: the first of eth0, eth1, … that the VM has not.
    #[arg(long = "as", value_name = "INTERFACE")]
    interface: Option<String>,
}

/// From what it is taken.
#[derive(Args)]
pub struct Detach {
    #[command(flatten)]
    port: ByName,
    /// Take it from whatever has it, without asking the guest. For operators, when the device is gone.
    #[arg(long)]
    force: bool,
}

impl Action for PortAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::Attach(Changing { flags, once }) => attach(flags, &once, desk).await,
            Self::Detach(Changing { flags, once }) if flags.force => {
                let request = DetachPortRequest {
                    id: desk.id_of::<Ports>(&flags.port.name, &once).await?,
                    ..Default::default()
                };
                desk.output.one(&desk.make(&once, request).await?)
            }
            Self::Detach(Changing { flags, once }) => detach(&flags.port.name, &once, desk).await,
        }
    }
}

async fn attach(flags: Attach, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let vm = desk.find::<GetVmRequest>("VM", &flags.vm).await?;
    let port_id = desk.id_of::<Ports>(&flags.name, once).await?;
    let network = vm.spec.map(|spec| spec.network).unwrap_or_default();
    // The same again, if that is what was done.
    let there = network
        .iter()
        .find(|interface| interface.port_id == port_id);
    let free = |name: &String| !network.iter().any(|interface| interface.id == *name);
    let id = match (flags.interface, there) {
        (Some(id), _) => id,
        (None, Some(there)) => there.id.clone(),
        (None, None) => (0..)
            .map(|number| format!("eth{number}"))
            .find(free)
            .unwrap_or_default(),
    };
    let request = AttachInterfaceRequest {
        id: vm.id,
        interface: Some(NetworkInterface { id, port_id }),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

async fn detach(name: &str, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let port = desk.find::<GetPortRequest>("port", name).await?;
    if port.device_id.is_empty() {
        let text = format!("port {} is attached to nothing", port.name);
        return Err(Failure::Local(text));
    }
    let request = DetachInterfaceRequest {
        id: port.device_id,
        port_id: port.id,
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

/// A port to make.
#[derive(Args)]
pub struct New {
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
    #[command(flatten)]
    labels: NewLabels,
}

impl Flags for New {
    type Request = CreatePortRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<CreatePortRequest, Failure> {
        let subnet = desk.find::<GetSubnetRequest>("subnet", &self.subnet);
        Ok(CreatePortRequest {
            subnet_id: subnet.await?.id,
            name: self.name,
            ip_address: self.ip,
            ipv6_address: self.ipv6,
            description: self.description,
            security_group_ids: group_ids(desk, &self.security_groups).await?,
            labels: self.labels.map(),
            ..Default::default()
        })
    }
}

/// Which ports.
#[derive(Args)]
pub struct Filter {
    /// Only of this subnet (name or id).
    #[arg(long)]
    subnet: Option<String>,
}

impl Flags for Filter {
    type Request = ListPortsRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<ListPortsRequest, Failure> {
        let mut request = ListPortsRequest::default();
        if let Some(name) = self.subnet {
            request.subnet_id = desk.find::<GetSubnetRequest>("subnet", &name).await?.id;
        }
        Ok(request)
    }
}

/// What shall be otherwise.
#[derive(Args)]
pub struct Update {
    #[command(flatten)]
    meta: Renaming,
    /// Security group (name or id); replaces all; can be repeated.
    #[arg(long = "security-group")]
    security_groups: Vec<String>,
    #[command(flatten)]
    labels: OtherLabels,
}

impl Flags for Update {
    type Request = UpdatePortRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<UpdatePortRequest, Failure> {
        let ids = group_ids(desk, &self.security_groups).await?;
        Ok(UpdatePortRequest {
            name: self.meta.rename,
            description: self.meta.description,
            security_group_ids: (!ids.is_empty()).then_some(SecurityGroupIds { ids }),
            labels: self.labels.map().map(|labels| Labels { labels }),
            ..Default::default()
        })
    }
}

async fn group_ids(desk: &Desk<'_>, names: &[String]) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        let group = desk.find::<GetSecurityGroupRequest>("security group", name);
        ids.push(group.await?.id);
    }
    Ok(ids)
}
