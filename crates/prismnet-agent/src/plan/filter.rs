//! An nftables table as a set of objects, compared and replaced object by object.
//!
//! nftables prints a table differently from how it was written, and differently from version to version. So
//! what is in the kernel is compared not with what was written but with what the kernel printed right after
//! it was written: both digests of every object are remembered (see [`FilterMemory`](super::FilterMemory)).
//! An object is as it should be when the first is the digest of what is desired now and the second that of
//! what the kernel prints now. If the memory is lost, everything is written once more, which changes nothing
//! for a packet.

pub mod statement;

use std::collections::BTreeMap;

use photon_host::nft::Commands;
use photon_host::nft::expr::{Expression, Verdict};
use photon_host::nft::schema::SetType;
use photon_host::nft::stmt::JumpTarget;
use photon_host::nft::types::{NfFamily, NfHook};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What an object is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Name {
    /// A set.
    Set(String),
    /// A verdict map.
    Map(String),
    /// A chain.
    Chain(String),
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        match name {
            Name::Set(name) => format!("set {name}"),
            Name::Map(name) => format!("map {name}"),
            Name::Chain(name) => format!("chain {name}"),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(' ') {
            Some(("set", name)) => Ok(Self::Set(name.to_owned())),
            Some(("map", name)) => Ok(Self::Map(name.to_owned())),
            Some(("chain", name)) => Ok(Self::Chain(name.to_owned())),
            _ => Err(format!(
                "'{text}' is not 'set NAME', 'map NAME' or 'chain NAME'"
            )),
        }
    }
}

/// A rule: statements in order.
pub type Statements = Vec<statement::Statement>;

/// What an object holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// Keys.
    Set {
        /// Of what type; several are concatenated.
        types: Vec<SetType>,
        /// Whether keys are ranges.
        interval: bool,
        /// The keys.
        elements: Vec<Expression<'static>>,
    },
    /// Elements that the kernel makes of the packets that it sees, each with what it counts.
    Meters {
        /// Type of the key.
        key: SetType,
        /// How many there may be: of what would be one more nothing is counted, and it does not match.
        size: u32,
        /// Whether one that is not seen for a while is forgotten.
        forgets: bool,
    },
    /// From an interface to the chain that its packets go to.
    Map(BTreeMap<String, Verdict<'static>>),
    /// Rules.
    Chain {
        /// Hook and priority of a base chain; its policy is to accept, and its last rule says otherwise.
        base: Option<(NfHook, i32)>,
        /// The rules.
        rules: Vec<Statements>,
    },
}

/// A table of ours as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: NfFamily,
    /// Its objects.
    pub objects: BTreeMap<Name, Object>,
}

/// A digest of each object.
pub type Digests = BTreeMap<Name, String>;

impl Table {
    /// The name of both of our tables.
    pub const NAME: &'static str = "photon";

    /// A table without objects.
    pub fn new(family: NfFamily) -> Self {
        Self {
            family,
            objects: BTreeMap::new(),
        }
    }

