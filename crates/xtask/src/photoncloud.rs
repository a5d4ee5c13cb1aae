//! PhotonCloud on a host of the rack: the programs of this tree, the unit files of `modules/units`,
//! and the ways to its servers.

pub mod appliance;
pub mod programs;
pub mod rendered;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use photon_api::components::{self, COMPONENTS, Component, IAM, PLASMAVMC, PRISMNET, Program};

use crate::rack::Host;
use crate::rack::forward::Forward;

/// Where units expect the programs; what `@bindir@` in them becomes.
pub const BINDIR: &str = "/usr/lib/photoncloud/bin";
pub const CREDENTIALS: &str = "/var/lib/photoncloud/credentials";

/// A host that never had the programs' pages in memory takes its time.
const START: Duration = Duration::from_secs(90);

/// The root of the source tree.
pub fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the package lies two directories below the root")
        .to_owned()
}

/// The units of the components' programs, by name.
pub fn program_units() -> Vec<String> {
    let mut units: Vec<String> = components::programs().map(Program::unit).collect();
    units.sort();
    units
}

/// The unit files, by name, ready for a host. modules/photoncloud.nix does the same for NixOS.
pub fn units() -> Result<BTreeMap<String, String>> {
    let modules = tree().join("modules");
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let sandbox = read(&modules.join("sandbox.conf"))?;
    let programs = program_units().join(" ");
    let directory = modules.join("units");
    let mut units = BTreeMap::new();
    for entry in std::fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} is no unit's name", path.display()))?;
        let text = read(&path)?
            .replace("@sandbox@\n", &sandbox)
            .replace("@programs@", &programs)
            .replace("@bindir@", BINDIR);
        units.insert(name.to_owned(), text);
    }
    Ok(units)
}

/// A host's settings of the kernel, as NixOS makes them of `modules/programs/ports.nix`.
pub fn kernel_settings() -> String {
    let ports: Vec<String> = components::ports().iter().map(u16::to_string).collect();
    format!("{} = {}\n", components::RESERVED_PORTS, ports.join(","))
}

/// Makes the groups that units name, as `modules/disks.nix`, `modules/images.nix` and `modules/components/plasmavmc.nix` do. Their numbers are of no matter
/// here, where no file system is laid out by them.
const GROUPS: &str = "for group in photoncloud-stores photoncloud-fetch photoncloud-metadata; do \
     getent group $group >/dev/null || groupadd --system $group; done";

/// Where they are on a host, by NixOS's name.
pub const KERNEL_SETTINGS: &str = "etc/sysctl.d/60-nixos.conf";

/// Installs PhotonCloud on the host and starts it; ready when all of it is.
///
/// # Errors
/// When a unit is not active in time; the error has its journal.
pub async fn install(host: &Host, programs: &programs::Programs) -> Result<Duration> {
    let begun = Instant::now();
    let units = units()?;
    let share = host.share();
    programs.place(&share.join("bin"))?;
    let directory = share.join("units");
    std::fs::create_dir_all(&directory)?;
    for (name, text) in &units {
        std::fs::write(directory.join(name), text)?;
    }
    std::fs::write(share.join("sysctl"), kernel_settings())?;
    // What the flake's host of this kind runs, of the units of this tree.
    let wants = rendered::Rendered::host("all-in-one")?.wants;
    let enabled = wants.iter().map(|(_, unit)| unit.as_str());
    let enabled: Vec<&str> = enabled.filter(|unit| units.contains_key(*unit)).collect();
    // The programs stay in the share: a host reads of them only what it runs.
    host.check(&format!(
        "set -e\n\
         mkdir -p /usr/lib/photoncloud\n\
         ln -sfn /run/rack/share/bin {BINDIR}\n\
         ln -sf {BINDIR}/photon /usr/local/bin/photon\n\
         install -m 644 -t /etc/systemd/system /run/rack/share/units/*\n\
         install -D -m 644 /run/rack/share/sysctl /{KERNEL_SETTINGS}\n\
         /usr/lib/systemd/systemd-sysctl /{KERNEL_SETTINGS}\n\
         {GROUPS}\n\
         systemctl daemon-reload\n\
         systemctl enable --quiet {}\n\
         systemctl start --no-block photon.target",
        enabled.join(" ")
    ))
    .await?;
    wait_until_active(host).await?;
    Ok(begun.elapsed())
}

/// Waits until everything that photon.target wants is active: after the installation, and after a boot.
pub async fn wait_until_active(host: &Host) -> Result<()> {
    let deadline = Instant::now() + START;
    let wanted = "systemctl show -P Wants photon.target";
    loop {
        let states = host
            .run(&format!("systemctl is-active photon.target $({wanted})"))
            .await?;
        if states.success() && states.stdout.lines().all(|state| state == "active") {
            return Ok(());
        }
        if Instant::now() > deadline {
            let report = host
                .run(&format!(
                    "for unit in $({wanted}); do systemctl is-active -q $unit && continue; \
                     systemctl status --no-pager -n0 $unit; \
                     journalctl --no-pager -o cat -n 25 -u $unit; done"
                ))
                .await?;
            bail!(
                "PhotonCloud is not up on {} after {} s:\n{}",
                host.name(),
                START.as_secs(),
                report.stdout
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Ways from this machine to the servers of a host; they close when this is dropped.
#[derive(Debug)]
pub struct Endpoints(Vec<(&'static Component, Forward)>);

impl Endpoints {
    /// On free ports of this machine.
    pub async fn open(host: &Host) -> Result<Self> {
        Self::at(host, |_| 0).await
    }

    /// On the servers' own ports, which must be free.
    pub async fn open_well_known(host: &Host) -> Result<Self> {
        Self::at(host, |component| component.port).await
    }

    async fn at(host: &Host, port: impl Fn(&Component) -> u16) -> Result<Self> {
        let mut forwards = Vec::new();
        for component in COMPONENTS.into_iter().filter(|it| runs_alone(it)) {
            let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port(component)));
            forwards.push((component, host.forward(component.port, listen).await?));
        }
        Ok(Endpoints(forwards))
    }

    /// Where a component's server is reached from here.
    pub fn url(&self, component: &Component) -> String {
        let found = self.0.iter().find(|(it, _)| *it == component);
        let (_, forward) = found.expect("a server that such a host runs");
        format!("http://{}", forward.address())
    }

    /// The variables by which `photon` finds them.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        let components = self.0.iter().map(|(component, _)| *component);
        components.map(|component| (component.endpoint_variable, self.url(component)))
    }

    /// IAM, PrismNET and PlasmaVMC, in this order.
    pub fn urls(&self) -> [String; 3] {
        [&IAM, &PRISMNET, &PLASMAVMC].map(|component| self.url(component))
    }
}

/// Whether a host that is a whole cloud runs the component's server: the control plane's, that is.
fn runs_alone(component: &Component) -> bool {
    component.programs[0].role == Some("controlPlane")
}

/// The password of the first operator, which the host's bootstrap made.
pub async fn operator_password(host: &Host) -> Result<String> {
    let password = host
        .check(&format!("cat {CREDENTIALS}/operator-password"))
        .await?;
    Ok(password.trim_end_matches('\n').to_owned())
}
