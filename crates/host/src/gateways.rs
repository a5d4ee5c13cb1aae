//! NAT gateways: a network namespace each, which two units make (`modules/units/photon-netns@.service`,
//! `photon-gateway@.service`).
//!
//! ```text
//!   agent: NAME.json, photon-netns@NAME.service, two veths ──► photon-gateway@NAME.service, inside: [`set_up`]
//!     reads NAME.applied  ◄──────────────────────────────────────────┘ when all is as it says
//! ```
//! So the agent needs no right to enter a namespace, and what is in there none to leave it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sysctl::{ProcSys, Sysctls};
use crate::systemd::{ActiveState, ServiceManager, SystemdBus};
use crate::{Error, Result, durable, process};

/// Where the files are: none outlives a boot, as no namespace does.
pub const DIRECTORY: &str = "/run/photoncloud/gateways";
/// Where `ip netns` has namespaces (`ip-netns(8)`).
const NAMESPACES: &str = "/run/netns";
/// Where the host's interfaces are.
const INTERFACES: &str = "/sys/class/net";
/// The legs' names in the namespace.
const INSIDE: &str = "in";
const OUTSIDE: &str = "out";

/// Longest time that one program inside may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest time that a gateway's unit may take, and how often it is looked at.
const UNIT_LIMIT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// What a namespace is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The leg in the VPC, `in`.
    pub inside: Leg,
    /// The leg in the external network, `out`.
    pub outside: Leg,
    /// Routes, as `ip route replace` takes them.
    pub routes: Vec<String>,
    /// The table, as `nft -f` takes it.
    pub filter: String,
    /// Floating IPs, and whom they lead to: of those that go, connections are ended.
    pub floating: BTreeMap<String, String>,
}

/// A veth pair with one end in the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The name of the host's end.
    pub host: String,
    /// MAC of the end in the namespace.
    pub mac: String,
    /// The largest packet, in bytes.
    pub mtu: u32,
    /// Addresses with prefix lengths.
    pub addresses: Vec<String>,
}

/// What there is of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Whether there is a namespace of its name.
    pub exists: bool,
    /// What it was told last, and has done.
    pub applied: Option<State>,
}

/// The gateways of a host.
#[async_trait]
pub trait Gateways: Send + Sync {
    /// All that were ever told something since the boot, by the names of their namespaces.
    fn read(&self) -> Result<BTreeMap<String, Namespace>>;
    /// Makes one be so; returns when it is. `anew`: in a new namespace.
    async fn set_up(&self, name: &str, state: &State, anew: bool) -> Result<()>;
    /// Removes one; nothing happens when there is none.
    async fn end(&self, name: &str) -> Result<()>;
}

/// Gateways as units of systemd.
#[derive(Debug)]
pub struct Units {
    directory: PathBuf,
    systemd: SystemdBus,
}

impl Default for Units {
    fn default() -> Self {
        Self {
            directory: DIRECTORY.into(),
            systemd: SystemdBus::default(),
        }
    }
}

fn wanted_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

fn applied_file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.applied"))
}

/// `None`: it is not there, or can't be understood, and is done again.
fn read_state(file: &Path) -> Option<State> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn encoded(state: &State) -> Result<Vec<u8>> {
    serde_json::to_vec(state).map_err(|error| Error::Answer {
        what: "the JSON encoder",
        reason: error.to_string(),
    })
}

