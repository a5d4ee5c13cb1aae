//! What the guests of one VPC are answered. Never changed: a view takes the place of the one before as a whole, so that no
//! question sees half a change. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, AAAA, HINFO, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use crate::zone::{Found, NEGATIVE_TTL, Zone};
use crate::{Contents, Domain, reverse};

/// How long an automatic name is remembered, in seconds: a port that goes to another VM has another name as soon.
const TTL: u32 = 30;

/// How many names an alias may lead through: more is a loop, or means to be a burden.
const MOST_ALIASES: usize = 8;

/// What is nobody's on the Internet, and is never asked for there: RFC 6761, 6762, 7686; `internal` by ICANN.
const SPECIAL: [&str; 6] = [
    "localhost.",
    "local.",
    "onion.",
    "invalid.",
    "test.",
    "internal.",
];

/// Zones that are alike in all views.
static COMMON: LazyLock<HashMap<Name, Zone>> = LazyLock::new(|| {
    let special = SPECIAL
        .iter()
        .filter_map(|name| Name::from_ascii(name).ok());
    let zone = |name: Name| (name.clone(), Zone::new(name.clone(), &name));
    let mut zones: HashMap<Name, Zone> = special.chain(reverse::private()).map(zone).collect();
    if let Some((name, zone)) = zones.iter_mut().find(|(name, _)| name.is_localhost()) {
        let name = name.clone();
        zone.add(name.clone(), TTL, RData::A(A(Ipv4Addr::LOCALHOST)));
        zone.add(name, TTL, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST)));
    }
    zones
});

/// The view of a VPC.
#[derive(Debug, Default)]
pub struct View {
    /// By their own names, in lower case.
    zones: HashMap<Name, Zone>,
}

/// What is answered.
#[derive(Debug)]
pub struct Resolved {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// What says that there is no such name or record.
    pub authority: Option<Record>,
    /// The foreign name that the answer leads to: that which was asked for, or an alias' end.
    pub foreign: Option<Name>,
    /// The zone that was asked first; `None`: the name is foreign.
    pub zone: Option<Name>,
}

impl Resolved {
    fn new(code: ResponseCode, answers: Vec<Record>, authority: Option<Record>) -> Self {
        Self {
            code,
            answers,
            authority,
            foreign: None,
            zone: None,
        }
    }

    fn leading_to(self, name: Name) -> Self {
        Self {
            foreign: Some(name),
            ..self
        }
    }
}

impl View {
    /// The view of a VPC whose automatic names end with `suffix`. What is below one of `denied` is nowhere, but for zones of the
    /// VPC. A name that is none is left out, and logged.
    pub fn of(contents: &Contents, suffix: &str, denied: &[Name]) -> Self {
        let mut view = Self::default();
        let Some(suffix) = readable(suffix) else {
            return view;
        };
        let reverse = contents.networks.iter().copied().flat_map(reverse::zones);
        // One that is nobody's on the Internet is answered whole: what is not here is nowhere.
        let reverse = reverse.map(|apex| common_apex(&apex).unwrap_or(apex));
        for apex in reverse.chain([suffix.clone()]) {
            view.zones
                .entry(apex.clone())
                .or_insert_with(|| Zone::new(apex, &suffix));
        }
        for (name, addresses) in &contents.names {
            let full = readable(name).and_then(|mut name| {
                name.set_fqdn(false);
                name.append_domain(&suffix).ok()
            });
            for address in addresses {
                if let Some(name) = &full {
                    view.add(name.clone(), *address);
                }
            }
        }
        for zone in &contents.zones {
            view.add_zone(zone, &suffix);
        }
        for apex in denied {
            let zone = || Zone::new(apex.clone(), &suffix);
            view.zones.entry(apex.clone()).or_insert_with(zone);
        }
        view
    }

    /// Adds a zone of a tenant's. Never the place of one that is there: those are the cloud's.
    fn add_zone(&mut self, told: &Domain, suffix: &Name) {
        let Some(apex) = readable(&told.name).filter(|apex| !self.zones.contains_key(apex)) else {
            return;
        };
        let mut zone = Zone::new(apex.clone(), suffix);
        for set in &told.record_sets {
            let name = match set.name.as_str() {
                "" => Some(apex.clone()),
                name => readable(name).and_then(|mut name| {
                    name.set_fqdn(false);
                    name.append_domain(&apex).ok()
                }),
            };
            for value in &set.values {
                match (&name, rdata(set.kind, value)) {
                    (Some(name), Some(value)) => zone.add(name.clone(), set.ttl, value),
                    _ => tracing::warn!(
                        zone = told.name,
                        name = set.name,
                        kind = set.kind,
                        "a record can't be read: it is left out"
                    ),
                }
            }
        }
        self.zones.insert(apex, zone);
    }

