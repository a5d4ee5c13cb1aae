//! The stored forms of a VM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flaredb::Record;
use photon_resource::{ImageId, Labels, Meta, OrgId, PortId, PrincipalId, ProjectId, Time, VmId};
use serde::{Deserialize, Serialize};

use crate::model::phase::{Phase, Stage, Status};
use crate::model::{
    Addressing, Disk, Hypervisor, Interface, Leaving, MetadataOptions, Port, PowerState,
    RestartPolicy, Size, Spec, UserData, Vm,
};

/// What is wanted of a VM.
#[derive(Serialize, Deserialize)]
pub struct DesiredRecord {
    org_id: OrgId,
    project_id: ProjectId,
    owner: PrincipalId,
    name: String,
    description: String,
    labels: Labels,
    spec: SpecRecord,
    spec_revision: u64,
    #[serde(default)]
    user_data_changes: u64,
    on: bool,
    reboot_generation: u64,
    force: bool,
    stop_timeout_seconds: u32,
    stage: StageRecord,
    node: String,
    ports: Vec<PortRecord>,
    /// Not in records of a release without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<LeavingRecord>,
    created_at: Time,
    updated_at: Time,
    revision: u64,
    /// One more with each write.
    pub(super) change: u64,
}

impl Record for DesiredRecord {
    const KIND: &'static str = "VM";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct SpecRecord {
    vcpus: u32,
    memory_mib: u64,
    disks: Vec<DiskRecord>,
    kernel_image: Option<ImageId>,
    kernel_command_line: String,
    network: Vec<InterfaceRecord>,
    /// As text, if they are one.
    user_data: String,
    /// And else in base64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    user_data_base64: String,
    ssh_authorized_keys: Vec<String>,
    hostname: String,
    restart_policy: RestartPolicyRecord,
    hypervisor: HypervisorRecord,
    /// Absent where it is as by default, as in records of a release without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<MetadataRecord>,
}

#[derive(Serialize, Deserialize)]
struct MetadataRecord {
    enabled: bool,
    tokens_required: bool,
    hop_limit: u32,
}