impl Units {
    async fn until_active(&self, unit: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + UNIT_LIMIT;
        loop {
            let found = self
                .systemd
                .services(unit.trim_end_matches(".service"))
                .await?;
            let status = found.into_iter().find(|status| status.name == unit);
            match status.filter(|status| status.job.is_none()) {
                Some(status) if status.active == ActiveState::Active => return Ok(()),
                Some(status) if status.active == ActiveState::Failed => {
                    return Err(Error::Failed {
                        program: unit.to_owned(),
                        status: status.result,
                        stderr: "its journal says why".to_owned(),
                    });
                }
                _ if tokio::time::Instant::now() >= deadline => {
                    return Err(Error::TimedOut {
                        what: unit.to_owned(),
                        limit: UNIT_LIMIT,
                    });
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Makes a veth pair with one end here and one in the namespace `name`.
async fn add_leg(name: &str, inside: &str, leg: &Leg) -> Result<()> {
    let mtu = leg.mtu.to_string();
    let here = ["link", "add", &leg.host, "mtu", &mtu, "type", "veth"];
    let there = [
        "peer", "name", inside, "address", &leg.mac, "mtu", &mtu, "netns", name,
    ];
    let arguments: Vec<&str> = here.into_iter().chain(there).collect();
    process::run("ip", &arguments, b"", LIMIT).await.map(drop)
}

#[async_trait]
impl Gateways for Units {
    fn read(&self) -> Result<BTreeMap<String, Namespace>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            other => other.map_err(Error::file("read", &self.directory))?,
        };
        let mut all = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("read", &self.directory))?;
            let file = entry.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".json")) else {
                continue;
            };
            let namespace = Namespace {
                exists: Path::new(NAMESPACES).join(name).exists(),
                applied: read_state(&applied_file(&self.directory, name)),
            };
            all.insert(name.to_owned(), namespace);
        }
        Ok(all)
    }

    async fn set_up(&self, name: &str, state: &State, anew: bool) -> Result<()> {
        fs::create_dir_all(&self.directory).map_err(Error::file("create", &self.directory))?;
        let file = wanted_file(&self.directory, name);
        durable::write_volatile(&file, &encoded(state)?, 0o600)?;
        // The units' programs are found where ours are.
        if let Some(path) = std::env::var_os("PATH").and_then(|path| path.into_string().ok()) {
            let file = self.directory.join("environment");
            durable::write_volatile(&file, format!("PATH={path}\n").as_bytes(), 0o600)?;
        }
        let netns = format!("photon-netns@{name}.service");
        match anew {
            true => self.systemd.restart(&netns).await?,
            false => self.systemd.start(&netns).await?,
        }
        self.until_active(&netns).await?;
        // One end is the host's, the other is born in the namespace: to whoever is in there the host is out of reach.
        for (inside, leg) in [(INSIDE, &state.inside), (OUTSIDE, &state.outside)] {
            if !Path::new(INTERFACES).join(&leg.host).exists() {
                add_leg(name, inside, leg).await?;
            }
        }
        let gateway = format!("photon-gateway@{name}.service");
        self.systemd.restart(&gateway).await?;
        self.until_active(&gateway).await
    }

    async fn end(&self, name: &str) -> Result<()> {
        // The gateway's own unit goes with it.
        self.systemd
            .stop(&format!("photon-netns@{name}.service"))
            .await?;
        durable::remove(&applied_file(&self.directory, name))?;
        durable::remove(&wanted_file(&self.directory, name))
    }
}

/// Kernel settings of a gateway's namespace. It routes; answers of the VPC may take another way than what they answer; of
/// connections that it has not seen begin, as after it was made anew, it is content with less.
const SETTINGS: [(&str, &str); 9] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/arp_ignore", "1"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
];

/// Makes the namespace that this runs in what the file of the gateway `name` says. Whatever was done before is not done
/// again, and connections of what stays go on.
///
/// Errors: no such file, or what goes wrong with the namespace.
pub async fn set_up(directory: &Path, name: &str) -> Result<()> {
    let file = wanted_file(directory, name);
    let wanted = read_state(&file).ok_or_else(|| Error::Answer {
        what: "the gateway's file",
        reason: format!("{} can't be read", file.display()),
    })?;
    let before = read_state(&applied_file(directory, name));
    let settings = ProcSys::default();
    for (key, value) in SETTINGS {
        if settings.get(key)?.is_some_and(|is| is.trim() != value) {
            settings.set(key, value)?;
        }
    }
    // Before there is a way through.
    process::run("nft", &["-f", "-"], wanted.filter.as_bytes(), LIMIT).await?;
    let links = interfaces().await?;
    let mut commands = vec!["link set lo up".to_owned()];
    for (here, leg) in [(INSIDE, &wanted.inside), (OUTSIDE, &wanted.outside)] {
        let known = links.get(here).ok_or_else(|| Error::Answer {
            what: "ip",
            reason: format!("there is no interface {here} in the namespace"),
        })?;
        commands.extend(leg_commands(here, leg, known));
    }
    let routes = wanted.routes.iter();
    commands.extend(routes.map(|route| format!("route replace {route}")));
    let commands = commands.join("\n") + "\n";
    process::run("ip", &["-batch", "-"], commands.as_bytes(), LIMIT).await?;
    if let Some(before) = &before {
        for (address, fixed) in &before.floating {
            if wanted.floating.get(address) != Some(fixed) {
                cut(address, fixed).await?;
            }
        }
    }
    announce(&wanted, &links[OUTSIDE]).await;
    durable::write_volatile(&applied_file(directory, name), &encoded(&wanted)?, 0o600)
}

