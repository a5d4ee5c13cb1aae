//! A zone as it is answered from: what there is below one name, and how it is found there.

use std::collections::HashMap;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Names of one end, with their records. It never changes: another one takes its place.
#[derive(Clone, Debug)]
pub struct Zone {
    apex: Name,
    soa: Record,
    /// Names in lower case. One without records has names below it (RFC 8020: it exists).
    nodes: HashMap<Name, Node>,
}

/// The records of a name.
#[derive(Clone, Debug, Default)]
pub struct Node(Vec<Set>);

/// Records of one name and type.
#[derive(Clone, Debug)]
pub struct Set {
    kind: RecordType,
    /// In seconds.
    ttl: u32,
    values: Vec<RData>,
}

/// What a zone has of a name.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The name itself, or the wildcard that stands for it (RFC 4592).
    Node(&'a Node),
    /// There is no such name.
    Absent,
}

/// How long it is remembered that there is no such name or record (RFC 2308), in seconds: whoever asks for a VM before it
/// is there soon asks again.
pub const NEGATIVE_TTL: u32 = 5;

impl Zone {
    /// An empty zone below `apex`, of a cloud whose names end with `suffix`; both in lower case.
    pub fn new(apex: Name, suffix: &Name) -> Self {
        let below = |label| {
            suffix
                .prepend_label(label)
                .unwrap_or_else(|_| suffix.clone())
        };
        let soa = SOA::new(
            below("ns"),
            below("hostmaster"),
            // Nobody transfers it, who would compare.
            1,
            3600,
            600,
            86_400,
            NEGATIVE_TTL,
        );
        Self {
            soa: Record::from_rdata(apex.clone(), NEGATIVE_TTL, RData::SOA(soa)),
            nodes: HashMap::from([(apex.clone(), Node::default())]),
            apex,
        }
    }

    /// Its own name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// What says that something is not there, and for how long.
    pub fn soa(&self) -> &Record {
        &self.soa
    }

    /// Adds a record of a name that is in the zone, in lower case. All of one name and type have the first one's TTL.
    pub fn add(&mut self, name: Name, ttl: u32, value: RData) {
        let kind = value.record_type();
        let mut above = name.clone();
        while above != self.apex && !above.is_root() {
            above = above.base_name();
            self.nodes.entry(above.clone()).or_default();
        }
        let node = self.nodes.entry(name).or_default();
        match node.0.iter_mut().find(|set| set.kind == kind) {
            Some(set) => set.values.push(value),
            None => node.0.push(Set {
                kind,
                ttl,
                values: vec![value],
            }),
        }
    }

    /// What there is of a name in lower case that is in the zone.
    pub fn find(&self, name: &Name) -> Found<'_> {
        if let Some(node) = self.nodes.get(name) {
            return Found::Node(node);
        }
        // The closest name that exists is the only one whose wildcard counts.
        let mut above = name.base_name();
        while !self.nodes.contains_key(&above) && above != self.apex && !above.is_root() {
            above = above.base_name();
        }
        let wildcard = above.prepend_label("*").ok();
        let wildcard = wildcard.and_then(|wildcard| self.nodes.get(&wildcard));
        wildcard.map_or(Found::Absent, Found::Node)
    }
}

impl Node {
    /// Its records of a type.
    pub fn set(&self, kind: RecordType) -> Option<&Set> {
        self.0.iter().find(|set| set.kind == kind)
    }

    /// What else its name is called, if it has no records but that.
    pub fn alias(&self) -> Option<(&Set, &Name)> {
        let set = self.set(RecordType::CNAME)?;
        match set.values.first()? {
            RData::CNAME(alias) => Some((set, &alias.0)),
            _ => None,
        }
    }
}

impl Set {
    /// The records, of the name that was asked for.
    pub fn records(&self, name: &Name) -> impl Iterator<Item = Record> {
        let record = |value: &RData| Record::from_rdata(name.clone(), self.ttl, value.clone());
        self.values.iter().map(record)
    }
}
