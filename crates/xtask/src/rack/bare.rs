//! A bare machine: real firmware, a network card that boots from the network, a disk with nothing on it.
//! QEMU with an emulated processor, on the rack's underlay beside the hosts.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::Mutex;

use super::firmware::{Uefi, uefi};
use super::process::Process;
use super::run::Run;
use crate::progress::{human, tail};

/// What a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, with the network card's own ROM, which is iPXE.
    Bios,
    /// EDK II with its own network stack: without an iPXE until it is given one.
    Uefi,
}

/// What is written on the machine, and what is in it.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// From 1; decides the MAC address. No two machines of a rack have the same.
    pub number: u8,
    pub serial: String,
    pub uuid: String,
    pub memory_mib: u32,
    pub disk_gib: u32,
    pub firmware: Firmware,
}

impl Hardware {
    /// Enough for the netboot image and a small system.
    pub fn of(number: u8) -> Self {
        Hardware {
            number,
            serial: format!("RACK-{number:04}"),
            uuid: format!("7ac40000-0000-4000-8000-{number:012}"),
            memory_mib: 768,
            disk_gib: 2,
            firmware: Firmware::Bios,
        }
    }

    pub fn mac(&self) -> String {
        format!("02:00:00:00:02:{:02x}", self.number)
    }

    pub fn disk_serial(&self) -> String {
        format!("DISK-{:04}", self.number)
    }
}

/// Its power is off until it is switched on.
#[derive(Debug)]
pub struct Machine {
    hardware: Hardware,
    run: Arc<Run>,
    tap: String,
    /// For those that have it.
    uefi: Option<Uefi>,
    power: Mutex<Option<Process>>,
}

impl Machine {
    pub(super) fn build(hardware: Hardware, run: Arc<Run>) -> Result<Self> {
        let tap = run.namespace.add_bare_machine(hardware.number)?;
        let uefi = match hardware.firmware {
            Firmware::Bios => None,
            Firmware::Uefi => Some(uefi().context("no UEFI for QEMU here (Debian: ovmf)")?),
        };
        let machine = Machine {
            hardware,
            run,
            tap,
            uefi,
            power: Mutex::new(None),
        };
        // Sparse: it takes what is written to it.
        File::create_new(machine.disk())?.set_len(u64::from(machine.hardware.disk_gib) << 30)?;
        if let Some(Uefi { variables, .. }) = &machine.uefi {
            // Its mode is that of a store path where it is one.
            let text = std::fs::read(variables)
                .with_context(|| format!("cannot read {}", variables.display()))?;
            std::fs::write(machine.file("variables"), text)?;
        }
        Ok(machine)
    }

    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// The file that is its disk, byte for byte.
    pub fn disk(&self) -> PathBuf {
        self.file("disk")
    }

    fn console_file(&self) -> PathBuf {
        self.file("console")
    }

    fn file(&self, what: &str) -> PathBuf {
        self.run
            .dir
            .join(format!("b{}.{what}", self.hardware.number))
    }

    /// Switches the power on. Its firmware tries the network first, then the disk.
    ///
    /// # Errors
    /// When it is on already.
    pub async fn power_on(&self) -> Result<()> {
        let mut power = self.power.lock().await;
        if power.as_ref().is_some_and(|process| !process.has_ended()) {
            bail!("the machine {} is on already", self.hardware.serial);
        }
        let console = File::options()
            .create(true)
            .append(true)
            .open(self.console_file())?;
        let mut command = self.run.namespace.command("qemu-system-x86_64");
        command
            .args(self.arguments())
            .current_dir(&self.run.dir)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        *power = Some(
            Process::start(command)
                .await
                .context("cannot start qemu-system-x86_64")?,
        );
        Ok(())
    }

    fn arguments(&self) -> Vec<String> {
        let Hardware {
            serial,
            uuid,
            memory_mib,
            ..
        } = &self.hardware;
        let (mac, disk_serial) = (self.hardware.mac(), self.hardware.disk_serial());
        let (tap, disk) = (&self.tap, self.disk());
        let mut arguments: Vec<String> = ["-accel", "tcg", "-M", "q35", "-nodefaults"]
            .map(String::from)
            .into();
        arguments
            .extend(["-no-user-config", "-display", "none", "-serial", "stdio"].map(Into::into));
        let mut card = format!("virtio-net-pci,netdev=n0,mac={mac},bootindex=1");
        if let Some(Uefi { code, .. }) = &self.uefi {
            // The card's ROM would bring an iPXE.
            card.push_str(",romfile=");
            let variables = self.file("variables");
            arguments.extend([
                "-drive".to_owned(),
                format!("if=pflash,format=raw,readonly=on,file={}", code.display()),
                "-drive".to_owned(),
                format!("if=pflash,format=raw,file={}", variables.display()),
            ]);
        }
        for (option, value) in [
            ("-m", memory_mib.to_string()),
            (
                "-smbios",
                format!(
                    "type=1,manufacturer=Photon,product=Rack machine,serial={serial},uuid={uuid}"
                ),
            ),
            (
                "-netdev",
                format!("tap,id=n0,ifname={tap},script=no,downscript=no"),
            ),
            ("-device", card),
            (
                "-drive",
                format!("file={},if=none,id=d0,format=raw", disk.display()),
            ),
            (
                "-device",
                format!("virtio-blk-pci,drive=d0,serial={disk_serial},bootindex=2"),
            ),
            // Else the first keys of a new host would wait for enough noise.
            ("-device", "virtio-rng-pci".into()),
        ] {
            arguments.extend([option.to_owned(), value]);
        }
        arguments
    }

    /// Pulls the plug.
    pub async fn power_cut(&self) -> Result<()> {
        match self.power.lock().await.take() {
            Some(process) => process.kill().await,
            None => bail!("the machine {} is not on", self.hardware.serial),
        }
    }

    /// All that its firmware and system have said on the serial line, over all its boots.
    pub fn console(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.console_file())?).into_owned())
    }

    /// Waits until the console has said this `times` times since the machine was built.
    pub async fn says(&self, what: &str, times: usize, limit: Duration) -> Result<()> {
        ensure!(times > 0, "what is said no times needs no waiting");
        let begun = Instant::now();
        while self.console()?.matches(what).count() < times {
            let power = self.power.lock().await;
            if power.as_ref().is_none_or(Process::has_ended) {
                bail!(
                    "the machine is off and has not said {what:?}; {}",
                    self.last_words()
                );
            }
            drop(power);
            if begun.elapsed() > limit {
                bail!(
                    "the machine did not say {what:?} within {}; {}",
                    human(limit),
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    pub fn last_words(&self) -> String {
        format!(
            "its console ended with:\n{}",
            tail(&self.console_file(), 40)
        )
    }

    /// Whether nothing was ever written to its disk.
    pub fn disk_is_blank(&self) -> Result<bool> {
        Ok(std::fs::metadata(self.disk())?.blocks() == 0)
    }
}
