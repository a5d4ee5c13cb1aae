//! Follows what the control plane wants of this host.

use std::sync::Arc;
use std::time::Duration;

use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::{DesiredNetwork, WatchDesiredRequest};
use photon_program::Identity;
use photon_reconcile::{Backoff, Signal};
use tokio::sync::watch;
use tonic::transport::Channel;

use super::cache::Cache;
use super::convert::{self, Understood};

/// The desired state as far as it is known.
pub type Known = Option<Arc<Understood>>;

/// Understands a message, stores it and makes it known.
///
/// It is made known even if it can't be stored: running guests need it now, and the next message is stored
/// again.
pub fn accept(message: &DesiredNetwork, cache: &Cache, known: &watch::Sender<Known>) {
    if let Err(error) = cache.store(message) {
        tracing::error!("desired state not stored: {error:#}");
    }
    let understood = convert::desired(message);
    tracing::info!(
        revision = message.revision,
        vpcs = understood.desired.vpcs.len(),
        ports = understood.desired.ports().count(),
        refused = understood.refused.len(),
        "desired state received"
    );
    known.send_replace(Some(Arc::new(understood)));
}

/// Follows the stream, and opens it again whenever it ends. Never ends by itself.
pub async fn follow(
    node: String,
    identity: Identity,
    channel: Channel,
    cache: Cache,
    known: watch::Sender<Known>,
    signal: Signal,
) {
    let mut client = NodeServiceClient::new(channel);
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let ended = async {
            let message = WatchDesiredRequest { node: node.clone() };
            let request = identity.request(message, "").await?;
            let mut stream = client.watch_desired(request).await?.into_inner();
            while let Some(message) = stream.message().await? {
                backoff.succeeded();
                metrics::gauge!("photon_agent_connected").set(1.0);
                accept(&message, &cache, &known);
                signal.notify();
            }
            anyhow::Ok(())
        }
        .await;
        metrics::gauge!("photon_agent_connected").set(0.0);
        let delay = backoff.failed();
        match ended {
            Ok(()) => tracing::info!("the control plane ended the stream"),
            Err(error) => {
                tracing::warn!(
                    retry_in_ms = delay.as_millis(),
                    "the control plane can't be followed: {error:#}"
                );
                // The token may be what was refused.
                identity.forget().await;
            }
        }
        tokio::time::sleep(delay).await;
    }
}
