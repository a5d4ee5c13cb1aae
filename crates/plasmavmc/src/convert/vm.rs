//! VMs.

use std::time::SystemTime;

use photon_api::plasmavmc::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, timestamp};
use photon_resource::{Error, PortId, Time, VmId};

use super::metadata::{metadata, metadata_to_wire};
use super::node::{hypervisor, hypervisor_to_wire};
use super::{image_to_wire, unknown};
use crate::model::phase::{Command, Phase, Report, Stage};
use crate::model::vm::STOP_TIMEOUT;
use crate::model::{
    Disk, Hypervisor, Image, Interface, MetadataOptions, NewInterface, NewSpec, NewVm, Plug, Port,
    PowerState, RestartPolicy, Size, Spec, UserData, Vm, VmChanges, VmFilter,
};
use crate::store::vm::Left;

/// A VM that is asked for.
///
/// Errors: `InvalidArgument`.
pub fn new_vm(tenant: Tenant, request: pb::CreateVmRequest) -> Result<NewVm, Error> {
    let power_state = power_state("power_state", request.power_state)?;
    let spec = spec_from_wire(request.spec.unwrap_or_default(), &request.name)?;
    Ok(NewVm {
        meta: tenant.meta(request.name, request.description, request.labels),
        spec,
        ssh_keys: request.ssh_key_ids,
        power_state: power_state.unwrap_or(PowerState::On),
        node: Some(request.node).filter(|node| !node.is_empty()),
    })
}

/// What an update changes.
///
/// Errors: `InvalidArgument`.
pub fn vm_changes(request: pb::UpdateVmRequest) -> Result<VmChanges, Error> {
    let known = |policy: i32| {
        restart_policy("restart_policy", policy)?.ok_or_else(|| {
            let expected =
                "RESTART_POLICY_ON_FAILURE, RESTART_POLICY_ALWAYS or RESTART_POLICY_NEVER";
            Error::invalid("restart_policy", policy, expected)
        })
    };
    Ok(VmChanges {
        restart_policy: request.restart_policy.map(known).transpose()?,
        common: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
        vcpus: request.vcpus,
        memory_mib: request.memory_mib,
        user_data: given_user_data(request.user_data, request.user_data_binary, "")?,
        metadata: metadata("metadata_options", request.metadata_options)?,
    })
}

/// User data, which come in one of two fields; `None`: in neither.
///
/// Errors: `InvalidArgument` when they come in both.
fn given_user_data(
    text: Option<String>,
    binary: Option<Vec<u8>>,
    within: &str,
) -> Result<Option<UserData>, Error> {
    match (text, binary) {
        (Some(_), Some(binary)) => {
            let value = format!("({} bytes)", binary.len());
            let expected = format!("nothing beside {within}user_data");
            Err(Error::invalid(
                format!("{within}user_data_binary"),
                value,
                expected,
            ))
        }
        (Some(text), None) => Ok(Some(UserData::from_text(text))),
        (None, Some(bytes)) => Ok(Some(UserData::from_bytes(bytes))),
        (None, None) => Ok(None),
    }
}

/// The interface that a VM is to get.
///
/// Errors: `InvalidArgument`.
pub fn new_interface(request: &pb::AttachInterfaceRequest) -> Result<Interface, Error> {
    let given = request.interface.clone().unwrap_or_default();
    let port_id = port_id("interface.port_id", &given.port_id)?;
    expect_nothing_of_new_ports("interface", &given)?;
    Ok(Interface {
        port_id,
        id: given.id,
        delete_with_vm: false,
    })
}

/// An interface that a new VM is to have.
///
/// Errors: `InvalidArgument`.
fn interface_of_new_vm(field: &str, given: pb::NetworkInterface) -> Result<NewInterface, Error> {
    let plug = if given.port_id.is_empty() {
        Plug::New {
            subnet: Some(given.subnet_id).filter(|subnet| !subnet.is_empty()),
            security_groups: given.security_group_ids,
        }
    } else {
        expect_nothing_of_new_ports(field, &given)?;
        Plug::Port(port_id(&format!("{field}.port_id"), &given.port_id)?)
    };
    let id = given.id;
    Ok(NewInterface { id, plug })
}

/// What is said of ports that are made is not said of one that is there.
///
/// Errors: `InvalidArgument`.
fn expect_nothing_of_new_ports(field: &str, given: &pb::NetworkInterface) -> Result<(), Error> {
    if !given.subnet_id.is_empty() {
        let expected = "nothing beside port_id: the port is in its subnet";
        return Err(Error::invalid(
            format!("{field}.subnet_id"),
            &given.subnet_id,
            expected,
        ));
    }
    if let Some(group) = given.security_group_ids.first() {
        let expected = "nothing beside port_id: the port has its groups";
        return Err(Error::invalid(
            format!("{field}.security_group_ids"),
            group,
            expected,
        ));
    }
    if given.delete_with_vm {
        let expected = "false beside port_id: only a port that is made with the VM goes with it";
        return Err(Error::invalid(
            format!("{field}.delete_with_vm"),
            true,
            expected,
        ));
    }
    Ok(())
}

