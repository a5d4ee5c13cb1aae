//! `photon vm create`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use photon_api::plasmavmc::v1::{
    CreateVmRequest, Disk, GetImageRequest, ImageFormat, MetadataEndpoint, NetworkInterface,
    PowerState, RestartPolicy, VmSpec,
};
use photon_api::prismnet::v1::GetPortRequest;

use super::super::external_network::ExternalNetworks;
use super::super::image::Images;
use super::super::port::Ports;
use super::super::security_group::SecurityGroups;
use super::super::size::{parse_bytes, parse_mib};
use super::super::ssh_key::{Given, SshKeys, read_keys};
use super::super::subnet::Subnets;
use super::super::{NewLabels, read_user_data};
use super::metadata::Metadata;
use super::outside;
use super::wait::{Until, Wait, finish};
use crate::completion::{hosts, names};
use crate::error::Failure;
use crate::noun::{Desk, Once};

/// A VM to make.
#[derive(Args)]
pub struct NewVm {
    /// Its name, unique in the project.
    name: String,
    /// Virtual CPUs.
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// Memory in MiB, or with a unit: 2G.
    #[arg(long, value_parser = parse_mib, default_value = "512")]
    memory: u64,
    /// Image (name or id) of a disk to boot from, or of a kernel and initrd.
    #[arg(long, add = names::<Images>())]
    image: Option<String>,
    /// Size of the boot disk, for example 20G. Default: the image's.
    #[arg(long, value_parser = parse_bytes, default_value = "0", hide_default_value = true)]
    disk_size: u64,
    /// A further, empty disk of this size; can be repeated.
    #[arg(long = "disk", value_parser = parse_bytes, value_name = "SIZE")]
    disks: Vec<u64>,
    /// Kernel command line, instead of the image's.
    #[arg(long, default_value = "", hide_default_value = true)]
    command_line: String,
    /// Subnet (name or id) in which to give it a port, which goes with it; can be repeated. Default: the project's subnet
    /// `default`, which is made if there is none.
    #[arg(long = "network", value_name = "SUBNET", add = names::<Subnets>())]
    networks: Vec<String>,
    /// Security group (name or id) of the ports that it is given; can be repeated. Default: the project's group `default`.
    #[arg(long = "security-group", value_name = "GROUP", conflicts_with = "no_network", add = names::<SecurityGroups>())]
    security_groups: Vec<String>,
    /// Port (name or id) of yours to plug in, which stays when the VM goes; can be repeated. Interfaces are eth0, eth1, …: first
    /// those of `--port`, then those of `--network`.
    #[arg(long = "port", add = names::<Ports>())]
    ports: Vec<String>,
    /// Give it no network.
    #[arg(long, conflicts_with_all = ["networks", "ports"])]
    no_network: bool,
    /// Give it an address of an external network too, by which it is reached from outside and `photon ssh` gets in; the
    /// network's name where there are several. Its new ports are in the group `ssh` then, which is made if there is none, unless
    /// `--security-group` names others.
    #[arg(long, value_name = "NETWORK", num_args = 0..=1, default_missing_value = "", conflicts_with = "no_network", add = names::<ExternalNetworks>())]
    floating_ip: Option<String>,
    /// File with cloud-init user data, plain or compressed with gzip; `-` is standard input.
    #[arg(long)]
    user_data: Option<PathBuf>,
    /// SSH key for the guest's user: a name (or id) of `photon ssh-key`, or else a file with public keys, such as
    /// ~/.ssh/id_ed25519.pub; can be repeated.
    #[arg(long = "ssh-key", value_name = "NAME|FILE", add = names::<SshKeys>())]
    ssh_key: Vec<String>,
    /// File with SSH public keys for the guest's user, in authorized_keys format.
    #[arg(long)]
    ssh_keys: Option<PathBuf>,
    /// The guest's host name. Default: the VM's name.
    #[arg(long, default_value = "", hide_default_value = true)]
    hostname: String,
    #[command(flatten)]
    metadata: Metadata,
    /// Tell the guest nothing of itself at 169.254.169.254.
    #[arg(long, conflicts_with_all = ["metadata_tokens", "metadata_hops"])]
    no_metadata: bool,
    /// What happens when the guest ends by itself.
    #[arg(long, value_enum, default_value_t = Restart::OnFailure)]
    restart: Restart,
    /// Make it, but do not start it.
    #[arg(long, conflicts_with = "wait")]
    stopped: bool,
    /// Host to place it on (operators).
    #[arg(
        long,
        visible_alias = "node",
        add = hosts(),
        default_value = "",
        hide_default_value = true
    )]
    host: String,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    #[command(flatten)]
    labels: NewLabels,
    #[command(flatten)]
    wait: Wait,
}

