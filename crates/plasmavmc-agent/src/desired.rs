//! How the desired VMs are heard of and kept.
//!
//! The file holds them twice:
//!
//! ```json
//! {"version": 1, "desired": {…}, "wire": {…}}
//! ```
//!
//! `desired` is [`Desired`] as it is here: what an operator writes for `apply`, and what an agent of an earlier release
//! reads, which knows nothing of the rest and refuses fields of `desired` that it does not know. `wire` is the API's
//! message, from which an agent of a later release reads what this one did not understand; it counts where it is.

use anyhow::{Context, bail};
use async_trait::async_trait;
use photon_agent::{Opened, Session, from_json, to_json};
use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_reconcile::follow::Position;
use serde::{Deserialize, Serialize};

use super::convert;
use super::plan::desired::Desired;

/// Version of the form of `desired`. Never another while an agent that refuses others may read it.
const VERSION: u32 = 1;
const MESSAGE: &str = "plasmavmc.v1.DesiredVms";

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    desired: &'a Desired,
    wire: serde_json::Value,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    desired: serde_json::Value,
    #[serde(default)]
    wire: serde_json::Value,
}

#[async_trait]
impl photon_agent::Desired for Desired {
    type Message = pb::DesiredVms;

    async fn watch(session: &Session) -> Opened<pb::DesiredVms> {
        let message = pb::WatchDesiredRequest {
            node: session.node().to_owned(),
            accepts_changes: true,
        };
        let request = session.stream(message).await?;
        NodeServiceClient::new(session.channel())
            .watch_desired(request)
            .await
    }

    fn parse(message: &pb::DesiredVms) -> Self {
        convert::desired(message)
    }

    fn position(&self) -> Position {
        Position {
            epoch: self.store_epoch.clone(),
            revision: self.revision,
        }
    }

    fn summary(&self) -> String {
        format!("{} VMs, {} refused", self.vms.len(), self.refused.len())
    }

    fn to_file(&self, message: &pb::DesiredVms) -> anyhow::Result<Vec<u8>> {
        let written = Written {
            version: VERSION,
            desired: self,
            wire: to_json(MESSAGE, message)?,
        };
        Ok(serde_json::to_vec(&written)?)
    }

    fn from_file(contents: &[u8]) -> anyhow::Result<Self> {
        let read: Read = serde_json::from_slice(contents)?;
        if !read.wire.is_null() {
            match from_json(MESSAGE, &serde_json::to_vec(&read.wire)?) {
                Ok(message) => return Ok(convert::desired(&message)),
                Err(error) => {
                    tracing::warn!("'wire' is not used, but 'desired' beside it: {error:#}");
                }
            }
        }
        if read.version != VERSION {
            let version = read.version;
            bail!("its version is {version}, and this program knows {VERSION}");
        }
        serde_json::from_value(read.desired).context("'desired'")
    }
}

#[cfg(test)]
mod tests;