/// Errors: `InvalidArgument`.
pub fn port_id(field: &str, text: &str) -> Result<PortId, Error> {
    let expected = "the id of a port (a UUID)";
    text.parse()
        .map_err(|_| Error::invalid(field, text, expected))
}

/// An error about a port in the caller's spelling of its id: else one that is hidden would read otherwise than one that is
/// absent.
pub fn port_as_given(error: Error, port: PortId, given: &str) -> Error {
    let canonical = port.to_string();
    match error {
        Error::NotFound { kind, id } if id == canonical => Error::not_found(kind, given),
        Error::InvalidArgument {
            field,
            value,
            expected,
        } if value == canonical => Error::invalid(field, given, expected),
        other => other,
    }
}

/// Which VMs a list shows.
///
/// Errors: `InvalidArgument`.
pub fn vm_filter(request: pb::ListVmsRequest) -> Result<VmFilter, Error> {
    Ok(VmFilter {
        phase: phase_filter("phase", request.phase)?,
        node: request.node,
    })
}

/// How a VM is to be stopped.
///
/// Errors: `InvalidArgument`.
pub fn stop(request: &pb::StopVmRequest) -> Result<Command, Error> {
    let timeout_seconds = match request.timeout_seconds {
        0 => STOP_TIMEOUT,
        seconds if seconds <= 600 => seconds,
        seconds => {
            let expected = "at most 600 seconds, or 0 for 30";
            return Err(Error::invalid("timeout_seconds", seconds, expected));
        }
    };
    Ok(Command::Stop {
        force: request.force,
        timeout_seconds,
    })
}

/// `None`: not said.
fn power_state(field: &str, value: i32) -> Result<Option<PowerState>, Error> {
    match pb::PowerState::try_from(value) {
        Ok(pb::PowerState::Unspecified) => Ok(None),
        Ok(pb::PowerState::On) => Ok(Some(PowerState::On)),
        Ok(pb::PowerState::Off) => Ok(Some(PowerState::Off)),
        Err(_) => Err(unknown(field, value, "POWER_STATE_ON and POWER_STATE_OFF")),
    }
}

/// `None`: not said.
fn restart_policy(field: &str, value: i32) -> Result<Option<RestartPolicy>, Error> {
    match pb::RestartPolicy::try_from(value) {
        Ok(pb::RestartPolicy::Unspecified) => Ok(None),
        Ok(pb::RestartPolicy::OnFailure) => Ok(Some(RestartPolicy::OnFailure)),
        Ok(pb::RestartPolicy::Always) => Ok(Some(RestartPolicy::Always)),
        Ok(pb::RestartPolicy::Never) => Ok(Some(RestartPolicy::Never)),
        Err(_) => Err(unknown(
            field,
            value,
            "RESTART_POLICY_ON_FAILURE, RESTART_POLICY_ALWAYS and RESTART_POLICY_NEVER",
        )),
    }
}

/// `None`: all phases.
fn phase_filter(field: &str, value: i32) -> Result<Option<Phase>, Error> {
    let phase = pb::VmPhase::try_from(value)
        .map_err(|_| Error::invalid(field, value, "a VmPhase of 1 to 7, or 0 for all"))?;
    Ok(phase_from_wire(phase))
}

fn phase_from_wire(phase: pb::VmPhase) -> Option<Phase> {
    match phase {
        pb::VmPhase::Unspecified => None,
        pb::VmPhase::Provisioning => Some(Phase::Provisioning),
        pb::VmPhase::Starting => Some(Phase::Starting),
        pb::VmPhase::Running => Some(Phase::Running),
        pb::VmPhase::Stopping => Some(Phase::Stopping),
        pb::VmPhase::Stopped => Some(Phase::Stopped),
        pb::VmPhase::Failed => Some(Phase::Failed),
        pb::VmPhase::Deleting => Some(Phase::Deleting),
    }
}

fn phase_to_wire(phase: Phase) -> pb::VmPhase {
    match phase {
        Phase::Provisioning => pb::VmPhase::Provisioning,
        Phase::Starting => pb::VmPhase::Starting,
        Phase::Running => pb::VmPhase::Running,
        Phase::Stopping => pb::VmPhase::Stopping,
        Phase::Stopped => pb::VmPhase::Stopped,
        Phase::Failed => pb::VmPhase::Failed,
        Phase::Deleting => pb::VmPhase::Deleting,
    }
}

