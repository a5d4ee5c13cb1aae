//! How the names are heard of and kept. What can't be read is left out, and logged.
//!
//! The file is the API's message as JSON (the mapping of protobuf's documentation).

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use photon_agent::{Opened, Session, from_json, to_json};
use photon_api::flashdns::v1 as pb;
use photon_api::flashdns::v1::node_service_client::NodeServiceClient;
use photon_names::{Contents, Domain, RecordSet};
use photon_reconcile::follow::Position;

use crate::plan::{Desired, Vpc};

const MESSAGE: &str = "flashdns.v1.DesiredNames";

/// What was understood, and as of when.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// What should be.
    pub desired: Arc<Desired>,
    position: Position,
}

impl Parsed {
    /// The server's revision of it.
    pub fn revision(&self) -> u64 {
        self.position.revision
    }
}

#[async_trait]
impl photon_agent::Desired for Parsed {
    type Message = pb::DesiredNames;

    async fn watch(session: &Session) -> Opened<pb::DesiredNames> {
        let message = pb::WatchDesiredRequest {
            node: session.node().to_owned(),
        };
        let request = session.stream(message).await?;
        NodeServiceClient::new(session.channel())
            .watch_desired(request)
            .await
    }

    fn parse(message: &pb::DesiredNames) -> Self {
        let vpcs = message.views.iter().filter_map(|view| {
            let id = value("VPC id", &view.id)?;
            Some((id, Arc::new(vpc(view))))
        });
        let desired = Desired {
            suffix: message.suffix.clone().unwrap_or_default(),
            vpcs: vpcs.collect(),
        };
        Self {
            desired: Arc::new(desired),
            position: Position {
                epoch: message.store_epoch.clone(),
                revision: message.revision,
            },
        }
    }

    fn position(&self) -> Position {
        self.position.clone()
    }

    fn summary(&self) -> String {
        let vpcs = &self.desired.vpcs;
        let names: usize = vpcs.values().map(|vpc| vpc.contents.names.len()).sum();
        format!("{} VPCs, {names} names", vpcs.len())
    }

    fn to_file(&self, message: &pb::DesiredNames) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(&to_json(MESSAGE, message)?)?)
    }

    fn from_file(contents: &[u8]) -> anyhow::Result<Self> {
        Ok(Self::parse(&from_json(MESSAGE, contents)?))
    }
}

fn vpc(view: &pb::DesiredView) -> Vpc {
    let name = |name: &pb::DesiredName| (name.id.clone(), values("address", &name.addresses));
    Vpc {
        gateways: values("gateway", &view.gateways),
        contents: Contents {
            networks: values("network", &view.networks),
            names: view.names.iter().map(name).collect(),
            zones: view.zones.iter().map(zone).collect(),
        },
    }
}

fn zone(zone: &pb::DesiredZone) -> Domain {
    let sets = zone.record_sets.iter().filter_map(|set| {
        Some(RecordSet {
            name: set.name.clone(),
            // No type has a greater number.
            kind: u16::try_from(set.r#type).ok()?,
            ttl: set.ttl,
            values: set.values.clone(),
        })
    });
    Domain {
        name: zone.name.clone(),
        record_sets: sets.collect(),
    }
}

fn value<T: FromStr>(what: &'static str, text: &str) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() {
        tracing::warn!(
            what,
            text,
            "the control plane sent what can't be read: it is left out"
        );
    }
    parsed
}

fn values<T: FromStr>(what: &'static str, texts: &[String]) -> Vec<T> {
    texts.iter().filter_map(|text| value(what, text)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use photon_agent::Desired as _;

    use super::*;

    #[test]
    fn what_was_heard_is_kept_and_read_again() {
        let view = |id: &str, gateway: &str| pb::DesiredView {
            id: id.to_owned(),
            gateways: vec![gateway.to_owned(), "fd00:1::1".to_owned()],
            networks: vec!["10.0.1.0/33".to_owned(), "10.0.1.0/24".to_owned()],
            names: vec![pb::DesiredName {
                id: "db.web.acme".to_owned(),
                addresses: vec!["10.0.1.2".to_owned(), "10.0.1".to_owned()],
            }],
            ..Default::default()
        };
        let message = pb::DesiredNames {
            revision: 7,
            suffix: Some("cloud.internal".to_owned()),
            views: vec![
                view("not-an-id", "10.0.1.1"),
                view("6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e", "10.0.1"),
            ],
            ..Default::default()
        };
        let parsed = Parsed::parse(&message);
        assert_eq!(parsed.summary(), "1 VPCs, 1 names");
        let vpc = parsed.desired.vpcs.values().next().unwrap();
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        assert_eq!(vpc.gateways, [address("fd00:1::1")]);
        assert_eq!(vpc.contents.networks.len(), 1);
        assert_eq!(vpc.contents.names["db.web.acme"], [address("10.0.1.2")]);
        let kept = parsed.to_file(&message).unwrap();
        assert_eq!(Parsed::from_file(&kept).unwrap(), parsed);
    }
}
