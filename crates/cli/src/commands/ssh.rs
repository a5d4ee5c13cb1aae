//! `photon ssh`: ssh to a VM by its floating IP, or else through its host, as the user that its image has for people.

use std::time::{Duration, SystemTime};

use clap::Args;
use photon_api::plasmavmc::v1::{GetImageRequest, GetVmRequest, Vm};
use photon_api::prismnet::v1::ListFloatingIpsRequest;
use photon_host::process;

use super::vm::Vms;
use crate::error::Failure;
use crate::noun::{Desk, One};
use crate::output::tell;

/// A guest that has been started since may be booting: it is not asked once only.
const BOOTS: Duration = Duration::from_secs(300);

/// Whom to be there, and what for.
#[derive(Args)]
pub struct Ssh {
    #[command(flatten)]
    vm: One<Vms>,
    /// The user to be. Default: that of the VM's image.
    #[arg(long, short = 'l', value_name = "USER")]
    user: Option<String>,
    /// Through the VM's host, also where there is a floating IP: no security group is asked, and who may open the VM's console
    /// may do it.
    #[arg(long)]
    tunnel: bool,
    /// Options of ssh, then a command to run there; for example `-- -L 8080:localhost:80` or `-- uptime`.
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Becomes ssh.
pub async fn run(ssh: Ssh, desk: &Desk<'_>) -> Result<(), Failure> {
    let vm = desk.find::<GetVmRequest>("VM", &ssh.vm.name).await?;
    let address = match ssh.tunnel {
        true => None,
        false => floating_ip(&vm, desk).await?,
    };
    let user = match ssh.user {
        Some(user) => user,
        None => default_user(&vm, desk).await?,
    };
    let boots = started(&vm).is_some_and(|ago| ago < BOOTS);
    if boots {
        tell!(
            "VM {} has been started just now: ssh tries until it answers, or Ctrl-C.",
            vm.name
        );
    }
    let way = match address {
        Some(address) => Way::Direct(address),
        None => Way::Tunnel {
            name: vm.name.clone(),
            command: through_host(&vm.id, boots, desk)?,
        },
    };
    let command = command_line(&vm.id, &user, &way, boots, ssh.arguments);
    desk.session.settled().await;
    let environment = desk.session.connection.environment();
    Err(Failure::Local(
        process::exec("ssh", &command, environment).to_string(),
    ))
}

/// How ssh gets there.
enum Way {
    /// To an address.
    Direct(String),
    /// By a command, to what has no address here.
    Tunnel { name: String, command: String },
}

/// ssh's ProxyCommand: this program.
fn through_host(id: &str, boots: bool, desk: &Desk<'_>) -> Result<String, Failure> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::Local(format!("cannot tell where photon itself is: {error}")))?;
    // ssh hands it to a shell, and takes `%` for its own.
    let own = own.display().to_string().replace('\'', r"'\''");
    let mut command = format!("'{}' vm tunnel {id}", own.replace('%', "%%"));
    if boots {
        command += &format!(" --retry {}", BOOTS.as_secs());
    }
    if desk.session.connection.insecure {
        command += " --insecure";
    }
    Ok(command)
}

/// How long ago its guest was started.
fn started(vm: &Vm) -> Option<Duration> {
    let started = SystemTime::try_from(vm.started_at?).ok()?;
    SystemTime::now().duration_since(started).ok()
}

/// The first of its ports' floating IPs, if any has one.
async fn floating_ip(vm: &Vm, desk: &Desk<'_>) -> Result<Option<String>, Failure> {
    let spec = vm.spec.as_ref();
    let ports = spec.into_iter().flat_map(|spec| &spec.network);
    for port in ports.clone() {
        let request = ListFloatingIpsRequest {
            port_id: port.port_id.clone(),
            ..Default::default()
        };
        if let Some(found) = desk.first(request, 1).await?.into_iter().next() {
            return Ok(Some(found.ip_address));
        }
    }
    if ports.clone().next().is_none() {
        return Err(Failure::Local(format!(
            "VM {0} has no network: reach it by photon vm console {0}",
            vm.name
        )));
    }
    Ok(None)
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
fn command_line(
    id: &str,
    user: &str,
    way: &Way,
    boots: bool,
    arguments: Vec<String>,
) -> Vec<String> {
    let (options, command): (Vec<_>, Vec<_>) = split(arguments);
    let mut settings = vec![
        format!("HostKeyAlias=photon-{id}"),
        "StrictHostKeyChecking=accept-new".to_owned(),
    ];
    let host = match way {
        Way::Direct(address) => {
            if boots {
                // First nobody has the address, then nobody listens.
                settings.extend(["ConnectTimeout=5", "ConnectionAttempts=60"].map(str::to_owned));
            }
            address
        }
        Way::Tunnel { name, command } => {
            settings.push(format!("ProxyCommand={command}"));
            name
        }
    };
    let own = settings
        .into_iter()
        .flat_map(|setting| ["-o".to_owned(), setting])
        .chain(["-l".to_owned(), user.to_owned()]);
    // The user's own come first: of two ssh takes the first.
    let host = ["--".to_owned(), host.to_owned()];
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
        let direct = Way::Direct("203.0.113.7".into());
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
            let made = command_line("7", "debian", &direct, false, words(given));
            let wanted = words(&format!("{before} {own} {after}"));
            assert_eq!(made, wanted, "{given}");
        }
        let made = command_line("7", "debian", &direct, true, words("-oConnectTimeout=1"));
        let wanted = own.replace(" -l", " -o ConnectTimeout=5 -o ConnectionAttempts=60 -l");
        assert_eq!(made, words(&format!("-oConnectTimeout=1 {wanted}")));
        let tunnel = Way::Tunnel {
            name: "web".into(),
            command: "photon vm tunnel 7".into(),
        };
        let made = command_line("7", "debian", &tunnel, true, Vec::new());
        assert!(made.contains(&"ProxyCommand=photon vm tunnel 7".to_owned()));
        assert_eq!(made[made.len() - 2..], ["--", "web"]);
    }
}