/// A request's spec with its defaults, its images still as the request calls them. What it says is
/// checked by [`NewSpec::validate`]; here only what has no form in the domain is refused.
///
/// Errors: `InvalidArgument`.
pub fn spec_from_wire(spec: pb::VmSpec, vm_name: &str) -> Result<NewSpec, Error> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let or = |value: u64, default: u64| if value == 0 { default } else { value };
    let disks = spec.disks.into_iter().map(|disk| Disk {
        id: disk.id,
        image: some(disk.image_id),
        size_bytes: disk.size_bytes,
    });
    let network = spec
        .network
        .into_iter()
        .enumerate()
        .map(|(index, given)| interface_of_new_vm(&format!("spec.network[{index}]"), given));
    Ok(Spec {
        size: Size {
            vcpus: if spec.vcpus == 0 { 1 } else { spec.vcpus },
            memory_mib: or(spec.memory_mib, 512),
        },
        disks: disks.collect(),
        kernel_image: some(spec.kernel_image_id),
        kernel_command_line: spec.kernel_command_line,
        network: network.collect::<Result<_, Error>>()?,
        user_data: given_user_data(
            Some(spec.user_data).filter(|it| !it.is_empty()),
            Some(spec.user_data_binary).filter(|it| !it.is_empty()),
            "spec.",
        )?
        .unwrap_or_default(),
        ssh_authorized_keys: spec.ssh_authorized_keys,
        hostname: some(spec.hostname).unwrap_or_else(|| vm_name.to_owned()),
        restart_policy: restart_policy("spec.restart_policy", spec.restart_policy)?
            .unwrap_or(RestartPolicy::OnFailure),
        hypervisor: hypervisor("spec.hypervisor", spec.hypervisor)?.unwrap_or(Hypervisor::Qemu),
        metadata: MetadataOptions::default()
            .with(metadata("spec.metadata_options", spec.metadata_options)?),
    })
}

fn spec_to_wire(spec: &Spec) -> pb::VmSpec {
    let text = |id: Option<_>| id.map(|id: photon_resource::ImageId| id.to_string());
    let disks = spec.disks.iter().map(|disk| pb::Disk {
        id: disk.id.clone(),
        image_id: text(disk.image).unwrap_or_default(),
        size_bytes: disk.size_bytes,
    });
    let network = spec.network.iter().map(|interface| pb::NetworkInterface {
        id: interface.id.clone(),
        port_id: interface.port_id.to_string(),
        delete_with_vm: interface.delete_with_vm,
        ..Default::default()
    });
    let restart_policy = match spec.restart_policy {
        RestartPolicy::OnFailure => pb::RestartPolicy::OnFailure,
        RestartPolicy::Always => pb::RestartPolicy::Always,
        RestartPolicy::Never => pb::RestartPolicy::Never,
    };
    pb::VmSpec {
        vcpus: spec.size.vcpus,
        memory_mib: spec.size.memory_mib,
        disks: disks.collect(),
        kernel_image_id: text(spec.kernel_image).unwrap_or_default(),
        kernel_command_line: spec.kernel_command_line.clone(),
        network: network.collect(),
        user_data: spec.user_data.text().unwrap_or_default().to_owned(),
        user_data_binary: match spec.user_data.text() {
            Some(_) => Vec::new(),
            None => spec.user_data.as_bytes().to_vec(),
        },
        ssh_authorized_keys: spec.ssh_authorized_keys.clone(),
        hostname: spec.hostname.clone(),
        restart_policy: restart_policy.into(),
        hypervisor: hypervisor_to_wire(spec.hypervisor),
        metadata_options: Some(metadata_to_wire(spec.metadata)),
    }
}

fn power_to_wire(power_state: PowerState) -> i32 {
    match power_state {
        PowerState::On => pb::PowerState::On.into(),
        PowerState::Off => pb::PowerState::Off.into(),
    }
}

/// A VM with all that its owner wrote.
pub fn vm_with_user_data(vm: &Vm) -> pb::Vm {
    pb::Vm {
        spec: Some(spec_to_wire(&vm.spec)),
        user_data_withheld: false,
        ..vm_to_wire(vm)
    }
}

/// A VM without its user data, which often holds secrets.
pub fn vm_to_wire(vm: &Vm) -> pb::Vm {
    let (meta, leaving) = (&vm.meta, vm.leaving.iter());
    let spec = pb::VmSpec {
        user_data: String::new(),
        user_data_binary: Vec::new(),
        ..spec_to_wire(&vm.spec)
    };
    pb::Vm {
        id: vm.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name.clone(),
        description: meta.description.clone(),
        spec: Some(spec),
        power_state: power_to_wire(vm.power_state),
        phase: phase_to_wire(vm.status.phase).into(),
        status_message: vm.status.message.clone(),
        node: vm.node.clone(),
        accelerator: vm.status.accelerator.clone(),
        unit: vm.status.unit.clone(),
        started_at: vm.status.started_at.map(Into::into),
        labels: meta.labels.clone(),
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
        user_data_withheld: !vm.spec.user_data.is_empty(),
        leaving_port_ids: leaving.map(|leaving| leaving.port_id.to_string()).collect(),
        interfaces: vm.ports.iter().map(interface_status).collect(),
    }
}

