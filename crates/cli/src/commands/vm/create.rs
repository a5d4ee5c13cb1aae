//! `photon vm create`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use photon_api::plasmavmc::v1::{
    CreateVmRequest, Disk, NetworkInterface, PowerState, RestartPolicy, VmSpec,
};

use super::super::{image, label_map, parse_label, port, present, read_text};
use super::{Until, Wait, finish};
use crate::error::Failure;
use crate::output::Output;
use crate::session::Session;

/// A VM to make.
#[derive(Args)]
pub struct NewVm {
    /// Its name, unique in the project.
    name: String,
    /// Virtual CPUs.
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// Memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u64,
    /// Image (name or id) of a disk to boot from, or of a kernel and initrd.
    #[arg(long)]
    image: Option<String>,
    /// Size of the boot disk, for example 20G. Default: the image's.
    #[arg(long, value_parser = parse_size, default_value = "0")]
    disk_size: u64,
    /// A further, empty disk of this size; can be repeated.
    #[arg(long = "disk", value_parser = parse_size, value_name = "SIZE")]
    disks: Vec<u64>,
    /// Kernel command line, instead of the image's.
    #[arg(long, default_value = "")]
    command_line: String,
    /// Port (name or id) to plug in; can be repeated: eth0, eth1, …
    #[arg(long = "port")]
    ports: Vec<String>,
    /// File with cloud-init user data; `-` is standard input.
    #[arg(long)]
    user_data: Option<PathBuf>,
    /// File with SSH public keys for the guest's user, in authorized_keys format.
    #[arg(long)]
    ssh_keys: Option<PathBuf>,
    /// The guest's host name. Default: the VM's name.
    #[arg(long, default_value = "")]
    hostname: String,
    /// What happens when the guest ends by itself.
    #[arg(long, value_enum, default_value_t = Restart::OnFailure)]
    restart: Restart,
    /// Make it, but do not start it.
    #[arg(long, conflicts_with = "wait")]
    stopped: bool,
    /// Host to place it on (operators).
    #[arg(long, default_value = "")]
    node: String,
    /// What it is for.
    #[arg(long, default_value = "")]
    description: String,
    /// KEY=VALUE; can be repeated.
    #[arg(long = "label", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Makes a repeated command harmless: with the same id there is one VM.
    #[arg(long, default_value = "")]
    request_id: String,
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

fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "expected bytes or a number with K, M, G or T, such as 20G".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// `photon vm create`
pub async fn run(new: NewVm, session: &Session, output: &Output) -> Result<(), Failure> {
    let mut spec = VmSpec {
        vcpus: new.vcpus,
        memory_mib: new.memory,
        kernel_command_line: new.command_line,
        user_data: new
            .user_data
            .as_deref()
            .map(read_text)
            .transpose()?
            .unwrap_or_default(),
        hostname: new.hostname,
        restart_policy: match new.restart {
            Restart::OnFailure => RestartPolicy::OnFailure,
            Restart::Always => RestartPolicy::Always,
            Restart::Never => RestartPolicy::Never,
        }
        .into(),
        ..Default::default()
    };
    if let Some(name) = &new.image {
        let image = image::find(session, name).await?;
        if image.format() == photon_api::plasmavmc::v1::ImageFormat::KernelInitrd {
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
    for (at, name) in new.ports.iter().enumerate() {
        let port_id = port::find(session, name).await?.id;
        spec.network.push(NetworkInterface {
            id: format!("eth{at}"),
            port_id,
        });
    }
    if let Some(path) = &new.ssh_keys {
        let text = read_text(path)?;
        let keys = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        spec.ssh_authorized_keys = keys.map(str::to_owned).collect();
    }
    let request = CreateVmRequest {
        name: new.name,
        org_id: session.org(),
        project_id: session.project(),
        spec: Some(spec),
        description: new.description,
        labels: label_map(&new.labels),
        node: new.node,
        power_state: if new.stopped {
            PowerState::Off
        } else {
            PowerState::On
        }
        .into(),
        request_id: new.request_id,
    };
    let answer = session.vms().await?.create_vm(request).await?.into_inner();
    finish(
        session,
        output,
        present(answer.vm, "VM")?,
        &new.wait,
        Until::Running,
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("20G"), Ok(20 << 30));
        assert_eq!(parse_size("512"), Ok(512));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        for bad in ["", "G", "1.5G", "-1", "10X", "99999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