/// The interfaces here, and the IPv4 addresses of each.
async fn interfaces() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let output = process::run("ip", &["-json", "address", "show"], b"", LIMIT).await?;
    let listed: Value = serde_json::from_slice(&output).map_err(|error| Error::Answer {
        what: "ip",
        reason: error.to_string(),
    })?;
    let links = listed.as_array().into_iter().flatten();
    let links = links.filter_map(|link| {
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        let addresses = addresses.filter(|it| it["family"] == "inet");
        let addresses = addresses
            .filter_map(|it| Some(format!("{}/{}", it["local"].as_str()?, it["prefixlen"])));
        Some((link["ifname"].as_str()?.to_owned(), addresses.collect()))
    });
    Ok(links.collect())
}

/// What leads to a leg as it should be, that has these addresses.
fn leg_commands(here: &str, leg: &Leg, known: &BTreeSet<String>) -> Vec<String> {
    let mut commands = vec![format!("link set {here} mtu {} up", leg.mtu)];
    let wanted: BTreeSet<String> = leg.addresses.iter().cloned().collect();
    let gone = known.difference(&wanted);
    commands.extend(gone.map(|address| format!("address delete {address} dev {here}")));
    // In their order: the first is what the gateway itself speaks from.
    let new = leg.addresses.iter().filter(|it| !known.contains(*it));
    commands.extend(new.map(|address| format!("address add {address} dev {here}")));
    commands
}

/// Ends the connections of a floating IP that leads elsewhere now, or nowhere: those that it was called by, and those that whom
/// it led to has begun.
async fn cut(address: &str, fixed: &str) -> Result<()> {
    for which in [["--orig-dst", address], ["--orig-src", fixed]] {
        let mut arguments = vec!["--delete", "--family", "ipv4"];
        arguments.extend(which);
        match process::run("conntrack", &arguments, b"", LIMIT).await {
            // It fails when there is none.
            Ok(_) | Err(Error::Failed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells the external network where addresses are that were not here: its router may know another MAC, from where they were.
async fn announce(wanted: &State, known: &BTreeSet<String>) {
    let new = wanted.outside.addresses.iter();
    for address in new.filter(|address| !known.contains(*address)) {
        let address = address.split('/').next().unwrap_or_default();
        let arguments = ["-U", "-c", "1", "-I", OUTSIDE, address];
        if let Err(error) = process::run("arping", &arguments, b"", LIMIT).await {
            // They learn of it when they ask again.
            tracing::warn!(address, "not announced: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(addresses: &[&str]) -> Leg {
        Leg {
            host: "po0".into(),
            mac: "06:00:00:00:00:01".into(),
            mtu: 1500,
            addresses: addresses.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn a_leg_keeps_what_stays() {
        let wanted = leg(&["203.0.113.10/24", "203.0.113.11/32"]);
        assert_eq!(
            leg_commands("out", &wanted, &BTreeSet::new()),
            [
                "link set out mtu 1500 up",
                "address add 203.0.113.10/24 dev out",
                "address add 203.0.113.11/32 dev out",
            ]
        );
        let known = ["203.0.113.10/24", "203.0.113.12/32"].map(str::to_owned);
        assert_eq!(
            leg_commands("out", &wanted, &known.into()),
            [
                "link set out mtu 1500 up",
                "address delete 203.0.113.12/32 dev out",
                "address add 203.0.113.11/32 dev out",
            ]
        );
    }
}
