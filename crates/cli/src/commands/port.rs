//! Ports.

use clap::{Args, Subcommand};
use photon_api::plasmavmc::v1::{
    AttachInterfaceRequest, DetachInterfaceRequest, GetVmRequest, ListVmsRequest, NetworkInterface,
    VmPhase,
};
use photon_api::prismnet::v1::{
    CreatePortRequest, DeletePortRequest, DetachPortRequest, GetPortRequest,
    GetSecurityGroupRequest, GetSubnetRequest, Labels, ListPortsRequest, Port, SecurityGroupIds,
    UpdatePortRequest,
};

use serde_json::Value;

use super::security_group::SecurityGroups;
use super::subnet::Subnets;
use super::vm::Vms;
use super::{NewLabels, OtherLabels, Renaming, confirm, replaced};
use crate::completion::names;
use crate::error::Failure;
use crate::noun::{
    Action, Changing, Desk, Flags, Noun, Once, Removal, USUAL, Whole, Words, may_be_gone, name_ids,
};
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
        update: "Change name, description, security groups, source check or labels",
        delete: "Remove one that is attached to nothing",
        ..USUAL
    };
    const COLUMNS: &'static [Column] = &[
        ("ID", "id"),
        ("NAME", "name"),
        ("ADDRESS", "ip_address"),
        ("MAC", "mac_address"),
        ("STATUS", "status"),
        ("VM", "device_id"),
        ("HOST", "node"),
        ("AGE", "created_at"),
    ];

    async fn dress(desk: &Desk<'_>, rows: &mut [Value]) {
        if rows.iter().any(|row| row["device_id"] != "") {
            name_ids(rows, "device_id", &desk.names::<ListVmsRequest>().await);
        }
    }

    fn question(port: &Port) -> String {
        format!("Remove port {} ({})?", port.name, port.ip_address)
    }
}

impl Whole for Ports {
    type New = New;
    type Actions = PortAction;
    type Removal = Removal<Self>;
}

/// What else a port can do.
#[derive(Subcommand)]
pub enum PortAction {
    /// Give it to a VM, which gets one more network interface, at once if it runs.
    Attach(Changing<Attachment>),
    /// Take it from its VM: the interface goes, at once if the guest lets go of it. Asks while the VM runs.
    Detach(Changing<Detachment>),
}

/// Which port goes to which VM.
#[derive(Args)]
pub struct Attachment {
    /// Name or id.
    #[arg(add = names::<Ports>())]
    name: String,
    /// VM (name or id).
    #[arg(long, add = names::<Vms>())]
    vm: String,
    /// Name of the new interface in the VM. Default: the first of eth0, eth1, … that the VM has not.
    #[arg(long = "as", value_name = "INTERFACE")]
    interface: Option<String>,
}

/// Which port is taken away.
#[derive(Args)]
pub struct Detachment {
    /// Name or id.
    #[arg(add = names::<Ports>())]
    name: String,
    /// Take it from whatever has it, without asking the guest. For operators, when the device is gone.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl Action for PortAction {
    async fn carry_out(self, desk: &Desk<'_>) -> Result<(), Failure> {
        match self {
            Self::Attach(Changing { flags, once }) => attach(flags, &once, desk).await,
            Self::Detach(Changing { flags, once }) => detach(flags, &once, desk).await,
        }
    }
}

async fn attach(flags: Attachment, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
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
        interface: Some(NetworkInterface {
            id,
            port_id,
            ..Default::default()
        }),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

async fn detach(flags: Detachment, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let port = match desk.find::<GetPortRequest>("port", &flags.name).await {
        Ok(port) => port,
        Err(failure) if flags.force => {
            let id = may_be_gone(failure, once, &flags.name)?;
            return force(id, once, desk).await;
        }
        Err(failure) => return Err(failure),
    };
    if let Some(vm) = runs_with(desk, &port).await {
        confirm(
            flags.yes,
            &format!(
                "VM {vm} runs, and loses port {} ({}) now. Take it away?",
                port.name, port.ip_address
            ),
        )?;
    }
    if flags.force {
        return force(port.id, once, desk).await;
    }
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

async fn force(id: String, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let request = DetachPortRequest {
        id,
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

/// The VM that has the port, unless that is known to be stopped.
async fn runs_with(desk: &Desk<'_>, port: &Port) -> Option<String> {
    if port.device_id.is_empty() {
        return None;
    }
    match desk.find::<GetVmRequest>("VM", &port.device_id).await {
        Ok(vm) if vm.phase() == VmPhase::Stopped => None,
        Ok(vm) => Some(vm.name),
        Err(_) => Some(port.device_id.clone()),
    }
}

/// A port to make.
#[derive(Args)]
pub struct New {
    /// Its name, unique in the project.
    name: String,
    /// Subnet (name or id).
    #[arg(long, add = names::<Subnets>())]
    subnet: String,
    /// Its address. Default: a free one.
    #[arg(long, default_value = "", hide_default_value = true)]
    ip: String,
    /// Its IPv6 address. Default: made from its MAC, where the subnet has IPv6.
    #[arg(long, default_value = "", hide_default_value = true)]
    ipv6: String,
    /// Security group (name or id); can be repeated. Default: the project's `default`.
    #[arg(long = "security-group", add = names::<SecurityGroups>())]
    security_groups: Vec<String>,
    /// Let its VM send from addresses that are not the port's, as one that routes for others. Needs the right
    /// network:ports:disableSourceCheck.
    #[arg(long)]
    no_source_check: bool,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
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
            source_check: self.no_source_check.then_some(false),
            ..Default::default()
        })
    }
}

/// Which ports.
#[derive(Args)]
pub struct Filter {
    /// Only of this subnet (name or id).
    #[arg(long, add = names::<Subnets>())]
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
    #[arg(long = "security-group", add = names::<SecurityGroups>())]
    security_groups: Vec<String>,
    /// Take it out of all security groups: then nothing reaches it and it reaches nothing.
    #[arg(long, conflicts_with = "security_groups")]
    no_security_groups: bool,
    /// Let its VM send from its own addresses alone.
    #[arg(long, conflicts_with = "no_source_check")]
    source_check: bool,
    /// Let its VM send from other addresses too, as one that routes for others. Needs the right
    /// network:ports:disableSourceCheck.
    #[arg(long)]
    no_source_check: bool,
    #[command(flatten)]
    labels: OtherLabels,
}

impl Flags for Update {
    type Request = UpdatePortRequest;

    async fn request(self, desk: &Desk<'_>) -> Result<UpdatePortRequest, Failure> {
        let ids = group_ids(desk, &self.security_groups).await?;
        let said = self.source_check || self.no_source_check;
        Ok(UpdatePortRequest {
            name: self.meta.rename,
            description: self.meta.description,
            security_group_ids: replaced(ids, self.no_security_groups)
                .map(|ids| SecurityGroupIds { ids }),
            labels: self.labels.map().map(|labels| Labels { labels }),
            source_check: said.then_some(self.source_check),
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
