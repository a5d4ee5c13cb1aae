//! The agent against fakes of the host: it converges from anything to anything, and then does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use photon_agent::{Cache, Desired as _, Known};
use photon_api::prismnet::v1 as api;
use photon_host::fake::{
    Files, Filter, Forgotten, Interfaces, LocalTable, Manager, Namespaces, Settings, Told,
};
use photon_host::forwarding::Entry;
use photon_host::links::{BridgePort, Kind, Link, Links, Vxlan};
use photon_host::network_files::NetworkFiles;
use photon_host::rules::Family;
use photon_reconcile::{Pass, Plan as _, Reconciler, run_once};
use proptest::prelude::*;
use tokio::sync::watch;

use super::convert::{self, Parsed};
use super::reconcile::{Host, Networks};
use super::report::Report;
use crate::plan::{self, Desired, Limits};

/// A host whose networkd does at once what its files say.
struct FakeHost {
    files: Arc<Files>,
    links: Arc<Interfaces>,
    filter: Arc<Filter>,
    forgotten: Arc<Forgotten>,
    told: Arc<Told>,
    local: Arc<LocalTable>,
    known: watch::Sender<Known<Parsed>>,
    reports: watch::Sender<Report>,
    networks: Networks,
    _state: tempfile::TempDir,
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text
        .split(':')
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    bytes.try_into().ok()
}

/// Makes missing devices and sets masters and addresses, as networkd does on a reload.
fn networkd(files: &Files, links: &Interfaces) {
    let files = files.read().expect("the fake reads");
    let texts = |kind: &str| -> Vec<String> {
        files
            .iter()
            .filter(|(name, _)| name.ends_with(kind))
            .filter_map(|(_, text)| text.clone())
            .collect()
    };
    for text in texts(".netdev") {
        let (Some(name), Some(kind)) = (value(&text, "Name"), value(&text, "Kind")) else {
            continue;
        };
        let known = links.all();
        if known.iter().any(|link| link.name == name) {
            continue;
        }
        links.put(Link {
            index: known.iter().map(|link| link.index).max().unwrap_or(0) + 1,
            name: name.to_owned(),
            kind: match kind {
                "vrf" => Kind::Vrf {
                    table: value(&text, "Table").unwrap().parse().unwrap(),
                },
                "bridge" => Kind::Bridge,
                "vxlan" => Kind::Vxlan(Vxlan {
                    vni: value(&text, "VNI").unwrap().parse().unwrap(),
                    local: value(&text, "Local").map(|it| it.parse().unwrap()),
                    port: value(&text, "DestinationPort").unwrap().parse().unwrap(),
                    learning: value(&text, "MacLearning") != Some("no"),
                }),
                _ => Kind::Tun,
            },
            master: None,
            bridge_port: None,
            mtu: 1500,
            mac: value(&text, "MACAddress").and_then(mac),
            up: false,
            carrier: false,
            addresses: BTreeSet::new(),
        });
    }
    for text in texts(".network") {
        let Some(name) = value(&text, "Name") else {
            continue;
        };
        let Some(mut link) = links.all().into_iter().find(|link| link.name == name) else {
            continue;
        };
        link.up = true;
        link.master = value(&text, "Bridge")
            .or(value(&text, "VRF"))
            .map(str::to_owned);
        link.addresses = text
            .lines()
            .filter_map(|line| line.strip_prefix("Address=")?.parse().ok())
            .collect();
        let switch = |key| value(&text, key).map(|it| it == "yes");
        link.bridge_port = value(&text, "Bridge").map(|_| BridgePort {
            learning: switch("Learning") != Some(false),
            unicast_flood: switch("UnicastFlood") != Some(false),
            multicast_flood: switch("MulticastFlood") != Some(false),
            neighbour_suppression: switch("NeighborSuppression") == Some(true),
        });
        link.mtu = value(&text, "MTUBytes").map_or(1500, |it| it.parse().unwrap());
        links.put(link);
    }
}

impl FakeHost {
    fn new() -> Self {
        Self::with_networkd(networkd)
    }