/// What happens when the guest ends by itself.
#[derive(Clone, Copy, ValueEnum)]
pub enum Restart {
    /// Restart when it crashed.
    OnFailure,
    /// Restart always.
    Always,
    /// Leave it.
    Never,
}

/// `photon vm create`
pub async fn run(new: NewVm, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let user_data = read_user_data(new.user_data.as_deref())?;
    let mut spec = VmSpec {
        vcpus: new.vcpus,
        memory_mib: new.memory,
        kernel_command_line: new.command_line,
        user_data: user_data.text.unwrap_or_default(),
        user_data_binary: user_data.binary.unwrap_or_default(),
        hostname: new.hostname,
        metadata_options: new.metadata.options(match new.no_metadata {
            true => MetadataEndpoint::Disabled,
            false => MetadataEndpoint::Unspecified,
        }),
        restart_policy: match new.restart {
            Restart::OnFailure => RestartPolicy::OnFailure,
            Restart::Always => RestartPolicy::Always,
            Restart::Never => RestartPolicy::Never,
        }
        .into(),
        ..Default::default()
    };
    if let Some(name) = &new.image {
        let image = desk.find::<GetImageRequest>("image", name).await?;
        if image.format() == ImageFormat::KernelInitrd {
            spec.kernel_image_id = image.id;
        } else {
            spec.disks.push(Disk {
                id: "root".into(),
                image_id: image.id,
                size_bytes: new.disk_size,
            });
        }
    }
    for (at, size) in new.disks.iter().enumerate() {
        spec.disks.push(Disk {
            id: format!("disk{}", at + 1),
            image_id: String::new(),
            size_bytes: *size,
        });
    }
    for name in &new.ports {
        spec.network.push(NetworkInterface {
            port_id: desk.find::<GetPortRequest>("port", name).await?.id,
            ..Default::default()
        });
    }
    let mut networks = new.networks;
    if networks.is_empty() && spec.network.is_empty() && !new.no_network {
        // The project's default one.
        networks.push(String::new());
    }
    if networks.is_empty() && !new.security_groups.is_empty() {
        return Err(Failure::Local(
            "--security-group is for ports that the VM is given: a port of --port has its groups (`photon port update`)"
                .into(),
        ));
    }
    let mut security_groups = new.security_groups;
    if new.floating_ip.is_some() && security_groups.is_empty() && !networks.is_empty() {
        outside::ssh_group(once, desk).await?;
        security_groups = vec!["default".to_owned(), outside::SSH_GROUP.to_owned()];
    }
    for subnet_id in networks {
        spec.network.push(NetworkInterface {
            subnet_id,
            security_group_ids: security_groups.clone(),
            ..Default::default()
        });
    }
    for (at, interface) in spec.network.iter_mut().enumerate() {
        interface.id = format!("eth{at}");
    }
    let ssh_keys = Given::of(&new.ssh_key, desk).await?;
    spec.ssh_authorized_keys = ssh_keys.keys;
    if let Some(path) = &new.ssh_keys {
        spec.ssh_authorized_keys.extend(read_keys(path)?);
    }
    let request = CreateVmRequest {
        name: new.name,
        spec: Some(spec),
        description: new.description,
        labels: new.labels.map(),
        node: new.host,
        ssh_key_ids: ssh_keys.ids,
        power_state: if new.stopped {
            PowerState::Off
        } else {
            PowerState::On
        }
        .into(),
        ..Default::default()
    };
    let floating = match &new.floating_ip {
        Some(network) => Some(outside::take(&request.name, network, once, desk).await?),
        None => None,
    };
    let made = desk.make(once, request).await;
    let vm = match (made, &floating) {
        (Ok(vm), _) => vm,
        (Err(failure), floating) => {
            if let Some(floating) = floating {
                outside::give_back(floating, once, desk).await;
            }
            return Err(failure);
        }
    };
    if let Some(floating) = &floating {
        outside::lead(floating, &vm, once, desk).await?;
    }
    finish(desk, vm, &new.wait, Until::Running).await
}
