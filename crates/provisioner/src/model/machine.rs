//! A machine.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use photon_resource::{Error, Kind, Mac};
use uuid::Uuid;

use super::{Event, Hardware, MOST_INTERFACES, State, serial, smbios_uuid};

/// A machine's id, given when it is first seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineId(Uuid);

impl MachineId {
    /// A new one. In the order of time (UUID version 7, RFC 9562), so that lists have the oldest first.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl FromStr for MachineId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Error::invalid("id", text, "a machine's id: a UUID"))
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MachineId({})", self.0)
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub id: MachineId,
    pub state: State,
    /// Its host name, from approval to retirement.
    pub name: Option<String>,
    pub hardware: Hardware,
    /// Where its last report came from.
    pub reported_address: Option<IpAddr>,
    /// Its address as a host.
    pub address: Option<IpAddr>,
    /// Why it failed.
    pub reason: String,
    /// The end of what its installer wrote.
    pub log_tail: String,
    /// Reports that contradict what is known of it, newest last.
    pub conflicts: Vec<String>,
    pub created_at: SystemTime,
    pub updated_at: SystemTime,
    pub state_changed_at: SystemTime,
    pub reported_at: SystemTime,
    /// When its installer was done.
    pub installed_at: Option<SystemTime>,
    /// How often an installation of it was begun.
    pub installations: u32,
    /// SHA-256 of its newest join token, in hex: that of its last installation, or one that an operator asked for.
    pub token: Option<String>,
    /// The newest of its certificates that count.
    pub certificate: Option<Certificate>,
    /// What its host said that it runs.
    pub version: String,
    /// Grows with every change but the passing of time.
    pub revision: u64,
}

/// A host's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number, in hex.
    pub serial: String,
    pub expires_at: SystemTime,
}

/// Who shows a certificate, by its verified content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostIdentity {
    /// Name of the host.
    pub name: String,
    /// Serial number of the certificate, in hex.
    pub serial: String,
}

/// Which machine a host says that it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIdentity {
    pub serial: Option<String>,
    pub uuid: Option<Uuid>,
    pub macs: Vec<Mac>,
}

impl MachineIdentity {
    /// Reads what a host tells of it.
    ///
    /// Errors: `InvalidArgument` if a MAC address is none, or if there are too many.
    pub fn read(serial: &str, uuid: &str, macs: &[String]) -> Result<Self, Error> {
        if macs.len() > MOST_INTERFACES {
            let told = format!("{} addresses", macs.len());
            return Err(Error::invalid(
                "identity.macs",
                told,
                format!("at most {MOST_INTERFACES}"),
            ));
        }
        let macs: Result<Vec<Mac>, Error> = macs.iter().map(|mac| mac.trim().parse()).collect();
        Ok(Self {
            serial: self::serial(serial),
            uuid: smbios_uuid(uuid),
            macs: macs?,
        })
    }
}

/// How many contradictions are remembered of a machine.
const CONFLICTS: usize = 8;

/// What machines are called.
pub const MACHINES: Kind = Kind {
    service: "provision",
    plural: "machines",
    noun: "machine",
};

impl Machine {
    /// One that is seen for the first time.
    pub fn discovered(hardware: Hardware, address: IpAddr, now: SystemTime) -> Self {
        Self {
            id: MachineId::generate(),
            state: State::Discovered,
            name: None,
            hardware,
            reported_address: Some(address),
            address: None,
            reason: String::new(),
            log_tail: String::new(),
            conflicts: Vec::new(),
            created_at: now,
            updated_at: now,
            state_changed_at: now,
            reported_at: now,
            installed_at: None,
            installations: 0,
            token: None,
            certificate: None,
            version: String::new(),
            revision: 1,
        }
    }