    fn with_networkd(work: fn(&Files, &Interfaces)) -> Self {
        let (files, links) = (Arc::new(Files::default()), Arc::new(Interfaces::default()));
        let filter = Arc::new(Filter::default());
        let again = (files.clone(), links.clone());
        let once = (files.clone(), links.clone());
        let manager = Manager {
            on_reload: Box::new(move || work(&again.0, &again.1)),
            on_reconfigure: Box::new(move |_| work(&once.0, &once.1)),
        };
        let state = tempfile::tempdir().unwrap();
        let known = watch::Sender::new(None);
        let reports = watch::Sender::new(Report::default());
        let forgotten = Arc::new(Forgotten::default());
        let (told, local) = (Arc::new(Told::default()), Arc::new(LocalTable::default()));
        let settings = Settings::default();
        settings
            .0
            .lock()
            .unwrap()
            .insert("net/bridge/bridge-nf-call-iptables".into(), "1".into());
        let host = Host {
            files: files.clone(),
            manager: Arc::new(manager),
            links: links.clone(),
            filter: filter.clone(),
            settings: Arc::new(settings),
            connections: forgotten.clone(),
            forwarding: told.clone(),
            rules: local.clone(),
            gateways: Arc::new(Namespaces::new(links.clone())),
        };
        let networks = Networks::new(
            host,
            known.subscribe(),
            reports.clone(),
            state.path().join("filter.json"),
            Limits::default(),
            1500,
            plan::Egress::default(),
        );
        Self {
            files,
            links,
            filter,
            forgotten,
            told,
            local,
            known,
            reports,
            networks,
            _state: state,
        }
    }

    fn desire(&self, desired: Desired) {
        self.known.send_replace(Some(Arc::new(Parsed {
            desired,
            ..Parsed::default()
        })));
    }

    /// Passes until there is nothing to do; says how many changed something.
    async fn converge(&mut self) -> u32 {
        for applied in 0..5 {
            if run_once("test", &mut self.networks).await.unwrap() == Pass::NothingToDo {
                return applied;
            }
        }
        panic!("five passes were not enough");
    }
}

#[derive(Clone, Debug)]
enum Sabotage {
    RemoveFile(prop::sample::Index),
    GarbleFile(prop::sample::Index),
    DeleteLink(prop::sample::Index),
    Unslave(prop::sample::Index),
    FlushAddresses(prop::sample::Index),
    DeleteTables,
    FlushAChain(prop::sample::Index),
    AddStrangers,
    ForgetAPort(prop::sample::Index),
    TellLies,
    PutLocalFirst,
}

impl Sabotage {
    async fn commit(&self, host: &FakeHost) {
        let names: Vec<String> = host.files.read().unwrap().into_keys().collect();
        let links = host.links.all();
        match self {
            Self::RemoveFile(which) if !names.is_empty() => {
                host.files.remove(&which.get(&names)[..]).unwrap();
            }
            Self::GarbleFile(which) if !names.is_empty() => {
                host.files
                    .write(&which.get(&names)[..], "[Match]\n")
                    .unwrap();
            }
            Self::DeleteLink(which) if !links.is_empty() => {
                host.links.delete(&which.get(&links).name).await.unwrap();
            }
            Self::Unslave(which) if !links.is_empty() => {
                let mut link = which.get(&links).clone();
                link.master = None;
                host.links.put(link);
            }
            Self::FlushAddresses(which) if !links.is_empty() => {
                let mut link = which.get(&links).clone();
                link.addresses.clear();
                host.links.put(link);
            }
            Self::DeleteTables => host.filter.0.lock().unwrap().clear(),
            Self::FlushAChain(which) => {
                let mut tables = host.filter.0.lock().unwrap();
                let mut all: Vec<_> = tables.values_mut().flat_map(BTreeMap::values_mut).collect();
                if !all.is_empty() {
                    let which = which.index(all.len());
                    all[which].clear();
                }
            }
            Self::AddStrangers => {
                host.files
                    .write("50-photon-pb00000000000.netdev", "[NetDev]\n")
                    .unwrap();
                host.links.put(Link {
                    index: 4711,
                    name: "pt0123456789a".into(),
                    kind: Kind::Tun,
                    master: None,
                    bridge_port: None,
                    mtu: 1500,
                    mac: None,
                    up: true,
                    carrier: false,
                    addresses: BTreeSet::new(),
                });
            }
            Self::ForgetAPort(which) => {
                let mut told = host.told.0.lock().unwrap();
                if !told.is_empty() {
                    let entry = which.get(&told.iter().collect::<Vec<_>>()[..]).to_owned();
                    let entry = entry.clone();
                    told.remove(&entry);
                }
            }
            Self::TellLies => {
                let mut told = host.told.0.lock().unwrap();
                let mac = [0xfa, 0x16, 0x3e, 9, 9, 9];
                let ours = |entry: &Entry| entry.device().to_owned();
                let devices: BTreeSet<String> = told.iter().map(ours).collect();
                for device in devices.into_iter().chain(["vxlan0".to_owned()]) {
                    told.insert(Entry::Port { device, mac });
                }
            }
            Self::PutLocalFirst => {
                let mut rules = host.local.0.lock().unwrap();
                rules.get_mut(&Family::V4).unwrap().insert(0);
            }
            _ => {}
        }
    }
}

