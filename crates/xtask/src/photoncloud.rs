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

use crate::rack::Host;
use crate::rack::forward::Forward;

/// Where units expect the programs; what `@bindir@` in them becomes.
pub const BINDIR: &str = "/usr/lib/photoncloud/bin";
pub const CREDENTIALS: &str = "/var/lib/photoncloud/credentials";

/// The servers and their ports, on the host's loopback.
const IAM: u16 = 50080;
const PRISMNET: u16 = 50081;
const PLASMAVMC: u16 = 50082;

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
///
/// # Panics
/// When the table of components is none; every test of the tree would say so.
pub fn program_units() -> Vec<String> {
    let table = include_str!("../../api/components.toml").parse::<toml::Table>();
    let table = table.expect("components.toml is TOML");
    let components = table["component"].as_array().into_iter().flatten();
    let programs = components.filter_map(|component| component["program"].as_array());
    let mut units: Vec<_> = programs
        .flatten()
        .filter_map(|program| Some(format!("{}.service", program["name"].as_str()?)))
        .collect();
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
pub struct Endpoints {
    iam: Forward,
    prismnet: Forward,
    plasmavmc: Forward,
}

impl Endpoints {
    /// On free ports of this machine.
    pub async fn open(host: &Host) -> Result<Self> {
        Self::at(host, [0; 3]).await
    }

    /// On the servers' own ports, which must be free.
    pub async fn open_well_known(host: &Host) -> Result<Self> {
        Self::at(host, [IAM, PRISMNET, PLASMAVMC]).await
    }

    async fn at(host: &Host, ports: [u16; 3]) -> Result<Self> {
        let listen = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Endpoints {
            iam: host.forward(IAM, listen(ports[0])).await?,
            prismnet: host.forward(PRISMNET, listen(ports[1])).await?,
            plasmavmc: host.forward(PLASMAVMC, listen(ports[2])).await?,
        })
    }

    pub fn iam(&self) -> String {
        format!("http://{}", self.iam.address())
    }

    pub fn prismnet(&self) -> String {
        format!("http://{}", self.prismnet.address())
    }

    pub fn plasmavmc(&self) -> String {
        format!("http://{}", self.plasmavmc.address())
    }

    /// All three, in this order.
    pub fn urls(&self) -> [String; 3] {
        [self.iam(), self.prismnet(), self.plasmavmc()]
    }
}

/// The password of the first operator, which the host's bootstrap made.
pub async fn operator_password(host: &Host) -> Result<String> {
    let password = host
        .check(&format!("cat {CREDENTIALS}/operator-password"))
        .await?;
    Ok(password.trim_end_matches('\n').to_owned())
}
