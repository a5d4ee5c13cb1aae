//! The User-mode Linux process of a host.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

use super::network::Namespace;
use super::process::Process;
use crate::progress::tail;

/// What a machine is made of.
pub(super) struct Plan<'a> {
    pub number: u8,
    pub run_id: &'a str,
    pub dir: &'a Path,
    pub kernel: PathBuf,
    pub image: PathBuf,
    pub memory_mib: u32,
}

impl Plan<'_> {
    pub fn disk(&self) -> PathBuf {
        self.dir.join(format!("h{}.cow", self.number))
    }

    pub fn share(&self) -> PathBuf {
        self.dir.join(format!("h{}.share", self.number))
    }

    pub fn console(&self) -> PathBuf {
        self.dir.join(format!("h{}.console", self.number))
    }

    /// The kernel's command line.
    fn arguments(&self) -> Vec<OsString> {
        let number = self.number;
        let mut disk = OsString::from("ubd0=");
        disk.push(self.disk());
        disk.push(",");
        disk.push(&self.image);
        let mut share = OsString::from("rack.share=");
        share.push(self.share());
        // The same at every boot of this host, another in every run: hosts must not be confused.
        let machine_id = format!("{:0>24}{:08x}", self.run_id, number);
        let mut arguments: Vec<OsString> = vec![disk, share];
        arguments.extend(
            [
                &format!("mem={}M", self.memory_mib),
                &format!("umid=h{number}"),
                // Relative to the run's directory: the name of a socket in it has little room.
                "uml_dir=uml/",
                "seccomp=on",
                "root=/dev/ubda",
                "rw",
                "noreboot",
                "con=null",
                "con0=null,fd:1",
                "ssl=null",
                "console=tty0",
                "quiet",
                "loglevel=4",
                "panic=-1",
                "net.ifnames=0",
                "dummy.numdummies=0",
                "rcupdate.rcu_expedited=1",
                "systemd.show_status=0",
                &format!("systemd.hostname=h{number}"),
                &format!("systemd.machine_id={machine_id}"),
                &format!("rack.host={number}"),
                &format!("vec0:transport=tap,ifname=u{number},mac=02:00:00:00:00:{number:02x}"),
                &format!("vec1:transport=tap,ifname=m{number},mac=02:00:00:00:01:{number:02x}"),
            ]
            .map(OsString::from),
        );
        arguments
    }
}

#[derive(Debug)]
pub(super) struct Machine {
    process: Process,
}

impl Machine {
    pub async fn start(plan: &Plan<'_>, namespace: &Namespace) -> Result<Self> {
        std::fs::create_dir_all(plan.dir.join("uml"))?;
        let console = File::options()
            .create(true)
            .append(true)
            .open(plan.console())?;
        let mut command = namespace.command(&plan.kernel);
        command
            .args(plan.arguments())
            .current_dir(plan.dir)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", plan.dir)
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        if !memory_fits(plan.memory_mib) {
            command.env("TMPDIR", plan.dir);
        }

        let process = Process::start(command)
            .await
            .context("cannot start the host's kernel")?;
        Ok(Machine { process })
    }

    pub fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Waits until the process is gone.
    pub async fn end(&self, limit: Duration) -> Result<()> {
        self.process.end(limit).await
    }

    /// The end that a power cut is: nothing in the host gets to do anything more.
    pub async fn kill(&self) -> Result<()> {
        self.process.kill().await
    }
}

/// A host's memory is a sparse file on a tmpfs, /dev/shm if that can hold it; in a container that
/// is often tiny, and the host would die of SIGBUS.
fn memory_fits(memory_mib: u32) -> bool {
    statvfs("/dev/shm")
        .is_ok_and(|shm| shm.blocks_available() * shm.fragment_size() > u64::from(memory_mib) << 20)
}

pub(super) fn last_words(plan: &Plan<'_>) -> String {
    format!("its console ended with:\n{}", tail(&plan.console(), 25))
}