fn sabotage() -> impl Strategy<Value = Sabotage> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        which().prop_map(Sabotage::RemoveFile),
        which().prop_map(Sabotage::GarbleFile),
        which().prop_map(Sabotage::DeleteLink),
        which().prop_map(Sabotage::Unslave),
        which().prop_map(Sabotage::FlushAddresses),
        Just(Sabotage::DeleteTables),
        which().prop_map(Sabotage::FlushAChain),
        Just(Sabotage::AddStrangers),
        which().prop_map(Sabotage::ForgetAPort),
        Just(Sabotage::TellLies),
        Just(Sabotage::PutLocalFirst),
    ]
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// From any state through any other, with whatever somebody else breaks: then exactly what is desired
    /// is there, and a restarted agent finds nothing to do.
    #[test]
    fn converges_from_anything_and_then_does_nothing(
        first in plan::tests::desired(),
        second in plan::tests::desired(),
        broken in prop::collection::vec(sabotage(), 0..4),
    ) {
        block_on(async {
            let mut host = FakeHost::new();
            host.desire(first);
            host.converge().await;
            for act in &broken {
                act.commit(&host).await;
            }
            host.desire(second.clone());
            host.converge().await;

            let mut fresh = FakeHost::new();
            fresh.desire(second.clone());
            fresh.converge().await;
            assert_eq!(host.files.read().unwrap(), fresh.files.read().unwrap());
            let names = |host: &FakeHost| -> BTreeSet<String> {
                host.links.all().into_iter().map(|link| link.name).collect()
            };
            assert_eq!(names(&host), names(&fresh));
            assert_eq!(*host.filter.0.lock().unwrap(), *fresh.filter.0.lock().unwrap());

            // What others have told interfaces that are none of ours is left alone.
            let told = |host: &FakeHost| -> Vec<Entry> {
                let told = host.told.0.lock().unwrap();
                let ours = told.iter().filter(|entry| entry.device() != "vxlan0");
                ours.cloned().collect()
            };
            assert_eq!(told(&host), told(&fresh));
            if !second.vpcs.is_empty() {
                assert_eq!(*host.local.0.lock().unwrap(), *fresh.local.0.lock().unwrap());
            }

            // Every port is there and was reported as such.
            let report = host.reports.borrow().clone();
            assert_eq!(report.revision, second.revision);
            assert_eq!(report.ports.len(), second.ports().count());
            assert!(report.ports.iter().all(|port| port.status() == api::PortStatus::Active));

            // Again with nothing in memory.
            let observed = host.networks.observe().await.unwrap().unwrap();
            let plan = host.networks.plan(&observed);
            assert!(plan.is_empty(), "{}", plan.summary());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn touches_nothing_while_nothing_is_known() {
    let mut host = FakeHost::new();
    host.files
        .write("50-photon-pb00000000000.netdev", "kept")
        .unwrap();
    assert_eq!(
        run_once("test", &mut host.networks).await.unwrap(),
        Pass::Unknown
    );
    assert_eq!(host.files.read().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_port_whose_interface_never_comes_is_reported_with_the_reason() {
    let mut host = FakeHost::with_networkd(|_, _| {});
    host.desire(plan::tests::small());
    for _ in 0..4 {
        // networkd does nothing, so each pass ends with its time limit.
        run_once("test", &mut host.networks).await.unwrap_err();
    }
    let report = host.reports.borrow().clone();
    assert_eq!(report.ports.len(), 2);
    for port in &report.ports {
        assert_eq!(port.status(), api::PortStatus::Error);
        assert!(
            port.message.contains("is not there yet"),
            "{}",
            port.message
        );
    }
}

/// A networkd that takes the first bridge that it made for failed: it gives it no port. A new one is as it should be.
fn networkd_with_a_failed_bridge(files: &Files, links: &Interfaces) {
    // The fake's devices count up, so this tells the first bridge from one that was made later.
    const FIRST: u32 = 1;
    networkd(files, links);
    let all = links.all();
    let failed = |name: &str| {
        all.iter()
            .any(|link| link.name == name && link.index <= FIRST)
    };
    for link in &all {
        if link.kind == Kind::Tun && link.master.as_deref().is_some_and(failed) {
            let mut link = link.clone();
            link.master = None;
            links.put(link);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_networkd_takes_for_failed_is_made_anew_unless_a_guest_is_on_it() {
    for in_use in [false, true] {
        let mut host = FakeHost::with_networkd(networkd_with_a_failed_bridge);
        let desired = plan::tests::small();
        let bridge = desired.vpcs[0].subnets[0].bridge();
        let index = |host: &FakeHost| {
            let all = host.links.all();
            let found = all.iter().find(|link| link.name == bridge);
            found.map(|link| link.index)
        };
        host.desire(desired.clone());
        for _ in 0..3 {
            run_once("test", &mut host.networks).await.unwrap_err();
        }
        assert_eq!(index(&host), Some(1), "it is there from the start");
        if in_use {
            let mut other = host.links.all().pop().unwrap();
            other.name = "pt0123456789a".into();
            (other.master, other.carrier) = (Some(bridge.clone()), true);
            other.kind = Kind::Tun;
            host.links.put(other);
            run_once("test", &mut host.networks).await.unwrap_err();
            assert_eq!(index(&host), Some(1), "a guest is on it");
        } else {
            host.converge().await;
            assert!(index(&host) > Some(1), "made anew");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_port_with_an_address_inherits_no_connection() {
    let mut host = FakeHost::new();
    let desired = plan::tests::small();
    host.desire(desired.clone());
    host.converge().await;
    assert!(host.forgotten.0.lock().unwrap().is_empty());

    let mut replaced = desired.clone();
    let port = &mut replaced.vpcs[0].subnets[0].ports[0];
    port.id = plan::tests::id(0x4711);
    let address = port.address;
    host.desire(replaced);
    host.converge().await;
    let forgotten = host.forgotten.0.lock().unwrap().clone();
    assert_eq!(forgotten.len(), 2, "IPv4 and IPv6: {forgotten:?}");
    assert!(forgotten.contains(&(desired.vpcs[0].zone, address.into())));
}

#[tokio::test(start_paused = true)]
async fn connections_that_can_not_be_looked_at_keep_no_port_waiting() {
    let mut host = FakeHost::new();
    host.forgotten.2.store(true, Ordering::Relaxed);
    host.desire(plan::tests::small());
    run_once("test", &mut host.networks).await.unwrap_err();
    let report = host.reports.borrow().clone();
    assert_eq!(report.ports.len(), 2);
    for port in &report.ports {
        assert_eq!(port.status(), api::PortStatus::Active, "{}", port.message);
    }
    // They are looked at until that is done.
    run_once("test", &mut host.networks).await.unwrap_err();
    host.forgotten.2.store(false, Ordering::Relaxed);
    assert_eq!(host.converge().await, 1);
}

#[tokio::test]
async fn the_cache_reads_what_it_wrote_and_what_a_newer_agent_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::<Parsed>::in_directory(directory.path());
    assert_eq!(cache.load().unwrap(), None);
    let desired = Parsed::parse(&sample());
    cache
        .store(desired.to_file(&sample()).unwrap())
        .await
        .unwrap();
    assert_eq!(cache.load().unwrap(), Some(desired));
    let newer = r#"{"revision": "9", "vpcs": [], "aFieldOfTheFuture": {"x": 1}}"#;
    let newer = Parsed::from_file(newer.as_bytes()).unwrap();
    assert_eq!(newer.desired.revision, 9);
    let error = Parsed::from_file(br#"{"revision": "many"}"#).unwrap_err();
    assert!(format!("{error:#}").contains("line 1"), "{error:#}");
}

/// To an agent that runs, a file that can't be read is as none.
#[tokio::test]
async fn an_unreadable_cache_is_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::<Parsed>::in_directory(directory.path());
    cache
        .store(br#"{"revision": "many"}"#.to_vec())
        .await
        .unwrap();
    assert!(cache.load().is_err());
    assert_eq!(cache.last(), None);
}

fn sample() -> api::DesiredNetwork {
    let uuid = |number: u128| uuid::Uuid::from_u128(number).to_string();
    api::DesiredNetwork {
        revision: 3,
        vpcs: vec![api::DesiredVpc {
            id: uuid(1),
            table: 14_796_857,
            subnets: vec![api::DesiredSubnet {
                id: uuid(2),
                cidr: "10.0.1.0/24".into(),
                gateway: "10.0.1.1".into(),
                dhcp_enabled: true,
                ports: vec![api::DesiredPort {
                    id: uuid(3),
                    mac_address: "fa:16:3e:00:00:01".into(),
                    ip_address: "10.0.1.10".into(),
                    security_group_ids: vec![uuid(5)],
                    device_id: uuid(4),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            groups: vec![api::DesiredGroup {
                id: uuid(5),
                rules: vec![api::SecurityGroupRule {
                    direction: api::Direction::Ingress.into(),
                    protocol: api::Protocol::Tcp.into(),
                    port_min: 22,
                    port_max: 22,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn understands_what_the_server_sends() {
    let Parsed {
        desired, refused, ..
    } = convert::parse(&sample());
    assert!(refused.is_empty());
    let (vpc, subnet, port) = desired.ports().next().unwrap();
    assert_eq!(vpc.table, 14_796_857);
    assert_ne!(vpc.zone, 0);
    assert_eq!(subnet.net.to_string(), "10.0.1.0/24");
    assert_eq!(port.mac.to_string(), "fa:16:3e:00:00:01");
    assert_eq!(vpc.groups.values().next().unwrap().ingress.len(), 1);
}

/// What is wrong, and a part of the reason that must be given.
#[test]
fn refuses_what_can_not_be_made_and_says_why() {
    type Change = fn(&mut api::DesiredNetwork);
    let cases: [(Change, &str); 11] = [
        (|it| it.vpcs[0].id = "x".into(), "VPC id 'x'"),
        (|it| it.vpcs[0].table = 254, "routing table 254"),
        (
            |it| it.vpcs[0].subnets[0].cidr = "10.0.1.0".into(),
            "10.0.1.0",
        ),
        (
            |it| it.vpcs[0].subnets[0].gateway = "10.0.9.1".into(),
            "10.0.9.1",
        ),
        (
            |it| it.vpcs[0].subnets[0].ipv6_cidr = "fd00::/48".into(),
            "IPv6 gateway",
        ),
        (
            |it| it.vpcs[0].subnets[0].ports[0].ip_address = "10.0.2.1".into(),
            "10.0.2.1",
        ),
        (
            |it| it.vpcs[0].subnets[0].ports[0].ip_address = "10.0.1.1".into(),
            "10.0.1.1",
        ),
        (
            |it| it.vpcs[0].subnets[0].ports[0].mac_address = "01:00:5e:00:00:01".into(),
            "unicast",
        ),
        (
            |it| it.vpcs[0].subnets[0].ports[0].mac_address = "+a:16:3e:00:00:01".into(),
            "unicast",
        ),
        (
            |it| it.vpcs[0].subnets[0].ports[0].device_id = String::new(),
            "device id",
        ),
        (
            |it| {
                let again = it.vpcs[0].subnets[0].clone();
                it.vpcs[0].subnets.insert(0, again);
                it.vpcs[0].subnets[0].ports.clear();
            },
            "is taken by another",
        ),
    ];
    for (change, reason) in cases {
        let mut message = sample();
        change(&mut message);
        let parsed = convert::parse(&message);
        assert_eq!(parsed.desired.ports().count(), 0, "{reason}");
        let refused = parsed.refused.values().map(ToString::to_string);
        let refused: Vec<String> = refused.collect();
        assert_eq!(refused.len(), 1, "{reason}");
        assert!(
            refused[0].contains(reason),
            "{refused:?} says not: {reason}"
        );
    }
}

/// A rule that is not parsed allows nothing; it must never be widened.
#[test]
fn a_rule_that_is_not_parsed_allows_nothing() {
    type Change = fn(&mut api::SecurityGroupRule);
    let cases: [Change; 8] = [
        |rule| rule.direction = 0,
        |rule| rule.direction = 77,
        |rule| rule.protocol = 0,
        |rule| rule.protocol = 77,
        |rule| rule.port_max = 70000,
        |rule| (rule.port_min, rule.port_max) = (30, 20),
        |rule| rule.remote_cidr = "10.0.0.0/33".into(),
        |rule| rule.remote_group_id = "no group".into(),
    ];
    for change in cases {
        let mut message = sample();
        change(&mut message.vpcs[0].groups[0].rules[0]);
        let parsed = convert::parse(&message);
        let group = parsed.desired.vpcs[0].groups.values().next().unwrap();
        assert!(
            group.ingress.is_empty() && group.egress.is_empty(),
            "{group:?}"
        );
    }
}
