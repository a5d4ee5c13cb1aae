//! The network of a run: a namespace of its own with two bridges, so that nothing of it is seen
//! by the machine, and removing the namespace removes it all.
//!
//! ```text
//!   underlay (192.0.2.0/24)  ── u1 … uN   TAPs to the hosts' vec0: cut and healed by tests
//!                              b1 … bN   TAPs to bare machines
//!   management (198.51.100.0/24, .254 is the rack) ── m1 … mN  to vec1: commands and forwards
//! ```

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use tokio::net::TcpSocket;

#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The namespace of a run, which may not exist (yet, or any more).
    pub fn of_run(id: &str) -> Self {
        Namespace {
            name: format!("photon-{id}"),
        }
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    pub fn create(&self) -> Result<()> {
        ip(&["netns", "add", &self.name])?;
        self.batch(
            "link set lo up\n\
             link add underlay type bridge\n\
             link set underlay up\n\
             address add 192.0.2.254/24 dev underlay\n\
             link add management type bridge\n\
             link set management up\n\
             address add 198.51.100.254/24 dev management\n",
        )
    }

    /// Removes it if it is there; its devices go with it.
    pub fn remove(&self) -> Result<()> {
        if self.path().exists() {
            ip(&["netns", "delete", &self.name])?;
        }
        Ok(())
    }

    pub fn add_host(&self, number: u8) -> Result<()> {
        self.batch(&format!(
            "tuntap add u{number} mode tap\n\
             link set u{number} master underlay up\n\
             tuntap add m{number} mode tap\n\
             link set m{number} master management up\n"
        ))
    }

    /// Another address of the loopback device, for programs inside to call from.
    pub fn add_to_loopback(&self, address: IpAddr) -> Result<()> {
        self.batch(&format!("address add {address} dev lo\n"))
    }

    /// The TAP of a bare machine, on the underlay; its name.
    pub fn add_bare_machine(&self, number: u8) -> Result<String> {
        let name = format!("b{number}");
        self.batch(&format!(
            "tuntap add {name} mode tap\n\
             link set {name} master underlay up\n"
        ))?;
        Ok(name)
    }

    /// Takes the host's underlay out of the bridge.
    pub fn cut(&self, number: u8) -> Result<()> {
        self.batch(&format!("link set u{number} nomaster\n"))
    }

    pub fn heal(&self, number: u8) -> Result<()> {
        self.batch(&format!("link set u{number} master underlay\n"))
    }

    /// A command that will run inside. The program stays the same process: nsenter becomes it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// A socket that lives inside, for use outside: a socket belongs to the namespace in which the
    /// thread that made it was.
    pub async fn socket(&self) -> Result<TcpSocket> {
        let path = self.path();
        tokio::task::spawn_blocking(move || {
            // A thread of its own, which ends in there: no other work may ever run in it.
            std::thread::spawn(move || -> Result<TcpSocket> {
                let namespace =
                    File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
                setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(TcpSocket::new_v4()?)
            })
            .join()
            .map_err(|_| anyhow::anyhow!("the thread that makes a socket panicked"))?
        })
        .await?
    }

    fn batch(&self, commands: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip")?;
        child
            .stdin
            .take()
            .context("the child's input is a pipe")?
            .write_all(commands.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "ip -n {} refused:\n{commands}{}",
                self.name,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

/// The host's address on the management network.
pub fn management_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, number)
}

/// The host's address on the underlay.
pub fn underlay_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot start ip")?;
    if !output.status.success() {
        bail!(
            "ip {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
