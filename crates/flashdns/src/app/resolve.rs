//! What the guests of a VPC are answered, for people: from the same view as on their hosts.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType as Wire;
use photon_names::{Contents, Domain, RecordSet, View, readable};
use photon_resource::{Error, VpcId};

use super::node::{DesiredView, DesiredZone, Nodes};
use crate::model::{RecordType, carried};

/// What guests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// As DNS calls it: `NOERROR`.
    pub code: &'static str,
    pub records: Vec<ResolvedRecord>,
    /// The zone that the name is in; empty: it is foreign.
    pub zone: String,
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRecord {
    pub name: String,
    pub kind: String,
    /// In seconds.
    pub ttl: u32,
    pub value: String,
}

/// Asks the views of VPCs.
#[derive(Clone)]
pub struct Names {
    nodes: Nodes,
    suffix: String,
}

impl Names {
    /// Of what hosts are told by `nodes`, in a cloud whose automatic names end with `suffix`.
    pub fn new(nodes: Nodes, suffix: &str) -> Self {
        Self {
            nodes,
            suffix: suffix.to_owned(),
        }
    }

    /// What guests of a VPC are answered. Errors: `InvalidArgument` (the name), `Unavailable` before everything has been heard.
    pub fn resolve(&self, vpc: VpcId, name: &str, kind: RecordType) -> Result<Resolved, Error> {
        let asked = readable(name).filter(|name| !name.is_root());
        let asked = asked.ok_or_else(|| {
            Error::invalid(
                "name",
                name,
                "a name such as web-1.shop.acme.cloud.internal",
            )
        })?;
        let contents = self.nodes.view(vpc, contents)?;
        let view = View::of(&contents, &self.suffix, &[]);
        let found = view.resolve(&asked, Wire::from(kind.number()));
        let records = found.answers.iter().map(|record| ResolvedRecord {
            name: without_dot(&record.name.to_ascii()),
            kind: record.record_type().to_string(),
            ttl: record.ttl,
            value: record.data.to_string(),
        });
        Ok(Resolved {
            code: match found.code {
                ResponseCode::NoError => "NOERROR",
                ResponseCode::NXDomain => "NXDOMAIN",
                ResponseCode::Refused => "REFUSED",
                _ => "SERVFAIL",
            },
            records: records.collect(),
            zone: found
                .zone
                .map(|zone| without_dot(&zone.to_ascii()))
                .unwrap_or_default(),
        })
    }
}

fn without_dot(name: &str) -> String {
    name.trim_end_matches('.').to_owned()
}

fn contents(view: &DesiredView<'_>) -> Contents {
    let names = view.names.iter();
    Contents {
        networks: view.networks.iter().copied().collect(),
        names: names
            .map(|(name, of)| (name.clone(), of.addresses.to_vec()))
            .collect(),
        zones: view.zones.iter().map(domain).collect(),
    }
}

fn domain(desired: &DesiredZone<'_>) -> Domain {
    let sets = desired.record_sets.iter();
    let ttl = desired.zone.default_ttl;
    Domain {
        name: desired.zone.meta.name.clone(),
        record_sets: sets
            .map(|set| RecordSet {
                name: set.label().to_owned(),
                kind: set.kind.number(),
                ttl: set.ttl.unwrap_or(ttl),
                values: carried(set),
            })
            .collect(),
    }
}
