//! How the desired network is heard of and kept.
//!
//! The file is the API's message as JSON (the mapping of protobuf's documentation).

use std::sync::OnceLock;

use async_trait::async_trait;
use photon_agent::{Desired, Opened, Session, from_json, to_json};
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_reconcile::follow::Position;

use super::convert::{Parsed, parse};

/// Names of the external networks that this host has interfaces in: what it says of itself when it asks.
static EXTERNAL_NETWORKS: OnceLock<Vec<String>> = OnceLock::new();

/// Says once, before the first stream, which external networks this host has interfaces in.
pub fn external_networks(names: impl Iterator<Item = String>) {
    // A second time would be a second agent in the process.
    let _ = EXTERNAL_NETWORKS.set(names.collect());
}

const MESSAGE: &str = "prismnet.v1.DesiredNetwork";

#[async_trait]
impl Desired for Parsed {
    type Message = pb::DesiredNetwork;

    async fn watch(session: &Session) -> Opened<pb::DesiredNetwork> {
        let message = pb::WatchDesiredRequest {
            node: session.node().to_owned(),
            accepts_changes: true,
            accepts_kept_rules: true,
            external_networks: EXTERNAL_NETWORKS.get().cloned().unwrap_or_default(),
        };
        let request = session.stream(message).await?;
        NodeServiceClient::new(session.channel())
            .watch_desired(request)
            .await
    }

    fn parse(message: &pb::DesiredNetwork) -> Self {
        parse(message)
    }

    fn position(&self) -> Position {
        Position {
            epoch: self.store_epoch.clone(),
            revision: self.desired.revision,
        }
    }

    fn summary(&self) -> String {
        format!(
            "{} VPCs, {} ports, {} refused",
            self.desired.vpcs.len(),
            self.desired.ports().count(),
            self.refused.len()
        )
    }

    fn to_file(&self, message: &pb::DesiredNetwork) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(&to_json(MESSAGE, message)?)?)
    }

    fn from_file(contents: &[u8]) -> anyhow::Result<Self> {
        Ok(parse(&from_json(MESSAGE, contents)?))
    }
}