    /// The family as `nft` calls it.
    pub fn family_name(&self) -> &'static str {
        match self.family {
            NfFamily::Bridge => "bridge",
            _ => "inet",
        }
    }

    /// Adds a set.
    pub fn set(
        &mut self,
        name: &str,
        types: &[SetType],
        interval: bool,
        elements: Vec<Expression<'static>>,
    ) {
        self.objects.insert(
            Name::Set(name.to_owned()),
            Object::Set {
                types: types.to_vec(),
                interval,
                elements,
            },
        );
    }

    /// Adds a set that the kernel fills: see [`Object::Meters`]. Needs nft 1.0.9, the first whose JSON knows such sets.
    pub fn meters(&mut self, name: &str, key: SetType, size: u32, forgets: bool) {
        self.objects.insert(
            Name::Set(name.to_owned()),
            Object::Meters { key, size, forgets },
        );
    }

    /// Adds a map from interfaces to chains.
    pub fn map(&mut self, name: &str, elements: BTreeMap<String, Verdict<'static>>) {
        self.objects
            .insert(Name::Map(name.to_owned()), Object::Map(elements));
    }

    /// Adds a chain that others jump to.
    pub fn chain(&mut self, name: &str, rules: Vec<Statements>) {
        self.objects.insert(
            Name::Chain(name.to_owned()),
            Object::Chain { base: None, rules },
        );
    }

    /// Adds a chain that packets come to by themselves.
    pub fn base_chain(&mut self, name: &str, hook: NfHook, priority: i32, rules: Vec<Statements>) {
        self.objects.insert(
            Name::Chain(name.to_owned()),
            Object::Chain {
                base: Some((hook, priority)),
                rules,
            },
        );
    }

    /// What should be, object by object.
    pub fn digests(&self) -> Digests {
        self.objects
            .keys()
            .map(|name| {
                let mut commands = Vec::new();
                self.declare(name, &mut commands);
                self.fill(name, &mut commands);
                let text = serde_json::to_vec(&commands).unwrap_or_default();
                (name.clone(), hex(&text))
            })
            .collect()
    }

    fn body(&self, name: &str) -> Value {
        json!({"family": self.family, "table": Self::NAME, "name": name})
    }

    fn declare(&self, name: &Name, commands: &mut Vec<Value>) {
        let object = match (name, self.objects.get(name)) {
            (
                Name::Set(name),
                Some(Object::Set {
                    types, interval, ..
                }),
            ) => {
                let mut body = self.body(name);
                body["type"] = match types.as_slice() {
                    [one] => json!(one),
                    several => json!(several),
                };
                if *interval {
                    body["flags"] = json!(["interval"]);
                }
                json!({ "set": body })
            }
            (Name::Set(name), Some(Object::Meters { key, size, forgets })) => {
                let mut body = self.body(name);
                body["type"] = json!(key);
                body["flags"] = match forgets {
                    true => json!([DYNAMIC, "timeout"]),
                    false => json!([DYNAMIC]),
                };
                body["size"] = json!(size);
                json!({ "set": body })
            }
            (Name::Map(name), _) => {
                let mut body = self.body(name);
                body["type"] = json!(SetType::Ifname);
                body["map"] = json!("verdict");
                json!({ "map": body })
            }
            (Name::Chain(name), Some(Object::Chain { base, .. })) => {
                let mut body = self.body(name);
                if let Some((hook, priority)) = base {
                    body["type"] = json!("filter");
                    body["hook"] = json!(hook);
                    body["prio"] = json!(priority);
                    body["policy"] = json!("accept");
                }
                json!({ "chain": body })
            }
            // A name always has an object of its kind.
            _ => return,
        };
        commands.push(json!({ "add": object }));
    }

    fn fill(&self, name: &Name, commands: &mut Vec<Value>) {
        let mut add_elements = |name: &str, elements: Value| {
            let mut body = self.body(name);
            body["elem"] = elements;
            commands.push(json!({"add": {"element": body}}));
        };
        match (name, self.objects.get(name)) {
            (Name::Set(name), Some(Object::Set { elements, .. })) if !elements.is_empty() => {
                add_elements(name, json!(elements));
            }
            (Name::Map(name), Some(Object::Map(entries))) if !entries.is_empty() => {
                let pairs: Vec<Value> = entries
                    .iter()
                    .map(|(interface, verdict)| json!([interface, verdict]))
                    .collect();
                add_elements(name, json!(pairs));
            }
            (Name::Chain(name), Some(Object::Chain { rules, .. })) => {
                commands.extend(rules.iter().map(|statements| {
                    json!({"add": {"rule": {
                        "family": self.family, "table": Self::NAME, "chain": name, "expr": statements
                    }}})
                }));
            }
            _ => {}
        }
    }

    fn on(&self, verb: &str, name: &Name) -> Value {
        let (kind, name) = match name {
            Name::Set(name) => ("set", name),
            Name::Map(name) => ("map", name),
            Name::Chain(name) => ("chain", name),
        };
        json!({ verb: { kind: self.body(name) } })
    }

    fn whole(&self, verb: &str) -> Value {
        json!({ verb: {"table": {"family": self.family, "name": Self::NAME}} })
    }

    /// One transaction that writes some objects and removes others. The rules of a base chain and the
    /// elements of a set are exchanged in place: no packet meets an empty chain, and no connection is cut.
    fn exchange(&self, write: &[Name], remove: &[Name]) -> Commands {
        let mut commands = vec![self.whole("add")];
        for name in write {
            self.declare(name, &mut commands);
        }
        // Whatever refers to a chain is emptied before the chain is deleted.
        commands.extend(
            write
                .iter()
                .chain(remove)
                .map(|name| self.on("flush", name)),
        );
        for name in write {
            self.fill(name, &mut commands);
        }
        // Maps before the chains that they lead to, chains before the sets that they use.
        for kind in [
            |name: &&Name| matches!(name, Name::Map(_)),
            |name: &&Name| matches!(name, Name::Chain(_)),
            |name: &&Name| matches!(name, Name::Set(_)),
        ] {
            commands.extend(
                remove
                    .iter()
                    .filter(kind)
                    .map(|name| self.on("delete", name)),
            );
        }
        commands
    }

    /// One transaction that replaces the table by this one, whatever it was.
    pub fn replace(&self) -> Commands {
        let names: Vec<Name> = self.objects.keys().cloned().collect();
        let mut commands = vec![self.whole("add"), self.whole("delete")];
        commands.extend(self.exchange(&names, &[]));
        commands
    }

    /// What must change, given what the kernel printed and what is remembered of both. `None`: nothing.
    pub fn difference(
        &self,
        observed: Option<&Digests>,
        memory: &BTreeMap<Name, (String, String)>,
    ) -> Option<FilterChange> {
        let absent = Digests::new();
        let seen = observed.unwrap_or(&absent);
        let write: Vec<Name> = self
            .digests()
            .into_iter()
            .filter(|(name, wanted)| {
                let as_it_should_be = memory.get(name).is_some_and(|(written, printed)| {
                    written == wanted && seen.get(name) == Some(printed)
                });
                !as_it_should_be
            })
            .map(|(name, _)| name)
            .collect();
        let remove: Vec<Name> = seen
            .keys()
            .filter(|name| !self.objects.contains_key(name))
            .cloned()
            .collect();
        if write.is_empty() && remove.is_empty() {
            return None;
        }
        Some(FilterChange {
            family: self.family_name(),
            commands: self.exchange(&write, &remove),
            otherwise: self.replace(),
            write,
            remove,
        })
    }
}

