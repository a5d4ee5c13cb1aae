//! A host on the machine's own kernel: the host image booted by systemd-nspawn, without VMs or emulation between the
//! daemons and the processor.
//!
//! The kernel of the machine may lack what prismnet-agent needs (VRF devices, conntrack in bridges), so that agent
//! does not run here. The benchmark makes bridge, TAP and DHCP lease in its place, by the same networkd, before the
//! VM is asked for.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use photon_api::prismnet::v1::{Port, Subnet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::Instant;

use super::vm::Place;
use crate::images::{Images, host};
use crate::native::servers::{tenant, urls};
use crate::native::stage::Process;
use crate::photoncloud::programs::Programs;
use crate::photoncloud::{self, CREDENTIALS};
use crate::rack::run::Run;
use photon_e2e::guest::Line;
use photon_e2e::{Channels, OPERATOR, Session};

const UP: Duration = Duration::from_secs(60);
const HOST: Duration = Duration::from_secs(30);
const BRIDGE: &str = "pbbench";

/// Not for this host: the rack's ways into it, and the agent that the kernel has nothing for.
const MASKED: [&str; 3] = [
    "rack-setup.service",
    "rack-agent.service",
    "prismnet-agent.service",
];

/// `$1` directory, `$2` image, `$3` namespace, `$4` machine's name. The mounts are in a namespace of their own and
/// go with its last process.
const BOOT: &str = "set -e\n\
    mkdir -p $1/lower $1/work $1/root\n\
    mount -o loop,ro,noload $2 $1/lower\n\
    mount -t overlay overlay -o lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work $1/root\n\
    export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1\n\
    exec systemd-nspawn --quiet --directory=$1/root --boot --register=no --keep-unit --console=pipe \
      --machine=$4 --hostname=h1 --network-namespace-path=$3 --capability=all --bind=/dev/net/tun \
      --bind-ro=$1/bin:/usr/lib/photoncloud/bin";

/// It ends with the run.
pub struct Container {
    /// The process id of its systemd, as the machine sees it.
    leader: String,
    process: Process,
    machine: String,
}

impl Container {
    /// Boots it in the run's network namespace, with PhotonCloud installed.
    ///
    /// # Errors
    /// When it does not boot; with what systemd-nspawn says.
    pub async fn boot(run: &Arc<Run>, images: &Images, programs: &Programs) -> Result<Self> {
        let directory = &run.dir;
        programs.place(&directory.join("bin"))?;
        let units = directory.join("upper/etc/systemd/system");
        std::fs::create_dir_all(&units)?;
        for (name, text) in photoncloud::units()? {
            if !MASKED.contains(&name.as_str()) {
                std::fs::write(units.join(name), text)?;
            }
        }
        for name in MASKED {
            symlink("/dev/null", units.join(name))?;
        }
        let machine = format!("photon-{}", run.id);
        let mut command = Command::new("setpriv");
        command
            .args([
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "bash",
                "-c",
                BOOT,
                "boot",
            ])
            .arg(directory)
            .arg(images.host.file(host::IMAGE))
            .arg(run.namespace.path())
            .arg(&machine);
        let process = Process::start("container", command, directory).await?;
        let deadline = Instant::now() + UP;
        let leader = loop {
            process
                .check()
                .context("systemd-nspawn could not boot the host")?;
            if let Some(leader) = leader_of(&process)? {
                break leader;
            }
            ensure!(Instant::now() < deadline, "systemd-nspawn starts nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let container = Container {
            leader,
            process,
            machine,
        };
        while let Err(error) = container.check("systemctl is-system-running --wait").await {
            ensure!(Instant::now() < deadline, "the host is not up: {error:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(container)
    }

    /// Starts PhotonCloud, and signs a tenant in. To be called inside the namespace.
    pub async fn start(&self) -> Result<Session> {
        self.check(
            "systemctl start iam-server prismnet-server plasmavmc-server plasmavmc-agent || \
             { journalctl -n 40 -o cat --no-pager; exit 1; }",
        )
        .await?;
        let password = self
            .check(&format!("cat {CREDENTIALS}/operator-password"))
            .await?;
        let channels = Channels::at(urls())?;
        let operator = Session::open(&channels, OPERATOR, "", "", password.trim()).await?;
        operator.wait_for_host(HOST).await?;
        tenant(&operator, &channels).await
    }

    /// Shuts it down in order, so that systemd-nspawn removes what it keeps of it in `/run`.
    pub async fn stop(self) -> Result<()> {
        self.process.stop().await?;
        let kept = Path::new("/run/systemd/nspawn/propagate").join(&self.machine);
        match std::fs::remove_dir(&kept) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", kept.display()))
            }
            _ => Ok(()),
        }
    }

    fn bash(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader, "--all", "--", "env", "-i"])
            .args([
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                "bash",
                "-c",
            ])
            .arg(script);
        command
    }
}