    /// What people call this one: its host name, else its id.
    pub fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }

    /// Moves it on.
    ///
    /// Errors: `FailedPrecondition` if its state does not allow that; nothing has changed then.
    pub fn apply(&mut self, event: Event, now: SystemTime) -> Result<(), Error> {
        let next = self.state.after(event, &self.called())?;
        if next == self.state {
            return Ok(());
        }
        self.state = next;
        self.state_changed_at = now;
        self.updated_at = now;
        match event {
            Event::Approve | Event::Reinstall => {
                self.forget_installation();
                self.token = None;
                self.certificate = None;
                self.version.clear();
            }
            Event::Start => {
                self.forget_installation();
                self.installations += 1;
            }
            Event::Retire => {
                self.name = None;
                self.address = None;
                self.token = None;
                self.certificate = None;
            }
            Event::Enrol | Event::Invite | Event::EnrolAgain | Event::Ready | Event::Fail => {}
        }
        Ok(())
    }

    fn forget_installation(&mut self) {
        self.installed_at = None;
        self.reason.clear();
        self.log_tail.clear();
    }

    /// Remembers a contradiction; `false`: it was known.
    pub fn note_conflict(&mut self, conflict: &str, now: SystemTime) -> bool {
        if self.conflicts.iter().any(|known| known == conflict) {
            return false;
        }
        if self.conflicts.len() == CONFLICTS {
            self.conflicts.remove(0);
        }
        self.conflicts.push(conflict.to_owned());
        self.updated_at = now;
        true
    }

    /// Whether its disk has a system that it should boot.
    pub fn boots_from_disk(&self) -> bool {
        match self.state {
            State::Joined | State::Ready => true,
            State::Installing => self.installed_at.is_some(),
            _ => false,
        }
    }

    /// Whether a report may still say what it is made of. Later, only time can pass: what is told over plain HTTP
    /// must not change a machine that is being installed or is a host.
    pub fn takes_reports(&self) -> bool {
        matches!(self.state, State::Discovered | State::Approved)
    }

    /// Refuses unless its name (or, without one, its id) is typed back, or `force` is given.
    ///
    /// Errors: `FailedPrecondition`.
    pub fn confirmed(&self, typed: &str, force: bool, consequence: &str) -> Result<(), Error> {
        let called = self.called();
        if force || typed == called {
            return Ok(());
        }
        Err(Error::FailedPrecondition(match typed {
            "" => {
                format!("{consequence}: confirm it with the machine's name, '{called}', or force")
            }
            other => {
                format!("{consequence}: '{other}' was typed, but the machine's name is '{called}'")
            }
        }))
    }

    /// Why `identity` is not this machine's; `None`: it is. All that it names must be this machine's, and it must
    /// name something.
    pub fn contradiction(&self, identity: &MachineIdentity) -> Option<String> {
        let hardware = &self.hardware;
        if let Some(uuid) = identity.uuid
            && hardware.uuid != Some(uuid)
        {
            return Some(format!("its UUID is not {uuid}"));
        }
        if let Some(serial) = &identity.serial
            && hardware.serial.as_ref() != Some(serial)
        {
            return Some(format!("its serial number is not '{serial}'"));
        }
        let known = |mac: &Mac| hardware.interfaces.iter().any(|it| it.mac == *mac);
        if !identity.macs.is_empty() && !identity.macs.iter().any(known) {
            let shown: Vec<String> = identity.macs.iter().map(Mac::to_string).collect();
            return Some(format!("none of {} is its MAC address", shown.join(", ")));
        }
        if identity.uuid.is_none() && identity.serial.is_none() && identity.macs.is_empty() {
            return Some("neither UUID, serial number nor MAC address was given".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Interface;

    fn machine() -> Machine {
        let hardware = Hardware {
            serial: Some("S1".into()),
            uuid: Some(Uuid::from_u128(7)),
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "52:54:00:00:00:01".parse().unwrap(),
                up: true,
                speed_mbps: 0,
                usb: false,
            }],
            ..Hardware::default()
        };
        Machine::discovered(
            hardware,
            "192.0.2.9".parse().unwrap(),
            SystemTime::UNIX_EPOCH,
        )
    }

    #[test]
    fn an_identity_must_name_something_and_nothing_of_another_machine() {
        let machine = machine();
        let identity = |serial: &str, uuid: u128, macs: &[&str]| MachineIdentity {
            serial: Some(serial.to_owned()).filter(|it| !it.is_empty()),
            uuid: Some(Uuid::from_u128(uuid)).filter(|it| !it.is_nil()),
            macs: macs.iter().map(|mac| mac.parse().unwrap()).collect(),
        };
        let own = "52:54:00:00:00:01";
        let other = "52:54:00:00:00:02";
        for good in [
            identity("S1", 7, &[own]),
            identity("", 0, &[own, other]),
            identity("S1", 0, &[]),
        ] {
            assert_eq!(machine.contradiction(&good), None);
        }
        for (bad, why) in [
            (identity("S2", 7, &[own]), "serial number"),
            (identity("S1", 8, &[own]), "UUID"),
            (identity("S1", 7, &[other]), "MAC address"),
            (identity("", 0, &[]), "neither"),
        ] {
            let told = machine.contradiction(&bad).unwrap();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn wiping_asks_for_the_name_or_force() {
        let mut machine = machine();
        machine.name = Some("node02".into());
        machine.confirmed("node02", false, "c").unwrap();
        machine.confirmed("", true, "c").unwrap();
        for typed in ["", "node03", "NODE02", "node02 "] {
            let error = machine.confirmed(typed, false, "this wipes").unwrap_err();
            assert!(error.to_string().contains("'node02'"), "{error}");
        }
    }

    #[test]
    fn a_reinstallation_forgets_certificate_and_token_but_not_the_name() {
        let mut machine = machine();
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        machine.name = Some("node02".into());
        machine.state = State::Ready;
        machine.token = Some("digest".into());
        machine.certificate = Some(Certificate {
            serial: "01".into(),
            expires_at: later,
        });
        machine.apply(Event::Reinstall, later).unwrap();
        assert_eq!(machine.state, State::Approved);
        assert_eq!(machine.name.as_deref(), Some("node02"));
        assert_eq!((machine.token, machine.certificate), (None, None));
        assert_eq!(machine.state_changed_at, later);
    }
}