#[derive(Serialize, Deserialize)]
struct DiskRecord {
    id: String,
    image: Option<ImageId>,
    size_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct InterfaceRecord {
    id: String,
    port_id: PortId,
    /// Not in records of a release without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    delete_with_vm: bool,
}

#[derive(Serialize, Deserialize)]
struct PortRecord {
    port_id: PortId,
    interface_id: String,
    mac_address: String,
    interface_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    addressing: Option<AddressingRecord>,
}

#[derive(Serialize, Deserialize)]
struct LeavingRecord {
    port_id: PortId,
    interface_name: String,
    on_host: bool,
}

#[derive(Serialize, Deserialize)]
struct AddressingRecord {
    address: String,
    gateway: String,
    dhcp: bool,
    dns_servers: Vec<String>,
    ipv6_address: String,
    ipv6_gateway: String,
    mtu: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RestartPolicyRecord {
    OnFailure,
    Always,
    Never,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::store) enum HypervisorRecord {
    Qemu,
    Firecracker,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageRecord {
    Attaching,
    Placed,
    Removing,
    Releasing,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PhaseRecord {
    Provisioning,
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    Deleting,
}

/// What a host reports of a VM.
#[derive(Serialize, Deserialize)]
pub(super) struct StatusRecord {
    phase: PhaseRecord,
    message: String,
    accelerator: String,
    unit: String,
    started_at: Option<Time>,
}

impl Record for StatusRecord {
    const KIND: &'static str = "status of a VM";
    const VERSION: u32 = 1;
}

impl From<&Vm> for DesiredRecord {
    /// As it is stored next.
    fn from(vm: &Vm) -> Self {
        let meta = &vm.meta;
        Self {
            org_id: meta.org_id.clone(),
            project_id: meta.project_id.clone(),
            owner: meta.owner,
            name: meta.name.clone(),
            description: meta.description.clone(),
            labels: meta.labels.clone(),
            spec: SpecRecord::of(&vm.spec),
            spec_revision: vm.spec_revision,
            user_data_changes: vm.user_data_changes,
            on: vm.power_state == PowerState::On,
            reboot_generation: vm.reboot_generation,
            force: vm.force,
            stop_timeout_seconds: vm.stop_timeout_seconds,
            stage: match vm.stage {
                Stage::Attaching => StageRecord::Attaching,
                Stage::Placed => StageRecord::Placed,
                Stage::Removing => StageRecord::Removing,
                Stage::Releasing => StageRecord::Releasing,
            },
            node: vm.node.clone(),
            ports: vm.ports.iter().map(PortRecord::of).collect(),
            leaving: vm.leaving.iter().map(LeavingRecord::of).collect(),
            created_at: meta.created_at,
            updated_at: meta.updated_at,
            revision: meta.revision,
            change: vm.change + 1,
        }
    }
}

impl DesiredRecord {
    pub(super) fn into_vm(self, id: VmId, status: Option<StatusRecord>) -> Vm {
        Vm {
            id,
            meta: Meta {
                org_id: self.org_id,
                project_id: self.project_id,
                owner: self.owner,
                name: self.name,
                description: self.description,
                labels: self.labels,
                created_at: self.created_at,
                updated_at: self.updated_at,
                revision: self.revision,
            },
            spec: self.spec.into_spec(),
            spec_revision: self.spec_revision,
            user_data_changes: self.user_data_changes,
            power_state: if self.on {
                PowerState::On
            } else {
                PowerState::Off
            },
            reboot_generation: self.reboot_generation,
            force: self.force,
            stop_timeout_seconds: self.stop_timeout_seconds,
            stage: match self.stage {
                StageRecord::Attaching => Stage::Attaching,
                StageRecord::Placed => Stage::Placed,
                StageRecord::Removing => Stage::Removing,
                StageRecord::Releasing => Stage::Releasing,
            },
            node: self.node,
            ports: self.ports.into_iter().map(PortRecord::into_port).collect(),
            leaving: self
                .leaving
                .into_iter()
                .map(LeavingRecord::into_leaving)
                .collect(),
            change: self.change,
            status: status.map(StatusRecord::into_status).unwrap_or_default(),
        }
    }
}

impl SpecRecord {
    fn of(spec: &Spec) -> Self {
        let disk = |disk: &Disk| DiskRecord {
            id: disk.id.clone(),
            image: disk.image,
            size_bytes: disk.size_bytes,
        };
        let interface = |interface: &Interface| InterfaceRecord {
            id: interface.id.clone(),
            port_id: interface.port_id,
            delete_with_vm: interface.delete_with_vm,
        };
        Self {
            vcpus: spec.size.vcpus,
            memory_mib: spec.size.memory_mib,
            disks: spec.disks.iter().map(disk).collect(),
            kernel_image: spec.kernel_image,
            kernel_command_line: spec.kernel_command_line.clone(),
            network: spec.network.iter().map(interface).collect(),
            user_data: spec.user_data.text().unwrap_or_default().to_owned(),
            user_data_base64: match spec.user_data.text() {
                Some(_) => String::new(),
                None => STANDARD.encode(spec.user_data.as_bytes()),
            },
            ssh_authorized_keys: spec.ssh_authorized_keys.clone(),
            hostname: spec.hostname.clone(),
            restart_policy: match spec.restart_policy {
                RestartPolicy::OnFailure => RestartPolicyRecord::OnFailure,
                RestartPolicy::Always => RestartPolicyRecord::Always,
                RestartPolicy::Never => RestartPolicyRecord::Never,
            },
            hypervisor: HypervisorRecord::of(spec.hypervisor),
            metadata: MetadataRecord::of(spec.metadata),
        }
    }

    fn into_spec(self) -> Spec {
        let user_data = match self.user_data_base64.as_str() {
            "" => UserData::from_bytes(self.user_data.into_bytes()),
            // Written here from bytes: anything else is a damaged store, and the VM must still be there to be deleted.
            encoded => UserData::from_bytes(STANDARD.decode(encoded).unwrap_or_default()),
        };
        let disk = |disk: DiskRecord| Disk {
            id: disk.id,
            image: disk.image,
            size_bytes: disk.size_bytes,
        };
        let interface = |interface: InterfaceRecord| Interface {
            id: interface.id,
            port_id: interface.port_id,
            delete_with_vm: interface.delete_with_vm,
        };
        Spec {
            size: Size {
                vcpus: self.vcpus,
                memory_mib: self.memory_mib,
            },
            disks: self.disks.into_iter().map(disk).collect(),
            kernel_image: self.kernel_image,
            kernel_command_line: self.kernel_command_line,
            network: self.network.into_iter().map(interface).collect(),
            user_data,
            ssh_authorized_keys: self.ssh_authorized_keys,
            hostname: self.hostname,
            restart_policy: match self.restart_policy {
                RestartPolicyRecord::OnFailure => RestartPolicy::OnFailure,
                RestartPolicyRecord::Always => RestartPolicy::Always,
                RestartPolicyRecord::Never => RestartPolicy::Never,
            },
            hypervisor: self.hypervisor.into_hypervisor(),
            metadata: self
                .metadata
                .map(MetadataRecord::into_options)
                .unwrap_or_default(),
        }
    }
}

impl MetadataRecord {
    fn of(options: MetadataOptions) -> Option<Self> {
        let MetadataOptions {
            enabled,
            tokens_required,
            hop_limit,
        } = options;
        (options != MetadataOptions::default()).then_some(Self {
            enabled,
            tokens_required,
            hop_limit,
        })
    }

    fn into_options(self) -> MetadataOptions {
        MetadataOptions {
            enabled: self.enabled,
            tokens_required: self.tokens_required,
            hop_limit: self.hop_limit,
        }
    }
}

impl HypervisorRecord {
    pub(in crate::store) fn of(hypervisor: Hypervisor) -> Self {
        match hypervisor {
            Hypervisor::Qemu => Self::Qemu,
            Hypervisor::Firecracker => Self::Firecracker,
        }
    }

    pub(in crate::store) fn into_hypervisor(self) -> Hypervisor {
        match self {
            Self::Qemu => Hypervisor::Qemu,
            Self::Firecracker => Hypervisor::Firecracker,
        }
    }
}

impl PortRecord {
    fn of(port: &Port) -> Self {
        Self {
            port_id: port.port_id,
            interface_id: port.interface_id.clone(),
            mac_address: port.mac_address.clone(),
            interface_name: port.interface_name.clone(),
            addressing: port.addressing.clone().map(|it| AddressingRecord {
                address: it.address,
                gateway: it.gateway,
                dhcp: it.dhcp,
                dns_servers: it.dns_servers,
                ipv6_address: it.ipv6_address,
                ipv6_gateway: it.ipv6_gateway,
                mtu: it.mtu,
            }),
        }
    }

    fn into_port(self) -> Port {
        Port {
            port_id: self.port_id,
            interface_id: self.interface_id,
            mac_address: self.mac_address,
            interface_name: self.interface_name,
            addressing: self.addressing.map(|it| Addressing {
                address: it.address,
                gateway: it.gateway,
                dhcp: it.dhcp,
                dns_servers: it.dns_servers,
                ipv6_address: it.ipv6_address,
                ipv6_gateway: it.ipv6_gateway,
                mtu: it.mtu,
            }),
        }
    }
}

impl LeavingRecord {
    fn of(leaving: &Leaving) -> Self {
        Self {
            port_id: leaving.port_id,
            interface_name: leaving.interface_name.clone(),
            on_host: leaving.on_host,
        }
    }

    fn into_leaving(self) -> Leaving {
        Leaving {
            port_id: self.port_id,
            interface_name: self.interface_name,
            on_host: self.on_host,
        }
    }
}

impl StatusRecord {
    pub(super) fn of(status: &Status) -> Self {
        Self {
            phase: match status.phase {
                Phase::Provisioning => PhaseRecord::Provisioning,
                Phase::Starting => PhaseRecord::Starting,
                Phase::Running => PhaseRecord::Running,
                Phase::Stopping => PhaseRecord::Stopping,
                Phase::Stopped => PhaseRecord::Stopped,
                Phase::Failed => PhaseRecord::Failed,
                Phase::Deleting => PhaseRecord::Deleting,
            },
            message: status.message.clone(),
            accelerator: status.accelerator.clone(),
            unit: status.unit.clone(),
            started_at: status.started_at.map(Time::from),
        }
    }

    fn into_status(self) -> Status {
        Status {
            phase: match self.phase {
                PhaseRecord::Provisioning => Phase::Provisioning,
                PhaseRecord::Starting => Phase::Starting,
                PhaseRecord::Running => Phase::Running,
                PhaseRecord::Stopping => Phase::Stopping,
                PhaseRecord::Stopped => Phase::Stopped,
                PhaseRecord::Failed => Phase::Failed,
                PhaseRecord::Deleting => Phase::Deleting,
            },
            message: self.message,
            accelerator: self.accelerator,
            unit: self.unit,
            started_at: self.started_at.map(Into::into),
        }
    }
}