/// The child of systemd-nspawn that is the container's first process.
fn leader_of(process: &Process) -> Result<Option<String>> {
    let path = format!("/proc/{0}/task/{0}/children", process.pid());
    let children = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // While it sets the container up, nspawn's child is not systemd yet.
    Ok(children
        .split_whitespace()
        .find(|child| {
            let name = std::fs::read_to_string(format!("/proc/{child}/comm"));
            name.is_ok_and(|name| name.trim() == "systemd")
        })
        .map(str::to_owned))
}

impl Place for Container {
    const NATIVE: bool = true;

    async fn check(&self, script: &str) -> Result<String> {
        let output = tokio::process::Command::from(self.bash(script))
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot start nsenter")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!(
                "in the container, `{script}` failed ({}):\n{}{}",
                output.status,
                text(&output.stdout),
                text(&output.stderr)
            );
        }
        Ok(text(&output.stdout))
    }

    async fn talk(&self, script: &str) -> Result<impl Line> {
        let mut child = tokio::process::Command::from(self.bash(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start nsenter")?;
        Ok(Pipe {
            input: child.stdin.take().context("the input is a pipe")?,
            output: child.stdout.take().context("the output is a pipe")?,
            _child: child,
        })
    }

    async fn plug(&self, subnet: &Subnet, port: &Port) -> Result<()> {
        let (_, bits) = subnet.cidr.split_once('/').context("a CIDR has a length")?;
        let tap = tap(port)?;
        let script = format!(
            "set -e\n\
             mkdir -p /run/systemd/network; cd /run/systemd/network\n\
             cat > 50-bench.netdev <<EOF\n[NetDev]\nName={BRIDGE}\nKind=bridge\nEOF\n\
             cat > 50-bench.network <<EOF\n[Match]\nName={BRIDGE}\n[Network]\nAddress={gateway}/{bits}\n\
             ConfigureWithoutCarrier=yes\nDHCPServer=yes\n[DHCPServer]\nPoolOffset=200\nPoolSize=1\nEmitDNS=no\n\
             [DHCPServerStaticLease]\nMACAddress={mac}\nAddress={address}\nEOF\n\
             cat > 50-bench-{tap}.netdev <<EOF\n[NetDev]\nName={tap}\nKind=tap\nEOF\n\
             cat > 50-bench-{tap}.network <<EOF\n[Match]\nName={tap}\n[Network]\nBridge={BRIDGE}\nEOF\n\
             networkctl reload\n\
             until [ -e /sys/class/net/{BRIDGE}/brif/{tap} ]; do sleep 0.02; done\n\
             until networkctl status {BRIDGE} | grep -q configured; do sleep 0.02; done",
            gateway = subnet.gateway,
            mac = port.mac_address,
            address = port.ip_address,
        );
        let plugged = tokio::time::timeout(UP, self.check(&script)).await;
        plugged.unwrap_or_else(|_| bail!("networkd did not make {tap}"))?;
        Ok(())
    }

    async fn unplug(&self, port: &Port) -> Result<()> {
        let tap = tap(port)?;
        self.check(&format!(
            "rm /run/systemd/network/50-bench-{tap}.*; networkctl reload; ip link delete {tap}"
        ))
        .await?;
        Ok(())
    }
}

/// The name of the port's interface, which the port itself tells only when it is attached.
fn tap(port: &Port) -> Result<String> {
    Ok(photon_resource::tap_name(port.id.parse()?))
}

/// A program's input and output.
struct Pipe {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl Line for Pipe {
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.input.write_all(bytes).await?)
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let count = self.output.read(&mut buffer).await?;
        ensure!(count > 0, "the program ended");
        buffer.truncate(count);
        Ok(buffer)
    }
}
