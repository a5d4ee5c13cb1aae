//! What Amazon's EC2 tells its instances ("Instance metadata categories" of its user guide), as far as there is such a thing
//! here. Credentials are none of it.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde_json::json;

use super::{Answer, BYTES, Caller, TEXT, user_data};
use crate::instance::{Instance, Interface};

/// The oldest, which every client knows, the one that cloud-init asks for, and whatever is newest.
const VERSIONS: [&str; 3] = ["2009-04-04", "2021-03-23", "latest"];

/// What there is at a path.
enum Node {
    Text(String),
    Folder(BTreeMap<String, Node>),
}

impl Node {
    fn folder<const N: usize>(entries: [(&str, Node); N]) -> Self {
        let entries = entries.map(|(name, node)| (name.to_owned(), node));
        Self::Folder(entries.into())
    }

    fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    fn at(&self, path: &[&str]) -> Option<&Self> {
        match (self, path) {
            (node, []) => Some(node),
            (Self::Folder(entries), [name, rest @ ..]) => entries.get(*name)?.at(rest),
            (Self::Text(_), _) => None,
        }
    }

    /// Folders end with a slash.
    fn listed(entries: &BTreeMap<String, Self>) -> String {
        let lines = entries.iter().map(|(name, node)| match node {
            Self::Text(_) => name.clone(),
            Self::Folder(_) => format!("{name}/"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub fn answer(caller: Caller<'_>, path: &[&str]) -> Answer {
    let instance = caller.instance;
    let (version, rest) = match path {
        [] => return Answer::found(TEXT, VERSIONS.join("\n")),
        [version, rest @ ..] => (version, rest),
    };
    if !VERSIONS.contains(version) {
        return Answer::not_found();
    }
    match rest {
        [] => Answer::found(TEXT, "dynamic\nmeta-data\nuser-data"),
        ["user-data"] => match user_data(instance) {
            Some(bytes) => Answer::found(BYTES, bytes),
            None => Answer::not_found(),
        },
        ["dynamic"] => Answer::found(TEXT, "instance-identity/"),
        ["dynamic", "instance-identity"] => Answer::found(TEXT, "document"),
        ["dynamic", "instance-identity", "document"] => Answer::json(&document(caller)),
        // Keys are listed with their names, and found by their places.
        ["meta-data", "public-keys"] if !instance.ssh_authorized_keys.is_empty() => {
            let places = 0..instance.ssh_authorized_keys.len();
            let lines = places.map(|n| format!("{n}=key-{n}"));
            Answer::found(TEXT, lines.collect::<Vec<_>>().join("\n"))
        }
        ["meta-data", path @ ..] => match meta_data(caller).at(path) {
            Some(Node::Text(text)) => Answer::found(TEXT, text.as_bytes()),
            Some(Node::Folder(entries)) => Answer::found(TEXT, Node::listed(entries)),
            None => Answer::not_found(),
        },
        _ => Answer::not_found(),
    }
}

/// The interface by which it asks: what is said of the VM's one address is said of this.
fn asking(caller: Caller<'_>) -> Option<&Interface> {
    let mut interfaces = caller.instance.interfaces.iter();
    interfaces.find(|it| it.tap == caller.tap)
}

fn meta_data(caller: Caller<'_>) -> Node {
    let instance = caller.instance;
    let macs = instance.interfaces.iter().enumerate();
    let macs = macs.map(|(number, it)| (it.mac.clone(), interface(instance, number, it)));
    let mut all = BTreeMap::from([
        ("ami-launch-index".to_owned(), Node::text(0)),
        ("hostname".to_owned(), Node::text(&instance.hostname)),
        ("instance-id".to_owned(), Node::text(&instance.instance_id)),
        ("instance-type".to_owned(), Node::text(instance.size())),
        ("local-hostname".to_owned(), Node::text(&instance.hostname)),
        (
            "network".to_owned(),
            Node::folder([(
                "interfaces",
                Node::folder([("macs", Node::Folder(macs.collect()))]),
            )]),
        ),
    ]);
    if let Some(it) = asking(caller) {
        all.insert("local-ipv4".into(), Node::text(it.address.addr()));
        all.insert("mac".into(), Node::text(&it.mac));
        if let Some((address, _)) = it.ipv6 {
            all.insert("ipv6".into(), Node::text(address.addr()));
        }
    }
    let keys = instance.ssh_authorized_keys.iter().enumerate();
    let keys: BTreeMap<_, _> = keys
        .map(|(n, key)| {
            let key = Node::folder([("openssh-key", Node::text(key))]);
            (n.to_string(), key)
        })
        .collect();
    if !keys.is_empty() {
        all.insert("public-keys".into(), Node::Folder(keys));
    }
    Node::Folder(all)
}

fn interface(instance: &Instance, number: usize, it: &Interface) -> Node {
    let mut all = BTreeMap::from([
        ("device-number".to_owned(), Node::text(number)),
        ("local-hostname".to_owned(), Node::text(&instance.hostname)),
        ("local-ipv4s".to_owned(), Node::text(it.address.addr())),
        ("mac".to_owned(), Node::text(&it.mac)),
        (
            "subnet-ipv4-cidr-block".to_owned(),
            Node::text(it.address.trunc()),
        ),
    ]);
    if let Some((address, _)) = it.ipv6 {
        let net = IpNet::from(address).trunc();
        all.insert("ipv6s".into(), Node::text(address.addr()));
        all.insert("subnet-ipv6-cidr-blocks".into(), Node::text(net));
    }
    Node::Folder(all)
}

/// Unsigned: who believes it must have asked for it here.
fn document(caller: Caller<'_>) -> serde_json::Value {
    let instance = caller.instance;
    json!({
        "version": "2017-09-30",
        "accountId": instance.org,
        "architecture": "x86_64",
        "instanceId": instance.instance_id,
        "instanceType": instance.size(),
        "privateIp": asking(caller).map(|it| it.address.addr()),
    })
}