    fn add(&mut self, name: Name, address: IpAddr) {
        let value = match address {
            IpAddr::V4(address) => RData::A(A(address)),
            IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        let reverse = reverse::name(address);
        let reverse = reverse.map(|reverse| (reverse, RData::PTR(PTR(name.clone()))));
        for (name, value) in [Some((name, value)), reverse].into_iter().flatten() {
            if let Some(apex) = apexes(&name).find(|apex| self.zones.contains_key(apex))
                && let Some(zone) = self.zones.get_mut(&apex)
            {
                zone.add(name, TTL, value);
            }
        }
    }

    /// The zone that a name in lower case is in; `None`: it is foreign.
    fn zone(&self, name: &Name) -> Option<&Zone> {
        apexes(name).find_map(|apex| self.zones.get(&apex).or_else(|| COMMON.get(&apex)))
    }

    /// What is known here of the records of a type that `name` has.
    pub fn resolve(&self, name: &Name, kind: RecordType) -> Resolved {
        let zone = self.zone(&name.to_lowercase());
        Resolved {
            zone: zone.map(|zone| zone.apex().clone()),
            ..self.found(name, kind)
        }
    }

    fn found(&self, name: &Name, kind: RecordType) -> Resolved {
        let mut answers = Vec::new();
        // The question's own letters, as it is compared with the answer (0x20).
        let mut name = name.clone();
        for _ in 0..MOST_ALIASES {
            let lower = name.to_lowercase();
            let Some(zone) = self.zone(&lower) else {
                // Of an alias that leads elsewhere, that much is known.
                let code = match answers.is_empty() {
                    true => ResponseCode::Refused,
                    false => ResponseCode::NoError,
                };
                return Resolved::new(code, answers, None).leading_to(name);
            };
            let Found::Node(node) = zone.find(&lower) else {
                let soa = Some(zone.soa().clone());
                return Resolved::new(ResponseCode::NXDomain, answers, soa);
            };
            if kind == RecordType::SOA && lower == *zone.apex() {
                answers.push(zone.soa().clone());
                return Resolved::new(ResponseCode::NoError, answers, None);
            }
            if kind == RecordType::ANY {
                // RFC 8482 section 4.2: what is small, in the place of all that there is.
                let value = RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new()));
                answers.push(Record::from_rdata(name, NEGATIVE_TTL, value));
                return Resolved::new(ResponseCode::NoError, answers, None);
            }
            if let Some(set) = node.set(kind) {
                answers.extend(set.records(&name));
                return Resolved::new(ResponseCode::NoError, answers, None);
            }
            let Some((set, alias)) = node.alias() else {
                let soa = Some(zone.soa().clone());
                return Resolved::new(ResponseCode::NoError, answers, soa);
            };
            answers.extend(set.records(&name));
            name = alias.clone();
        }
        Resolved::new(ResponseCode::ServFail, Vec::new(), None)
    }
}

/// What a record says, as DNS carries it.
fn rdata(kind: u16, octets: &[u8]) -> Option<RData> {
    let length = u16::try_from(octets.len()).ok()?;
    let mut decoder = BinDecoder::new(octets);
    let value = RData::read(&mut decoder, RecordType::from(kind), Restrict::new(length)).ok()?;
    // What the parser makes of a type that it does not know would be answered as it is.
    decoder.is_empty().then_some(value)
}

/// The zone in all views that holds this one.
fn common_apex(apex: &Name) -> Option<Name> {
    apexes(apex).find(|above| COMMON.contains_key(above))
}

/// A name and all above it, down to the last label.
fn apexes(name: &Name) -> impl Iterator<Item = Name> + use<> {
    let next = |name: &Name| Some(name.base_name()).filter(|name| !name.is_root());
    std::iter::successors(Some(name.clone()).filter(|name| !name.is_root()), next)
}

/// In lower case and absolute.
pub fn readable(text: &str) -> Option<Name> {
    match Name::from_ascii(text) {
        Ok(mut name) => {
            name.set_fqdn(true);
            Some(name.to_lowercase())
        }
        Err(error) => {
            tracing::warn!(text, %error, "the control plane sent a name that is none: it is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests;
