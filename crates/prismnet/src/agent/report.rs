//! Tells the control plane which ports are there.

use std::time::Duration;

use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::{PortReport, PortStatus, ReportStatusRequest};
use photon_program::Identity;
use photon_reconcile::Backoff;
use tokio::sync::watch;
use tonic::transport::Channel;

/// What is known of the ports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The revision that this is about.
    pub revision: u64,
    /// Ports that are there or can't be made; of others it is too early to speak.
    pub ports: Vec<PortReport>,
}

impl Report {
    /// Adds a port that is there, or one with a problem.
    pub fn port(&mut self, id: String, problem: Option<String>) {
        self.ports.push(PortReport {
            port_id: id,
            status: match problem {
                None => PortStatus::Active,
                Some(_) => PortStatus::Error,
            }
            .into(),
            message: problem.unwrap_or_default(),
        });
    }
}

/// A report is sent again after this time, should the control plane have lost the last one.
const AGAIN: Duration = Duration::from_secs(60);

/// Sends each new report until it is accepted. Never ends by itself.
pub async fn send(
    node: String,
    identity: Identity,
    channel: Channel,
    mut reports: watch::Receiver<Report>,
) {
    let mut client = NodeServiceClient::new(channel);
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(15));
    loop {
        let report = reports.borrow_and_update().clone();
        // Revision 0: nothing is known yet.
        if report.revision > 0 {
            let message = ReportStatusRequest {
                node: node.clone(),
                revision: report.revision,
                ports: report.ports,
            };
            let sent = async {
                let mut request = identity.request(message, "").await?;
                request.set_timeout(Duration::from_secs(10));
                client
                    .report_status(request)
                    .await
                    .map_err(|status| anyhow::anyhow!("{}: {}", status.code(), status.message()))
            };
            if let Err(error) = sent.await {
                let delay = backoff.failed();
                tracing::warn!(
                    retry_in_ms = delay.as_millis(),
                    "status not reported: {error:#}"
                );
                identity.forget().await;
                tokio::time::sleep(delay).await;
                continue;
            }
            backoff.succeeded();
        }
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}
