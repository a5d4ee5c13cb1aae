//! From the wire to [`Desired`]. A VM that is not understood is refused alone, with the reason.

use std::collections::BTreeMap;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use photon_api::plasmavmc::v1 as wire;
use photon_resource::{ImageId, PortId, VmId, tap_name};

use crate::plan::desired::{
    Addressing, BaseImage, Desired, DesiredDisk, DesiredInterface, DesiredKernel, DesiredVm,
    DiskFormat, ImageFile, ImageSource, MetadataOptions, NotOne, Part,
};
use crate::plan::desired::{PowerState, RestartPolicy};

#[cfg(test)]
mod tests;

/// Why a VM is not made. The text is also the report to its owner.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("it has no spec")]
    NoSpec,
    #[error("its power state is unspecified")]
    NoPowerState,
    #[error("this host has no {0}, only QEMU")]
    Hypervisor(&'static str),
    #[error("it has {interfaces} interfaces and {ports} ports")]
    Ports { interfaces: usize, ports: usize },
    #[error("{vcpus} vCPUs and {memory_mib} MiB are not 1 to 64 and 64 to 1048576")]
    Size { vcpus: u32, memory_mib: u64 },
    #[error("port {port} has the TAP {tap}, not '{given}'")]
    Tap {
        port: PortId,
        tap: String,
        given: String,
    },
    #[error("'{0}' is no MAC address")]
    Mac(String),
    #[error("'{0}' is not the address that a port needs there")]
    Address(String),
    #[error("MTU {0} is not 68 to 65535")]
    Mtu(u32),
    #[error("image '{0}' is not described")]
    NoImage(String),
    #[error("image '{image}' has no {part}")]
    NoPart { image: String, part: &'static str },
    #[error("image '{0}' is no disk")]
    NoDisk(String),
    #[error("disk '{0}' has no size")]
    NoSize(String),
    #[error(transparent)]
    Text(#[from] NotOne),
    #[error("{0}")]
    Id(String),
}

impl From<photon_resource::Error> for Refused {
    fn from(error: photon_resource::Error) -> Self {
        Self::Id(error.to_string())
    }
}

/// What the server wants of this host.
pub fn desired(message: &wire::DesiredVms) -> Desired {
    let mut desired = Desired {
        revision: message.revision,
        store_epoch: message.store_epoch.clone(),
        ..Desired::default()
    };
    for vm in &message.vms {
        let Ok(id) = vm.id.parse::<VmId>() else {
            tracing::error!(id = vm.id, "the server wants a VM whose id is no UUID");
            continue;
        };
        match desired_vm(id, vm) {
            Ok(vm) => {
                desired.vms.insert(id, vm);
            }
            Err(reason) => {
                tracing::error!(vm = %id, %reason, "the server wants a VM that is not understood");
                desired.refused.insert(id, reason.to_string());
            }
        }
    }
    desired
}

fn desired_vm(id: VmId, vm: &wire::DesiredVm) -> Result<DesiredVm, Refused> {
    let spec = vm.spec.as_ref().ok_or(Refused::NoSpec)?;
    let images = Images::new(&vm.images);
    let power = match vm.power_state() {
        wire::PowerState::On => PowerState::On,
        wire::PowerState::Off => PowerState::Off,
        wire::PowerState::Unspecified => return Err(Refused::NoPowerState),
    };
    let restart_policy = match spec.restart_policy() {
        wire::RestartPolicy::Unspecified | wire::RestartPolicy::OnFailure => {
            RestartPolicy::OnFailure
        }
        wire::RestartPolicy::Always => RestartPolicy::Always,
        wire::RestartPolicy::Never => RestartPolicy::Never,
    };
    match spec.hypervisor() {
        wire::HypervisorKind::Unspecified | wire::HypervisorKind::Qemu => {}
        wire::HypervisorKind::Firecracker => {
            return Err(Refused::Hypervisor("Firecracker"));
        }
    }
    if vm.ports.len() != spec.network.len() {
        return Err(Refused::Ports {
            interfaces: spec.network.len(),
            ports: vm.ports.len(),
        });
    }
    if !(1..=64).contains(&spec.vcpus) || !(64..=1_048_576).contains(&spec.memory_mib) {
        return Err(Refused::Size {
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
        });
    }
    let kernel = match spec.kernel_image_id.as_str() {
        "" => None,
        image => Some(images.kernel(image, &spec.kernel_command_line)?),
    };
    Ok(DesiredVm {
        org: vm.org_id.parse()?,
        project: vm.project_id.parse()?,
        hostname: match spec.hostname.as_str() {
            "" => vm.name.clone(),
            hostname => hostname.to_owned(),
        },
        name: match vm.name.as_str() {
            "" => id.to_string(),
            name => name.to_owned(),
        },
        spec_revision: vm.spec_revision,
        vcpus: spec.vcpus,
        memory_mib: spec.memory_mib,
        disks: spec
            .disks
            .iter()
            .map(|disk| images.disk(disk))
            .collect::<Result<_, _>>()?,
        kernel,
        interfaces: vm.ports.iter().map(interface).collect::<Result<_, _>>()?,
        user_data: spec.user_data.clone(),
        user_data_binary: STANDARD.encode(&spec.user_data_binary),
        user_data_changes: vm.user_data_changes,
        ssh_authorized_keys: spec.ssh_authorized_keys.clone(),
        restart_policy,
        power,
        reboot_generation: vm.reboot_generation,
        force: vm.force,
        stop_timeout_seconds: match vm.stop_timeout_seconds {
            0 => 30,
            seconds => seconds.min(600),
        },
        deleting: vm.deleting,
        metadata: metadata(spec.metadata_options.unwrap_or_default()),
    })
}

/// What is not understood is taken for the stricter.
fn metadata(given: wire::MetadataOptions) -> MetadataOptions {
    let usual = MetadataOptions::default();
    MetadataOptions {
        enabled: match wire::MetadataEndpoint::try_from(given.endpoint) {
            Ok(wire::MetadataEndpoint::Unspecified) => usual.enabled,
            endpoint => endpoint == Ok(wire::MetadataEndpoint::Enabled),
        },
        tokens_required: given.http_tokens() != wire::HttpTokens::Optional,
        hop_limit: match u8::try_from(given.hop_limit) {
            Ok(hops @ 1..=64) => hops,
            _ => usual.hop_limit,
        },
    }
}

/// The TAP's name must be the one that follows from the port: the server can't make a VM use another.
fn interface(port: &wire::VmPort) -> Result<DesiredInterface, Refused> {
    let id: PortId = port.port_id.parse()?;
    let tap = tap_name(id);
    if port.interface_name != tap {
        return Err(Refused::Tap {
            port: id,
            tap,
            given: port.interface_name.clone(),
        });
    }
    let octets: Vec<&str> = port.mac_address.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    if octets.len() != 6 || !octets.iter().all(is_octet) {
        return Err(Refused::Mac(port.mac_address.clone()));
    }
    Ok(DesiredInterface {
        tap,
        mac: port.mac_address.to_ascii_lowercase(),
        mtu: match port.mtu {
            0 => 0,
            mtu @ 68..=65_535 => mtu,
            mtu => return Err(Refused::Mtu(mtu)),
        },
        name: port.interface_id.clone(),
        addressing: port.addressing.as_ref().map(addressing).transpose()?,
    })
}

fn addressing(given: &wire::VmAddressing) -> Result<Addressing, Refused> {
    fn parse<T: FromStr>(text: &str) -> Result<T, Refused> {
        text.parse().map_err(|_| Refused::Address(text.to_owned()))
    }
    let ipv6 = match given.ipv6_address.as_str() {
        "" => None,
        address => Some((parse(address)?, parse(&given.ipv6_gateway)?)),
    };
    let dns = given.dns_servers.iter().map(|server| parse(server));
    Ok(Addressing {
        address: parse(&given.address)?,
        gateway: parse(&given.gateway)?,
        dhcp: given.dhcp,
        dns: dns.collect::<Result<_, _>>()?,
        ipv6,
    })
}

struct Images<'a>(BTreeMap<&'a str, &'a wire::Image>);

impl<'a> Images<'a> {
    fn new(images: &'a [wire::Image]) -> Self {
        Self(
            images
                .iter()
                .map(|image| (image.id.as_str(), image))
                .collect(),
        )
    }

    fn find(&self, id: &str) -> Result<&'a wire::Image, Refused> {
        self.0
            .get(id)
            .copied()
            .ok_or_else(|| Refused::NoImage(id.to_owned()))
    }

    fn file(
        image: &wire::Image,
        wanted: wire::ImagePart,
        part: Part,
    ) -> Result<ImageFile, Refused> {
        let file = image
            .files
            .iter()
            .find(|file| file.part() == wanted)
            .ok_or_else(|| Refused::NoPart {
                image: image.id.clone(),
                part: wanted.as_str_name(),
            })?;
        let id: ImageId = image.id.parse()?;
        Ok(ImageFile {
            sha256: file.sha256.parse()?,
            size_bytes: file.size_bytes,
            source: ImageSource::Registry { image: id, part },
        })
    }

    fn disk(&self, disk: &wire::Disk) -> Result<DesiredDisk, Refused> {
        let image = match disk.image_id.as_str() {
            "" => None,
            id => Some(self.find(id)?),
        };
        let base = image
            .map(|image| {
                let format = match image.format() {
                    wire::ImageFormat::Raw => DiskFormat::Raw,
                    wire::ImageFormat::Qcow2 => DiskFormat::Qcow2,
                    _ => return Err(Refused::NoDisk(image.id.clone())),
                };
                let file = Self::file(image, wire::ImagePart::Disk, Part::Disk)?;
                Ok(BaseImage { file, format })
            })
            .transpose()?;
        let size_bytes = match (disk.size_bytes, image) {
            (0, Some(image)) => image.virtual_size_bytes,
            (size, _) => size,
        };
        if size_bytes == 0 {
            return Err(Refused::NoSize(disk.id.clone()));
        }
        Ok(DesiredDisk {
            id: disk.id.parse()?,
            image: base,
            size_bytes,
        })
    }

    fn kernel(&self, id: &str, command_line: &str) -> Result<DesiredKernel, Refused> {
        let image = self.find(id)?;
        let initrd = image
            .files
            .iter()
            .any(|file| file.part() == wire::ImagePart::Initrd);
        Ok(DesiredKernel {
            kernel: Self::file(image, wire::ImagePart::Kernel, Part::Kernel)?,
            initrd: initrd
                .then(|| Self::file(image, wire::ImagePart::Initrd, Part::Initrd))
                .transpose()?,
            command_line: match command_line {
                "" => image.kernel_command_line.clone(),
                line => line.to_owned(),
            },
        })
    }
}