/// A change of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilterChange {
    /// `bridge` or `inet`.
    pub family: &'static str,
    /// Objects that are written.
    pub write: Vec<Name>,
    /// Objects that are removed.
    pub remove: Vec<Name>,
    /// The transaction.
    #[serde(skip)]
    pub commands: Commands,
    /// The transaction to use when the kernel refuses the first: somebody else changed the table so that
    /// its objects can't be exchanged one by one.
    #[serde(skip)]
    pub otherwise: Commands,
}

/// Digests of a table's objects as `nft -j -s list` prints them.
pub fn observed_digests(listing: &[Value]) -> Digests {
    let mut texts: BTreeMap<Name, String> = BTreeMap::new();
    for object in listing {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (name, contents) = match kind.as_str() {
            "set" => (Name::Set(text("name")), sorted_set(body)),
            "map" => (Name::Map(text("name")), sorted_set(body)),
            "chain" => (
                Name::Chain(text("name")),
                format!("{} {} {}", body["hook"], body["prio"], body["policy"]),
            ),
            "rule" => (Name::Chain(text("chain")), body["expr"].to_string()),
            _ => continue,
        };
        let whole = texts.entry(name).or_default();
        whole.push_str(&contents);
        whole.push('\n');
    }
    texts
        .into_iter()
        .map(|(name, text)| (name, hex(text.as_bytes())))
        .collect()
}

/// How nft calls a set that packets fill.
const DYNAMIC: &str = "dynamic";

/// A set's type and elements; the kernel prints those of a hash set in no particular order. Elements that came by packets
/// are not looked at: they are nobody's wish.
fn sorted_set(body: &Value) -> String {
    let mut elements: Vec<String> = body["elem"]
        .as_array()
        .filter(|_| !body["flags"].to_string().contains(DYNAMIC))
        .map(|elements| elements.iter().map(Value::to_string).collect())
        .unwrap_or_default();
    elements.sort_unstable();
    format!("{} {} {}", body["type"], body["flags"], elements.join(" "))
}

fn hex(bytes: &[u8]) -> String {
    // Half of the digest: there is nobody to find a collision, only chance.
    Sha256::digest(bytes)[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A jump's or goto's target.
pub fn target(chain: &str) -> JumpTarget<'static> {
    JumpTarget {
        target: chain.to_owned().into(),
    }
}
