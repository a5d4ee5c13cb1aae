//! Machines: from the first netboot to a host of the cloud.

mod token;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use indicatif::DecimalBytes;
use photon_api::provisioner::v1::{
    ApproveMachineRequest, GetMachineRequest, ListMachinesRequest, Machine, MachineState,
    ReinstallMachineRequest, RetireMachineRequest,
};
use photon_client::call::Resource;
use serde_json::Value;

use super::size::parse_seconds;
use crate::completion::machines;
use crate::error::Failure;
use crate::noun::{Changing, Desk, Once};
use crate::output::{Column, Shape, to_json, to_rows};

const COLUMNS: &[Column] = &[
    ("MAC", "mac"),
    ("SERIAL", "inventory.serial"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("ADDRESS", "address"),
    ("SINCE", "state_changed_at"),
    ("REASON", "reason"),
];

/// Machines.
#[derive(Subcommand)]
pub enum MachineCommand {
    /// List all machines, oldest first.
    #[command(visible_alias = "ls")]
    List {
        /// Only in this state.
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Show one: what it is made of, how far it has come, why it failed.
    #[command(visible_alias = "show")]
    Get {
        /// Host name, MAC address, serial number or id.
        #[arg(add = machines())]
        machine: String,
    },
    /// Make a machine a host: it is installed under this name when it netboots, and its disks are wiped.
    Approve(Changing<Approval>),
    /// Follow a machine until it is ready or has failed, with what its installer writes. Without a name: follow
    /// every change of all machines.
    ///
    /// Exit code: 0 ready; 1 failed or retired; 6 not there in time.
    Watch {
        /// Host name, MAC address, serial number or id.
        #[arg(add = machines())]
        machine: Option<String>,
        /// Give up after so many seconds, or so long with a unit: 20m. Default: never.
        #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
        timeout: Option<u32>,
    },
    /// Wipe a host and install it anew when it netboots next; its certificate ends at once.
    Reinstall(Changing<Wipe>),
    /// Take a machine out: its name is free, its identities end. Its disks are left alone.
    Retire(Changing<Retirement>),
    /// Make a join token for a host that cannot renew its certificate, because it ended while the host was off or its
    /// key is lost. With it the host enrols again; nothing on it is wiped.
    ///
    /// Whoever has the token can become that host: it is printed once, and is good once and for that machine alone.
    /// What to do with it is said on standard error.
    Token(Changing<Token>),
}

/// Which machine becomes which host.
#[derive(Args)]
pub struct Approval {
    /// MAC address, serial number or id.
    #[arg(add = machines())]
    machine: String,
    /// Its host name: one of the flake's `nixosConfigurations`.
    #[arg(long)]
    name: String,
    /// Its address as a host. Default: what the cluster gives that host.
    #[arg(long, default_value = "", hide_default_value = true)]
    address: String,
    /// The host name again, in place of typing it back when asked.
    #[arg(long, value_name = "NAME")]
    yes_wipe: Option<String>,
}

/// Which host is installed anew.
#[derive(Args)]
pub struct Wipe {
    /// Host name, MAC address, serial number or id.
    #[arg(add = machines())]
    machine: String,
    /// The host name again, in place of typing it back when asked.
    #[arg(long, value_name = "NAME")]
    yes_wipe: Option<String>,
}

/// Which machine is taken out.
#[derive(Args)]
pub struct Retirement {
    /// Host name, MAC address, serial number or id.
    #[arg(add = machines())]
    machine: String,
    /// The host name (of a machine without one: the id) again, in place of typing it back when asked.
    #[arg(long, value_name = "NAME")]
    yes_retire: Option<String>,
}

/// Whose join token, and where it goes.
#[derive(Args)]
pub struct Token {
    /// Its host name, whole: that confirms which host is meant.
    #[arg(add = machines())]
    name: String,
    /// Write the token to this new file, which only you can read, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// How far a machine has come.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// Netbooted; nobody has approved it.
    Discovered,
    /// It has a name, and is installed when it netboots.
    Approved,
    /// The installer is at work, or its host has not enrolled yet.
    Installing,
    /// The host has its certificate.
    Joined,
    /// What its flake gives it runs.
    Ready,
    /// The installation failed.
    Failed,
    /// Taken out.
    Retired,
}

impl From<State> for MachineState {
    fn from(state: State) -> Self {
        match state {
            State::Discovered => Self::Discovered,
            State::Approved => Self::Approved,
            State::Installing => Self::Installing,
            State::Joined => Self::Joined,
            State::Ready => Self::Ready,
            State::Failed => Self::Failed,
            State::Retired => Self::Retired,
        }
    }
}

/// `photon machine`
pub async fn run(command: MachineCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        MachineCommand::List { state, shape } => {
            let request = ListMachinesRequest {
                state: state.map_or(MachineState::Unspecified, Into::into).into(),
                ..Default::default()
            };
            let all = desk.first(request, shape.enough()).await?;
            let rows = match desk.output.has_columns() {
                true => all.iter().map(row).collect::<Result<_, _>>()?,
                false => to_rows(&all)?,
            };
            desk.print_rows::<Machine>(rows, COLUMNS, &shape)
        }
        MachineCommand::Get { machine } => desk.output.one(&find(desk, &machine).await?),
        MachineCommand::Approve(Changing { flags, once }) => approve(flags, &once, desk).await,
        MachineCommand::Watch { machine, timeout } => {
            watch::run(
                desk,
                machine,
                timeout.map(|seconds| Duration::from_secs(seconds.into())),
            )
            .await
        }
        MachineCommand::Reinstall(Changing { flags, once }) => reinstall(flags, &once, desk).await,
        MachineCommand::Token(Changing { flags, once }) => {
            token::run(desk, &once, flags.name, flags.out).await
        }
        MachineCommand::Retire(Changing { flags, once }) => retire(flags, &once, desk).await,
    }
}

async fn approve(flags: Approval, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let name = flags.name;
    let found = find(desk, &flags.machine).await?;
    // Approved under this name already, nothing more will be wiped than was agreed to.
    if found.state() != MachineState::Approved || found.name != name {
        let question = format!(
            "{}\nThis machine will be wiped and become the host {name}.",
            describe(&found)
        );
        type_back(&name, flags.yes_wipe.as_deref(), "--yes-wipe", &question)?;
    }
    let request = ApproveMachineRequest {
        id: found.id,
        name,
        address: flags.address,
        expected_revision: seen(once, flags.yes_wipe.as_deref(), found.revision),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

async fn reinstall(flags: Wipe, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let found = find(desk, &flags.machine).await?;
    let question = format!(
        "{}\nThe host {} will be wiped: its VMs' disks, its certificate and all else on it end.",
        describe(&found),
        called(&found)
    );
    let given = flags.yes_wipe.as_deref();
    let typed = type_back(called(&found), given, "--yes-wipe", &question)?;
    let request = ReinstallMachineRequest {
        id: found.id,
        confirm_name: typed,
        expected_revision: seen(once, given, found.revision),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

async fn retire(flags: Retirement, once: &Once, desk: &Desk<'_>) -> Result<(), Failure> {
    let found = find(desk, &flags.machine).await?;
    let question = format!(
        "{}\nThe machine {} will be taken out of the cloud; its disks are left alone.",
        describe(&found),
        called(&found)
    );
    let given = flags.yes_retire.as_deref();
    let typed = type_back(called(&found), given, "--yes-retire", &question)?;
    let request = RetireMachineRequest {
        id: found.id,
        confirm_name: typed,
        expected_revision: seen(once, given, found.revision),
        ..Default::default()
    };
    desk.output.one(&desk.make(once, request).await?)
}

/// What was shown is what is agreed to: the revision that the change counts for. A script that gives the name by a flag
/// and may repeat itself under one request id was shown nothing, and must send the same again: it names no revision.
fn seen(once: &Once, given: Option<&str>, revision: u64) -> u64 {
    match once.is_given() && given.is_some() {
        true => 0,
        false => revision,
    }
}

async fn find(desk: &Desk<'_>, machine: &str) -> Result<Machine, Failure> {
    desk.find::<GetMachineRequest>("machine", machine).await
}

/// What a machine is typed back as: its host name, or its id while it has none.
fn called(machine: &Machine) -> &str {
    if machine.name.is_empty() {
        &machine.id
    } else {
        &machine.name
    }
}

/// A row of the table: the first interface that has a carrier stands for the machine.
fn row(machine: &Machine) -> Result<Value, Failure> {
    let mut row = to_json(Machine::NAME, machine)?;
    let interfaces = machine.inventory.iter().flat_map(|had| &had.interfaces);
    let mut macs: Vec<_> = interfaces.collect();
    macs.sort_by_key(|interface| !interface.up);
    row["mac"] = macs
        .first()
        .map_or(Value::Null, |first| first.mac.as_str().into());
    Ok(row)
}

/// What somebody should see before its disks are wiped.
fn describe(machine: &Machine) -> String {
    let mut lines = Vec::new();
    let had = machine.inventory.clone().unwrap_or_default();
    let model = [had.manufacturer.as_str(), &had.product, &had.serial];
    let model: Vec<&str> = model.into_iter().filter(|text| !text.is_empty()).collect();
    lines.push(format!(
        "Machine {}: {}, {} CPUs, {} MiB, seen at {}",
        called(machine),
        model.join(" "),
        had.cpus,
        had.memory_mib,
        machine.reported_address
    ));
    for disk in &had.disks {
        let facts = [disk.model.as_str(), &disk.serial];
        let facts: Vec<&str> = facts.into_iter().filter(|text| !text.is_empty()).collect();
        lines.push(format!(
            "  disk {}: {} {}",
            disk.device,
            // As disks are sold: in powers of ten.
            DecimalBytes(disk.size_bytes),
            facts.join(" ")
        ));
    }
    if had.disks.is_empty() {
        lines.push("  it has told of no disk".to_owned());
    }
    // A machine chose these texts: none of its hidden characters reaches the terminal.
    let clean = |line: &String| {
        line.replace(photon_resource::is_hidden, " ")
            .trim_end()
            .to_owned()
    };
    lines.iter().map(clean).collect::<Vec<_>>().join("\n")
}

/// Asks for the name typed back; the flag answers for scripts. What was typed.
fn type_back(
    name: &str,
    given: Option<&str>,
    flag: &str,
    question: &str,
) -> Result<String, Failure> {
    let typed = match given {
        Some(typed) => typed.to_owned(),
        None if std::io::stdin().is_terminal() => {
            eprint!("{question}\nType {name} to go on: ");
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).map_err(|error| {
                Failure::Local(format!("cannot read from the terminal: {error}"))
            })?;
            answer.trim().to_owned()
        }
        None => {
            return Err(Failure::Local(format!(
                "{question}\nSay {flag} {name}, since there is no terminal to ask on."
            )));
        }
    };
    if typed == name {
        Ok(typed)
    } else {
        Err(Failure::Local(format!(
            "'{typed}' is not '{name}': nothing was changed"
        )))
    }
}

#[cfg(test)]
mod tests {
    use photon_api::provisioner::v1::{Inventory, MachineDisk, MachineInterface};

    use super::*;

    fn machine() -> Machine {
        let interface = |mac: &str, up| MachineInterface {
            mac: mac.into(),
            up,
            ..Default::default()
        };
        Machine {
            id: "3f0c".into(),
            state: MachineState::Discovered.into(),
            reported_address: "192.0.2.77".into(),
            inventory: Some(Inventory {
                serial: "S\u{1b}[2J1".into(),
                product: "R6525".into(),
                cpus: 64,
                memory_mib: 262_144,
                interfaces: vec![
                    interface("52:54:00:00:00:01", false),
                    interface("52:54:00:00:00:02", true),
                ],
                disks: vec![MachineDisk {
                    device: "/dev/nvme0n1".into(),
                    size_bytes: 1_920_383_410_176,
                    model: "PM9A3".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_row_shows_the_interface_with_a_carrier() {
        let row = row(&machine()).unwrap();
        assert_eq!(row["mac"], "52:54:00:00:00:02");
        for (_, field) in COLUMNS {
            let at = field.split('.').fold(&row, |value, part| &value[part]);
            let absent = *field == "state_changed_at";
            assert!(absent || !at.is_null(), "{field}: {row}");
        }
    }

    #[test]
    fn what_is_wiped_is_shown_and_cannot_play_with_the_terminal() {
        let text = describe(&machine());
        assert!(text.contains("disk /dev/nvme0n1: 1.92 TB PM9A3"), "{text}");
        assert!(text.contains("R6525") && text.contains("64 CPUs"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn only_the_name_itself_counts() {
        assert_eq!(
            type_back("node02", Some("node02"), "--yes-wipe", "?").unwrap(),
            "node02"
        );
        let error = type_back("node02", Some("node03"), "--yes-wipe", "?").unwrap_err();
        assert!(
            error.to_string().contains("'node03' is not 'node02'"),
            "{error}"
        );
    }

    #[test]
    fn a_machine_without_a_name_is_called_by_its_id() {
        let mut machine = machine();
        assert_eq!(called(&machine), "3f0c");
        machine.name = "node02".into();
        assert_eq!(called(&machine), "node02");
    }
}
