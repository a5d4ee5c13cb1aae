//! Virtual machines.

use std::time::SystemTime;

use photon_resource::{ImageId, OrgId, PortId, PrincipalId, ProjectId, ResourceName, Scope, VmId};

use super::{Hypervisor, Labels};
use crate::phase::{Stage, Status};

mod spec;
#[cfg(test)]
mod tests;

pub(crate) use spec::check_command_line;
pub use spec::{MAX_DISK_BYTES, MIN_DISK_BYTES, check_memory, check_user_data, check_vcpus};

/// What the owner wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerState {
    On,
    Off,
}

/// When the host starts it again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    OnFailure,
    Always,
    Never,
}

/// A disk. `I` is what refers to the image: the text of the request (an id or a name), then its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk<I = ImageId> {
    pub id: String,
    /// What it starts from; `None`: an empty disk.
    pub image: Option<I>,
    /// Bytes that the guest sees. 0 only until the image is known.
    pub size_bytes: u64,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub id: String,
    pub port_id: PortId,
}

/// What a VM takes of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub vcpus: u32,
    pub memory_mib: u64,
}

/// What a VM is made of. `I` as for [`Disk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec<I = ImageId> {
    pub size: Size,
    pub disks: Vec<Disk<I>>,
    /// A kernel and initrd to boot directly; `None`: the firmware boots the first disk.
    pub kernel_image: Option<I>,
    /// Replaces the image's command line; empty: it does not.
    pub kernel_command_line: String,
    pub network: Vec<Interface>,
    pub user_data: String,
    pub ssh_authorized_keys: Vec<String>,
    pub hostname: String,
    pub restart_policy: RestartPolicy,
    pub hypervisor: Hypervisor,
}

/// A port that is attached to the VM, as its host needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub port_id: PortId,
    pub interface_id: String,
    pub mac_address: String,
    /// Name of the TAP on the host.
    pub interface_name: String,
}

/// A VM: what is wanted of it, and in [`Vm::status`] what its host reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    pub id: VmId,
    pub org_id: OrgId,
    pub project_id: ProjectId,
    /// Who created it: what conditions of roles read as `resource.owner`.
    pub owner: PrincipalId,
    pub name: String,
    pub description: String,
    pub labels: Labels,
    pub spec: Spec,
    /// 1 at creation; one more with each change of the spec, which counts from the next start.
    pub spec_revision: u64,
    pub power_state: PowerState,
    /// One more with each reboot, and with each start of a VM that ended although it is wanted on.
    pub reboot_generation: u64,
    /// Quit at once on stop and reboot.
    pub force: bool,
    pub stop_timeout_seconds: u32,
    /// Where it is on its way from acceptance to removal.
    pub stage: Stage,
    /// Host that it is placed on.
    pub node: String,
    /// Once all are attached: as many as `spec.network`, in its order. Empty before.
    pub ports: Vec<Port>,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    /// 1 at creation, then one more with each change by its owner.
    pub revision: u64,
    pub status: Status,
}

impl Vm {
    /// The resource's type in names and policies.
    pub const KIND: &'static str = "instances";
    /// What it is called in messages.
    pub const NOUN: &'static str = VmId::KIND;

    pub fn scope(&self) -> Scope {
        Scope::Project(self.org_id.clone(), self.project_id.clone())
    }

    pub fn resource_name(&self) -> ResourceName {
        ResourceName::new(self.scope(), Self::KIND, self.id)
    }

    /// Every image that it starts from, each once.
    pub fn images(&self) -> Vec<ImageId> {
        self.spec.images()
    }
}

impl Spec {
    /// Every image that it refers to, each once, in the order of disks and then the kernel.
    pub fn images(&self) -> Vec<ImageId> {
        let mut images = Vec::new();
        let disks = self.disks.iter().filter_map(|disk| disk.image);
        for image in disks.chain(self.kernel_image) {
            if !images.contains(&image) {
                images.push(image);
            }
        }
        images
    }
}
