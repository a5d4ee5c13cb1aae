//! `photon ssh`: ssh to a VM by its floating IP, as the user that its image has for people.

use clap::Args;
use photon_api::plasmavmc::v1::{GetImageRequest, GetVmRequest, Vm};
use photon_api::prismnet::v1::ListFloatingIpsRequest;
use photon_host::process;

use super::vm::Vms;
use crate::error::Failure;
use crate::noun::{Desk, One};

/// Whom to be there, and what for.
#[derive(Args)]
pub struct Ssh {
    #[command(flatten)]
    vm: One<Vms>,
    /// The user to be. Default: that of the VM's image.
    #[arg(long, short = 'l', value_name = "USER")]
    user: Option<String>,
    /// Options of ssh, then a command to run there; for example `-- -L 8080:localhost:80` or `-- uptime`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Becomes ssh.
pub async fn run(ssh: Ssh, desk: &Desk<'_>) -> Result<(), Failure> {
    let vm = desk.find::<GetVmRequest>("VM", &ssh.vm.name).await?;
    let address = floating_ip(&vm, desk).await?;
    let user = match ssh.user {
        Some(user) => user,
        None => default_user(&vm, desk).await?,
    };
    let command = command_line(&vm.id, &user, &address, ssh.arguments);
    desk.session.settled().await;
    Err(Failure::Local(process::exec("ssh", &command).to_string()))
}

/// The first of its ports' floating IPs.
async fn floating_ip(vm: &Vm, desk: &Desk<'_>) -> Result<String, Failure> {
    let spec = vm.spec.as_ref();
    let ports = spec.into_iter().flat_map(|spec| &spec.network);
    for port in ports.clone() {
        let request = ListFloatingIpsRequest {
            port_id: port.port_id.clone(),
            ..Default::default()
        };
        if let Some(found) = desk.first(request, 1).await?.into_iter().next() {
            return Ok(found.ip_address);
        }
    }
    let name = &vm.name;
    Err(Failure::Local(match ports.clone().next() {
        Some(port) => format!(
            "VM {name} has no floating IP, and ssh gets to it by nothing else. Give it one: photon floating-ip create \
             {name} --external-network NETWORK --port {}",
            port.port_id
        ),
        None => format!("VM {name} has no network: reach it by photon vm console {name}"),
    }))
}

async fn default_user(vm: &Vm, desk: &Desk<'_>) -> Result<String, Failure> {
    let spec = vm.spec.as_ref();
    let disks = spec.into_iter().flat_map(|spec| &spec.disks);
    let image = disks.map(|disk| &disk.image_id).find(|id| !id.is_empty());
    let known = match image {
        Some(id) => {
            desk.find::<GetImageRequest>("image", id)
                .await?
                .default_user
        }
        None => String::new(),
    };
    if known.is_empty() {
        let name = &vm.name;
        return Err(Failure::Local(format!(
            "the image of VM {name} does not say which user its guests have: photon ssh {name} --user USER"
        )));
    }
    Ok(known)
}

/// What ssh is given. The host key is known by the VM, not by an address that another VM may have tomorrow.
fn command_line(id: &str, user: &str, address: &str, arguments: Vec<String>) -> Vec<String> {
    let (options, command): (Vec<_>, Vec<_>) = split(arguments);
    let own = [
        "-o".to_owned(),
        format!("HostKeyAlias=photon-{id}"),
        "-o".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        "-l".to_owned(),
        user.to_owned(),
    ];
    // The user's own come first: of two ssh takes the first.
    let host = ["--".to_owned(), address.to_owned()];
    options
        .into_iter()
        .chain(own)
        .chain(host)
        .chain(command)
        .collect()
}

/// ssh's options, with what belongs to them (ssh(1)), and the rest.
fn split(arguments: Vec<String>) -> (Vec<String>, Vec<String>) {
    const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";
    let mut at = 0;
    while let Some(option) = arguments.get(at).and_then(|it| it.strip_prefix('-')) {
        // The last letter may have its value in the next word.
        let has_value = option
            .chars()
            .position(|letter| WITH_VALUE.contains(letter));
        at += match has_value {
            Some(place) if place + 1 == option.chars().count() => 2,
            _ => 1,
        };
    }
    let mut options = arguments;
    let command = options.split_off(at.min(options.len()));
    (options, command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_come_first_and_the_command_last() {
        let own =
            "-o HostKeyAlias=photon-7 -o StrictHostKeyChecking=accept-new -l debian -- 203.0.113.7";
        for (given, before, after) in [
            ("", "", ""),
            ("uptime", "", "uptime"),
            ("-v uptime -p", "-v", "uptime -p"),
            ("-L 8080:localhost:80 -N", "-L 8080:localhost:80 -N", ""),
            ("-vi key -oUser=me ls -l", "-vi key -oUser=me", "ls -l"),
            ("-i", "-i", ""),
        ] {
            let made = command_line("7", "debian", "203.0.113.7", words(given));
            let wanted = words(&format!("{before} {own} {after}"));
            assert_eq!(made, wanted, "{given}");
        }
    }
}
