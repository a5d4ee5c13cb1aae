//! Fakes of this crate's traits: they keep what they are told in memory. For tests only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;

use crate::conntrack::{Connection, Connections};
use crate::forwarding::{Entry, Forwarding};
use crate::gateways::{Gateways, Namespace, State};
use crate::links::{Kind, Link, Links};
use crate::network_files::NetworkFiles;
use crate::network1::NetworkManager;
use crate::nft::{Commands, PacketFilter};
use crate::rules::{Family, LocalRules, Rules};
use crate::sysctl::Sysctls;
use crate::{Error, Result};

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("no test panics while it holds the lock")
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct Files(pub Mutex<BTreeMap<String, Option<String>>>);

impl NetworkFiles for Files {
    fn read(&self) -> Result<BTreeMap<String, Option<String>>> {
        Ok(locked(&self.0).clone())
    }
    fn write(&self, name: &str, contents: &str) -> Result<()> {
        locked(&self.0).insert(name.to_owned(), Some(contents.to_owned()));
        Ok(())
    }
    fn remove(&self, name: &str) -> Result<()> {
        locked(&self.0).remove(name);
        Ok(())
    }
}

/// Remembers which addresses' connections were to be forgotten, and holds connections; if so many that listing them takes
/// too long, the last is set.
#[derive(Debug, Default)]
pub struct Forgotten(
    pub Mutex<Vec<(u16, IpAddr)>>,
    pub Mutex<Vec<Connection>>,
    pub AtomicBool,
);

#[async_trait]
impl Connections for Forgotten {
    async fn forget(&self, zone: u16, address: IpAddr) -> Result<()> {
        locked(&self.0).push((zone, address));
        Ok(())
    }
    async fn list(&self) -> Result<Vec<Connection>> {
        match self.2.load(Ordering::Relaxed) {
            true => Err(Error::TimedOut {
                what: "conntrack".to_owned(),
                limit: Duration::from_secs(30),
            }),
            false => Ok(locked(&self.1).clone()),
        }
    }
    async fn remove(&self, connections: &[Connection]) -> Result<()> {
        locked(&self.1).retain(|one| !connections.contains(one));
        Ok(())
    }
}

/// Gateways in memory, whose legs are there as soon as they are told.
#[derive(Debug)]
pub struct Namespaces {
    told: Mutex<BTreeMap<String, Namespace>>,
    links: Arc<Interfaces>,
}

impl Namespaces {
    /// None yet.
    pub fn new(links: Arc<Interfaces>) -> Self {
        Self {
            told: Mutex::default(),
            links,
        }
    }
}

#[async_trait]
impl Gateways for Namespaces {
    fn read(&self) -> Result<BTreeMap<String, Namespace>> {
        Ok(locked(&self.told).clone())
    }
    async fn set_up(&self, name: &str, state: &State, _anew: bool) -> Result<()> {
        let namespace = Namespace {
            exists: true,
            applied: Some(state.clone()),
        };
        locked(&self.told).insert(name.to_owned(), namespace);
        let known = self.links.all();
        for leg in [&state.inside, &state.outside] {
            if known.iter().any(|link| link.name == leg.host) {
                continue;
            }
            let highest = self.links.all().iter().map(|link| link.index).max();
            self.links.put(Link {
                index: highest.unwrap_or(0) + 1,
                name: leg.host.clone(),
                kind: Kind::Other,
                master: None,
                bridge_port: None,
                mtu: leg.mtu,
                mac: None,
                up: false,
                carrier: true,
                addresses: BTreeSet::new(),
            });
        }
        Ok(())
    }
    async fn end(&self, name: &str) -> Result<()> {
        locked(&self.told).remove(name);
        Ok(())
    }
}

/// Kernel settings in memory; those not in the map do not exist.
#[derive(Debug, Default)]
pub struct Settings(pub Mutex<BTreeMap<String, String>>);

impl Sysctls for Settings {
    fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(locked(&self.0).get(key).cloned())
    }
    fn set(&self, key: &str, value: &str) -> Result<()> {
        locked(&self.0).insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}

/// Interfaces in memory.
#[derive(Debug)]
pub struct Interfaces {
    links: Mutex<BTreeMap<String, Link>>,
    changes: watch::Sender<u64>,
}

