//! From the wire to [`Desired`]. A VM that is not understood is refused alone, with the reason.

use std::collections::BTreeMap;

use photon_api::plasmavmc::v1 as wire;
use photon_resource::{ImageId, PortId, VmId, tap_name};

use super::desired::{
    BaseImage, Desired, DesiredDisk, DesiredInterface, DesiredKernel, DesiredVm, DiskFormat,
    ImageFile, ImageSource, Part,
};
use crate::model::{PowerState, RestartPolicy};

#[cfg(test)]
mod tests;

/// What the server wants of this host.
pub fn desired(message: wire::DesiredVms) -> Desired {
    let mut desired = Desired {
        revision: message.revision,
        ..Desired::default()
    };
    for vm in message.vms {
        let Ok(id) = vm.id.parse::<VmId>() else {
            tracing::error!(id = vm.id, "the server wants a VM whose id is no UUID");
            continue;
        };
        match desired_vm(id, vm) {
            Ok(vm) => {
                desired.vms.insert(id, vm);
            }
            Err(reason) => {
                tracing::error!(vm = %id, reason, "the server wants a VM that is not understood");
                desired.refused.insert(id, reason);
            }
        }
    }
    desired
}

fn desired_vm(id: VmId, vm: wire::DesiredVm) -> Result<DesiredVm, String> {
    let spec = vm.spec.clone().ok_or("it has no spec")?;
    let images = Images::new(&vm.images);
    let power = match vm.power_state() {
        wire::PowerState::On => PowerState::On,
        wire::PowerState::Off => PowerState::Off,
        wire::PowerState::Unspecified => return Err("its power state is unspecified".to_owned()),
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
            return Err("this host has no Firecracker, only QEMU".to_owned());
        }
    }
    if vm.ports.len() != spec.network.len() {
        return Err(format!(
            "it has {} interfaces and {} ports",
            spec.network.len(),
            vm.ports.len()
        ));
    }
    if !(1..=64).contains(&spec.vcpus) || !(64..=1_048_576).contains(&spec.memory_mib) {
        return Err(format!(
            "{} vCPUs and {} MiB are not 1 to 64 and 64 to 1048576",
            spec.vcpus, spec.memory_mib
        ));
    }
    let kernel = match spec.kernel_image_id.as_str() {
        "" => None,
        image => Some(images.kernel(image, &spec.kernel_command_line)?),
    };
    let text = |error: photon_resource::Error| error.to_string();
    Ok(DesiredVm {
        org: vm.org_id.parse().map_err(text)?,
        project: vm.project_id.parse().map_err(text)?,
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
        user_data: spec.user_data,
        ssh_authorized_keys: spec.ssh_authorized_keys,
        restart_policy,
        power,
        reboot_generation: vm.reboot_generation,
        force: vm.force,
        stop_timeout_seconds: match vm.stop_timeout_seconds {
            0 => 30,
            seconds => seconds.min(600),
        },
        deleting: vm.deleting,
    })
}

/// The TAP's name must be the one that follows from the port: the server can't make a VM use another.
fn interface(port: &wire::VmPort) -> Result<DesiredInterface, String> {
    let id: PortId = port
        .port_id
        .parse()
        .map_err(|error: photon_resource::Error| error.to_string())?;
    let tap = tap_name(id);
    if port.interface_name != tap {
        return Err(format!(
            "port {id} has the TAP {tap}, not '{}'",
            port.interface_name
        ));
    }
    let octets: Vec<&str> = port.mac_address.split(':').collect();
    let is_octet = |octet: &&str| octet.len() == 2 && u8::from_str_radix(octet, 16).is_ok();
    if octets.len() != 6 || !octets.iter().all(is_octet) {
        return Err(format!("'{}' is no MAC address", port.mac_address));
    }
    Ok(DesiredInterface {
        tap,
        mac: port.mac_address.to_ascii_lowercase(),
        mtu: match port.mtu {
            0 => 0,
            mtu @ 68..=65_535 => mtu,
            mtu => return Err(format!("MTU {mtu} is not 68 to 65535")),
        },
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

    fn find(&self, id: &str) -> Result<&'a wire::Image, String> {
        self.0
            .get(id)
            .copied()
            .ok_or_else(|| format!("image '{id}' is not described"))
    }

    fn file(image: &wire::Image, wanted: wire::ImagePart, part: Part) -> Result<ImageFile, String> {
        let file = image
            .files
            .iter()
            .find(|file| file.part() == wanted)
            .ok_or_else(|| format!("image '{}' has no {}", image.id, wanted.as_str_name()))?;
        let id: ImageId = image
            .id
            .parse()
            .map_err(|error: photon_resource::Error| error.to_string())?;
        Ok(ImageFile {
            sha256: file.sha256.parse()?,
            size_bytes: file.size_bytes,
            source: ImageSource::Registry { image: id, part },
        })
    }

    fn disk(&self, disk: &wire::Disk) -> Result<DesiredDisk, String> {
        let image = match disk.image_id.as_str() {
            "" => None,
            id => Some(self.find(id)?),
        };
        let base = image
            .map(|image| {
                let format = match image.format() {
                    wire::ImageFormat::Raw => DiskFormat::Raw,
                    wire::ImageFormat::Qcow2 => DiskFormat::Qcow2,
                    _ => return Err(format!("image '{}' is no disk", image.id)),
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
            return Err(format!("disk '{}' has no size", disk.id));
        }
        Ok(DesiredDisk {
            id: disk.id.parse()?,
            image: base,
            size_bytes,
        })
    }

    fn kernel(&self, id: &str, command_line: &str) -> Result<DesiredKernel, String> {
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
