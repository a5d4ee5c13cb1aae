//! Virtual machines.

use photon_resource::{Changes, Error, ImageId, Meta, NewMeta, PortId, Time, VmId};

use super::phase::{Phase, Stage, Status};
use super::{Hypervisor, Load, MetadataChanges, MetadataOptions, UserData, kind};

mod interfaces;
mod spec;
#[cfg(test)]
mod tests;

pub(crate) use spec::check_command_line;
pub use spec::{MAX_DISK_BYTES, MAX_SSH_KEYS, MIN_DISK_BYTES, check_memory, check_vcpus};

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
    /// The port was made with the VM, and goes with it.
    pub delete_with_vm: bool,
}

/// An interface that a new VM is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInterface {
    pub id: String,
    pub plug: Plug,
}

/// Where a new interface is plugged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plug {
    /// A port that is there.
    Port(PortId),
    /// A port that is made for it.
    New {
        /// Id or name; `None`: the project's default network.
        subnet: Option<String>,
        /// Ids or names; empty: the project's default group.
        security_groups: Vec<String>,
    },
}

impl NewInterface {
    /// The port that is there.
    pub fn port_id(&self) -> Option<PortId> {
        match self.plug {
            Plug::Port(port_id) => Some(port_id),
            Plug::New { .. } => None,
        }
    }
}

/// Processors and memory of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    pub vcpus: u32,
    pub memory_mib: u64,
}

/// What a VM is made of. `I` as for [`Disk`]; `N` is an interface, in a request perhaps still without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec<I = ImageId, N = Interface> {
    pub size: Size,
    pub disks: Vec<Disk<I>>,
    /// A kernel and initrd to boot directly; `None`: the firmware boots the first disk.
    pub kernel_image: Option<I>,
    /// Replaces the image's command line; empty: it does not.
    pub kernel_command_line: String,
    pub network: Vec<N>,
    pub user_data: UserData,
    pub ssh_authorized_keys: Vec<String>,
    pub hostname: String,
    pub restart_policy: RestartPolicy,
    pub hypervisor: Hypervisor,
    pub metadata: MetadataOptions,
}

/// What a new VM is to be made of, its images as the request calls them.
pub type NewSpec = Spec<String, NewInterface>;

/// A port that is attached to the VM, as its host needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub port_id: PortId,
    pub interface_id: String,
    pub mac_address: String,
    /// Name of the TAP on the host.
    pub interface_name: String,
    /// As PrismNET said when it was attached. `None`: it was attached by a program that did not ask.
    pub addressing: Option<Addressing>,
}

/// A port that the VM shall have no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub port_id: PortId,
    /// Name of the TAP on the host.
    pub interface_name: String,
    /// Its host was told of it, and has not said since that the VM has it no more.
    pub on_host: bool,
}

/// What a guest sets up on an interface if it does not learn it there, in PrismNET's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressing {
    /// With prefix length.
    pub address: String,
    pub gateway: String,
    /// Whether the subnet has a DHCP server.
    pub dhcp: bool,
    pub dns_servers: Vec<String>,
    /// With prefix length; empty: none.
    pub ipv6_address: String,
    /// Empty: none.
    pub ipv6_gateway: String,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

/// A VM: what is wanted of it, and in [`Vm::status`] what its host reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    pub id: VmId,
    pub meta: Meta,
    pub spec: Spec,
    /// 1 at creation; one more with each change of the spec, which counts from the next start.
    pub spec_revision: u64,
    /// How often its user data were changed. The guest is another to cloud-init then, which applies them anew.
    pub user_data_changes: u64,
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
    /// Those that are attached, and in `spec.network` no more.
    pub leaving: Vec<Leaving>,
    /// How often what is wanted was stored.
    pub change: u64,
    pub status: Status,
}

/// Seconds that a guest has to power down, unless StopVm says otherwise.
pub const STOP_TIMEOUT: u32 = 30;

