//! Tells the control plane which ports are there.

use photon_agent::Session;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::{PortReport, PortStatus, ReportStatusRequest};
use tonic::Status;

/// What is known of the ports. The default: nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The revision that this is about.
    pub revision: u64,
    /// Of which store.
    pub store_epoch: String,
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

/// Sends one.
pub async fn send(session: Session, report: Report) -> Result<(), Status> {
    let message = ReportStatusRequest {
        node: session.node().to_owned(),
        revision: report.revision,
        ports: report.ports,
        store_epoch: report.store_epoch,
    };
    let request = session.call(message).await?;
    let mut client = NodeServiceClient::new(session.channel());
    client.report_status(request).await.map(drop)
}