impl Default for Interfaces {
    fn default() -> Self {
        Self {
            links: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Interfaces {
    /// Adds or replaces one.
    pub fn put(&self, link: Link) {
        locked(&self.links).insert(link.name.clone(), link);
        self.changes.send_modify(|count| *count += 1);
    }

    /// What there is.
    pub fn all(&self) -> Vec<Link> {
        locked(&self.links).values().cloned().collect()
    }
}

#[async_trait]
impl Links for Interfaces {
    async fn list(&self) -> Result<Vec<Link>> {
        Ok(self.all())
    }
    async fn delete(&self, name: &str) -> Result<()> {
        {
            let mut links = locked(&self.links);
            links.remove(name);
            // The kernel lets the ports of a deleted bridge or VRF go.
            for link in links.values_mut() {
                if link.master.as_deref() == Some(name) {
                    link.master = None;
                }
            }
        }
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }
    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What interfaces are told, in memory. That their interfaces are there is not looked at.
#[derive(Debug, Default)]
pub struct Told(pub Mutex<BTreeSet<Entry>>);

#[async_trait]
impl Forwarding for Told {
    async fn list(&self) -> Result<Vec<Entry>> {
        Ok(locked(&self.0).iter().cloned().collect())
    }
    async fn change(&self, remove: &[Entry], add: &[Entry]) -> Result<()> {
        let mut entries = locked(&self.0);
        for entry in remove.iter().chain(add) {
            entries.retain(|known| known.place() != entry.place());
        }
        entries.extend(add.iter().cloned());
        Ok(())
    }
}

/// The rules to the table *local* in memory. As the kernel makes them.
#[derive(Debug)]
pub struct LocalTable(pub Mutex<LocalRules>);

impl Default for LocalTable {
    fn default() -> Self {
        let kernels = || BTreeSet::from([0]);
        let rules = [(Family::V4, kernels()), (Family::V6, kernels())];
        Self(Mutex::new(rules.into()))
    }
}

#[async_trait]
impl Rules for LocalTable {
    async fn local(&self) -> Result<LocalRules> {
        Ok(locked(&self.0).clone())
    }
    async fn add_local(&self, family: Family, preference: u32) -> Result<()> {
        locked(&self.0)
            .entry(family)
            .or_default()
            .insert(preference);
        Ok(())
    }
    async fn remove_local(&self, family: Family, preference: u32) -> Result<()> {
        let mut rules = locked(&self.0);
        let of_family = rules.entry(family).or_default();
        of_family.remove(&preference);
        assert!(!of_family.is_empty(), "the host can't be reached any more");
        Ok(())
    }
}

type OnReload = Box<dyn Fn() + Send + Sync>;

/// A networkd that runs what the test gives it.
pub struct Manager {
    /// Runs on every reload.
    pub on_reload: OnReload,
    /// Runs on every reconfiguration, with the interface's index.
    pub on_reconfigure: Box<dyn Fn(u32) + Send + Sync>,
}

#[async_trait]
impl NetworkManager for Manager {
    async fn reload(&self) -> Result<()> {
        (self.on_reload)();
        Ok(())
    }
    async fn reconfigure(&self, index: u32) -> Result<()> {
        (self.on_reconfigure)(index);
        Ok(())
    }
}

/// A packet filter that keeps chains, sets and maps by name, and refuses what nftables would: a rule in a
/// chain that is not there, an element of a set that is not there, and the deletion of a chain that is
/// still jumped to.
#[derive(Debug, Default)]
pub struct Filter(pub Mutex<Tables>);

/// Objects by `(family, table)`, then by `(kind, name)`; a chain's rules and a set's elements in order.
pub type Tables = BTreeMap<(String, String), BTreeMap<(String, String), Vec<Value>>>;

fn family_and_table(body: &Value, table_key: &str) -> (String, String) {
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    (text("family"), text(table_key))
}

fn refused(reason: String) -> Error {
    Error::Failed {
        program: "nft".to_owned(),
        status: "exit status: 1".to_owned(),
        stderr: reason,
    }
}

impl Filter {
    fn run(tables: &mut Tables, command: &Value) -> Result<()> {
        let (verb, object) = single(command);
        let (kind, body) = single(object);
        if kind == "table" {
            let table = family_and_table(body, "name");
            match verb {
                "add" => {
                    tables.entry(table).or_default();
                }
                "delete" => {
                    tables
                        .remove(&table)
                        .ok_or_else(|| refused(format!("no table {table:?}")))?;
                }
                _ => return Err(refused(format!("{verb} table is not known here"))),
            }
            return Ok(());
        }
        let table = family_and_table(body, "table");
        let objects = tables
            .get_mut(&table)
            .ok_or_else(|| refused(format!("no table {table:?}")))?;
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        // Elements name their set; it may be a set or a map.
        let container = |objects: &BTreeMap<(String, String), Vec<Value>>| {
            ["set", "map"]
                .into_iter()
                .map(|kind| (kind.to_owned(), text("name")))
                .find(|key| objects.contains_key(key))
                .ok_or_else(|| refused(format!("no set or map {}", text("name"))))
        };
        match (verb, kind) {
            ("add", "chain" | "set" | "map") => {
                let stored = objects.entry((kind.to_owned(), text("name"))).or_default();
                if kind != "chain"
                    && let Some(elements) = body["elem"].as_array()
                {
                    stored.extend(elements.iter().cloned());
                }
            }
            ("add", "rule") => objects
                .get_mut(&("chain".to_owned(), text("chain")))
                .ok_or_else(|| refused(format!("no chain {}", text("chain"))))?
                .push(body["expr"].clone()),
            ("add", "element") => {
                let key = container(objects)?;
                let elements = body["elem"].as_array().cloned().unwrap_or_default();
                objects.entry(key).or_default().extend(elements);
            }
            ("flush", "chain" | "set" | "map") => objects
                .get_mut(&(kind.to_owned(), text("name")))
                .ok_or_else(|| refused(format!("no {kind} {}", text("name"))))?
                .clear(),
            ("delete", "chain" | "set" | "map") => {
                let name = text("name");
                objects
                    .remove(&(kind.to_owned(), name.clone()))
                    .ok_or_else(|| refused(format!("no {kind} {name}")))?;
                let quoted = [format!("\"{name}\""), format!("\"@{name}\"")];
                if let Some((user, _)) = objects.iter().find(|(_, contents)| {
                    let contents = Value::Array((*contents).clone()).to_string();
                    quoted.iter().any(|quoted| contents.contains(quoted))
                }) {
                    return Err(refused(format!("{kind} {name} is in use by {user:?}")));
                }
            }
            _ => return Err(refused(format!("{verb} {kind} is not known here"))),
        }
        Ok(())
    }
}

fn single(value: &Value) -> (&str, &Value) {
    value
        .as_object()
        .and_then(|object| object.iter().next())
        .map(|(key, value)| (key.as_str(), value))
        .expect("a command has one key")
}

#[async_trait]
impl PacketFilter for Filter {
    async fn apply(&self, commands: &Commands) -> Result<()> {
        let mut tables = locked(&self.0);
        let mut changed = tables.clone();
        for command in commands {
            Self::run(&mut changed, command)?;
        }
        *tables = changed;
        Ok(())
    }

    async fn check(&self, commands: &Commands) -> Result<()> {
        let mut tables = locked(&self.0).clone();
        for command in commands {
            Self::run(&mut tables, command)?;
        }
        Ok(())
    }

    async fn list(&self, family: &str, table: &str) -> Result<Option<Vec<Value>>> {
        let tables = locked(&self.0);
        Ok(tables
            .get(&(family.to_owned(), table.to_owned()))
            .map(|objects| {
                let mut listing =
                    vec![serde_json::json!({"table": {"family": family, "name": table}})];
                for ((kind, name), contents) in objects {
                    let mut body =
                        serde_json::json!({"family": family, "table": table, "name": name});
                    if kind == "chain" {
                        listing.push(serde_json::json!({ "chain": body }));
                        for rule in contents {
                            listing.push(serde_json::json!({"rule": {
                                "family": family, "table": table, "chain": name, "expr": rule
                            }}));
                        }
                    } else {
                        body["elem"] = Value::Array(contents.clone());
                        listing.push(serde_json::json!({ kind: body }));
                    }
                }
                listing
            }))
    }
}