fn interface_status(port: &Port) -> pb::InterfaceStatus {
    // Without the prefix length.
    let address = |with_prefix: &String| {
        let (address, _) = with_prefix.split_once('/').unwrap_or((with_prefix, ""));
        address.to_owned()
    };
    let known = port.addressing.as_ref();
    pb::InterfaceStatus {
        id: port.interface_id.clone(),
        port_id: port.port_id.to_string(),
        mac_address: port.mac_address.clone(),
        ip_address: known.map(|it| address(&it.address)).unwrap_or_default(),
        ipv6_address: known
            .map(|it| address(&it.ipv6_address))
            .unwrap_or_default(),
    }
}

/// What is left of a VM on a host that was given up.
pub fn left_to_wire(left: &Left) -> pb::DesiredVm {
    pb::DesiredVm {
        id: left.id.to_string(),
        org_id: left.org_id.to_string(),
        project_id: left.project_id.to_string(),
        name: left.name.clone(),
        // Of no account for what is to be removed; the least that a host takes for a VM.
        spec: Some(pb::VmSpec {
            vcpus: 1,
            memory_mib: 64,
            ..Default::default()
        }),
        power_state: power_to_wire(PowerState::Off),
        force: true,
        deleting: true,
        ..Default::default()
    }
}

/// A VM as its host needs it, with the images that it starts from.
pub fn desired_to_wire(vm: &Vm, images: &[Image], mtu: u32) -> pb::DesiredVm {
    let ports = vm.ports.iter().map(|port| pb::VmPort {
        port_id: port.port_id.to_string(),
        interface_id: port.interface_id.clone(),
        mac_address: port.mac_address.clone(),
        interface_name: port.interface_name.clone(),
        // What an earlier release attached carries the usual.
        mtu: port
            .addressing
            .as_ref()
            .map_or(mtu.min(1500), |known| known.mtu),
        addressing: port.addressing.clone().map(|it| pb::VmAddressing {
            address: it.address,
            gateway: it.gateway,
            dhcp: it.dhcp,
            dns_servers: it.dns_servers,
            ipv6_address: it.ipv6_address,
            ipv6_gateway: it.ipv6_gateway,
        }),
    });
    pb::DesiredVm {
        id: vm.id.to_string(),
        org_id: vm.meta.org_id.to_string(),
        project_id: vm.meta.project_id.to_string(),
        name: vm.meta.name.clone(),
        spec_revision: vm.spec_revision,
        user_data_changes: vm.user_data_changes,
        spec: Some(spec_to_wire(&vm.spec)),
        power_state: power_to_wire(vm.power_state),
        reboot_generation: vm.reboot_generation,
        force: vm.force,
        stop_timeout_seconds: vm.stop_timeout_seconds,
        deleting: vm.stage == Stage::Removing,
        ports: ports.collect(),
        images: images.iter().map(image_to_wire).collect(),
    }
}

/// What a host reports of one VM.
///
/// Errors: `InvalidArgument`.
pub fn report_from_wire(report: pb::VmReport) -> Result<(VmId, Report), Error> {
    let id = report
        .id
        .parse()
        .map_err(|_| Error::invalid("vms.id", &report.id, "the id of a VM (a UUID)"))?;
    let phase = pb::VmPhase::try_from(report.phase)
        .map_err(|_| Error::invalid("vms.phase", report.phase, "a VmPhase of 1 to 7"))?;
    let started_at = report
        .started_at
        .map(SystemTime::try_from)
        .transpose()
        .map_err(|error| Error::invalid("vms.started_at", error, "a time after 1970"))?
        // As it is stored: the same report again changes nothing.
        .map(|time| Time::from(time).into());
    // A host's text is shown to tenants: bounded, and one line.
    let line = |text: String, longest: usize| -> String {
        let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        text.take(longest).collect()
    };
    let report = Report {
        phase: phase_from_wire(phase),
        message: line(report.message, 1024),
        accelerator: line(report.accelerator, 32),
        unit: line(report.unit, 256),
        started_at,
        reboot_generation: report.reboot_generation,
        gone: report.gone,
        taps: report
            .interfaces
            // A VM has 16 at most, and as many on their way out.
            .map(|held| held.names.into_iter().take(64).collect()),
    };
    Ok((id, report))
}