/// A VM to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVm {
    pub meta: NewMeta,
    pub spec: NewSpec,
    /// Ids or names of keys of its project, beside those of the spec.
    pub ssh_keys: Vec<String>,
    pub power_state: PowerState,
    /// Host that an operator has named.
    pub node: Option<String>,
}

/// What an update changes of a VM; `None` leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmChanges {
    pub common: Changes,
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub user_data: Option<UserData>,
    pub restart_policy: Option<RestartPolicy>,
    pub metadata: MetadataChanges,
}

impl VmChanges {
    /// Errors: `InvalidArgument`.
    pub fn validate(&self) -> Result<(), Error> {
        self.common.validate()?;
        if let Some(vcpus) = self.vcpus {
            check_vcpus("vcpus", vcpus)?;
        }
        if let Some(memory_mib) = self.memory_mib {
            check_memory("memory_mib", memory_mib)?;
        }
        if let Some(user_data) = &self.user_data {
            user_data.check("user_data")?;
        }
        self.metadata.check("metadata_options")
    }
}

/// Which VMs a list shows, beyond what all lists can ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VmFilter {
    /// `None`: in all phases.
    pub phase: Option<Phase>,
    /// Host; empty: on all.
    pub node: String,
}

impl VmFilter {
    /// Whether the VM is shown.
    pub fn shows(&self, vm: &Vm) -> bool {
        (self.node.is_empty() || vm.node == self.node)
            && self.phase.is_none_or(|phase| vm.status.phase == phase)
    }
}

impl Vm {
    /// A VM that was just accepted, and placed on a host.
    pub fn new(id: VmId, meta: NewMeta, spec: Spec, power_state: PowerState, node: String) -> Self {
        Self {
            id,
            meta: meta.into_meta(Time::now()),
            spec_revision: 1,
            user_data_changes: 0,
            power_state,
            reboot_generation: 0,
            force: false,
            stop_timeout_seconds: STOP_TIMEOUT,
            stage: if spec.network.is_empty() {
                Stage::Placed
            } else {
                Stage::Attaching
            },
            spec,
            node,
            ports: Vec::new(),
            leaving: Vec::new(),
            change: 0,
            status: Status::new(),
        }
    }

    /// Applies validated changes; of the spec, what counts from the next start.
    ///
    /// Errors: `FailedPrecondition` while it is deleted; `Conflict` when another revision was expected.
    pub fn apply(&mut self, changes: VmChanges) -> Result<(), Error> {
        if self.stage.is_deleting() {
            return Err(Error::FailedPrecondition(format!(
                "VM '{}' is DELETING: UpdateVm is accepted in every other phase",
                self.meta.name
            )));
        }
        self.meta.apply(kind::VMS, changes.common)?;
        let before = self.spec.clone();
        if let Some(vcpus) = changes.vcpus {
            self.spec.size.vcpus = vcpus;
        }
        if let Some(memory_mib) = changes.memory_mib {
            self.spec.size.memory_mib = memory_mib;
        }
        if let Some(user_data) = changes.user_data {
            if user_data != self.spec.user_data {
                self.user_data_changes += 1;
            }
            self.spec.user_data = user_data;
        }
        if let Some(policy) = changes.restart_policy {
            self.spec.restart_policy = policy;
        }
        if self.spec != before {
            self.spec_revision += 1;
        }
        // No matter of the next start.
        self.spec.metadata = self.spec.metadata.with(changes.metadata);
        Ok(())
    }

    /// Every image that it starts from, each once.
    pub fn images(&self) -> Vec<ImageId> {
        self.spec.images()
    }
}

impl Spec {
    /// What a VM of it takes of its host.
    pub fn load(&self) -> Load {
        let sizes = self.disks.iter().map(|disk| disk.size_bytes);
        Load {
            vms: 1,
            vcpus: self.size.vcpus,
            memory_mib: self.size.memory_mib,
            disk_bytes: sizes.fold(0, u64::saturating_add),
        }
    }

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
