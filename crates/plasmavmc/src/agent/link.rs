//! The connection to plasmavmc-server: what should be, what is, images, consoles. Every part reconnects by
//! itself, and none of them is needed for what runs.

mod consoles;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use photon_api::plasmavmc::v1 as wire;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_program::Identity;
use photon_reconcile::{Backoff, Signal};
use photon_resource::{Error, VmId};
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::desired::{Desired, ImageFile, ImageSource, Part};
use super::images::{Pieces, Registry};
use super::reconciler::Reports;
use super::{cache, convert};
use crate::phase::Phase;
use crate::plan::Report;

/// The server takes a host for gone after 30 s without a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A status that did not change is told again after this, for a server that lost it.
const REPORT_AGAIN: Duration = Duration::from_secs(60);
const CALL_LIMIT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// The server, as this host's agent reaches it. Clones share the connection.
#[derive(Clone)]
pub struct Link {
    node: String,
    client: NodeServiceClient<Channel>,
    identity: Identity,
}

impl Link {
    /// Connects when first used.
    pub fn new(node: &str, channel: Channel, identity: Identity) -> Self {
        Self {
            node: node.to_owned(),
            client: NodeServiceClient::new(channel),
            identity,
        }
    }

    async fn request<T>(&self, message: T) -> Result<Request<T>, Status> {
        self.identity
            .request(message, "")
            .await
            .map_err(Status::from)
    }

    async fn call<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = self.request(message).await?;
        request.set_timeout(CALL_LIMIT);
        Ok(request)
    }

    /// A refused token is not used again.
    async fn failed(&self, what: &str, status: &Status) {
        if status.code() == Code::Unauthenticated {
            self.identity.forget().await;
        }
        tracing::warn!(
            code = ?status.code(),
            reason = status.message(),
            "{what}: the server can't be reached or refuses; what runs goes on"
        );
    }

    /// Follows what should be: onto this host's disk first, then to the reconciler.
    pub async fn follow_desired(
        self,
        path: PathBuf,
        desired: watch::Sender<Option<Arc<Desired>>>,
        signal: Signal,
    ) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        loop {
            let ended = self
                .follow_once(&path, &desired, &signal, &mut backoff)
                .await;
            metrics::gauge!("plasmavmc_agent_server_connected").set(0.0);
            match ended {
                Ok(()) => tracing::info!("the server ended the stream of what should be"),
                Err(status) => self.failed("what should be", &status).await,
            }
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    async fn follow_once(
        &self,
        path: &std::path::Path,
        desired: &watch::Sender<Option<Arc<Desired>>>,
        signal: &Signal,
        backoff: &mut Backoff,
    ) -> Result<(), Status> {
        let request = wire::WatchDesiredRequest {
            node: self.node.clone(),
        };
        let request = self.request(request).await?;
        let mut stream = self
            .client
            .clone()
            .watch_desired(request)
            .await?
            .into_inner();
        while let Some(message) = stream.message().await? {
            backoff.succeeded();
            metrics::gauge!("plasmavmc_agent_server_connected").set(1.0);
            let new = Arc::new(convert::desired(message));
            tracing::info!(
                revision = new.revision,
                vms = new.vms.len(),
                "what should be"
            );
            let (kept, to) = (Arc::clone(&new), path.to_owned());
            let written = tokio::task::spawn_blocking(move || cache::write(&to, &kept)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "after a power cut an older state would be restored");
                }
                Err(error) => tracing::error!(%error, "the desired state could not be kept"),
            }
            desired.send_replace(Some(new));
            signal.notify();
        }
        Ok(())
    }

    /// Tells every 10 s that the host is there, and what it can hold.
    pub async fn heartbeat(self, node: wire::Node) {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let request = wire::RegisterNodeRequest {
                node: Some(node.clone()),
            };
            let sent = match self.call(request).await {
                Ok(request) => self.client.clone().register_node(request).await.map(drop),
                Err(status) => Err(status),
            };
            if let Err(status) = sent {
                self.failed("heartbeat", &status).await;
            }
        }
    }

    /// Tells what exists, whenever it changes.
    pub async fn report(self, mut reports: watch::Receiver<Reports>) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        loop {
            let current = reports.borrow_and_update().clone();
            let pause = if current == Reports::default() {
                REPORT_AGAIN
            } else {
                match self.report_once(current).await {
                    Ok(()) => {
                        backoff.succeeded();
                        REPORT_AGAIN
                    }
                    Err(status) => {
                        self.failed("status", &status).await;
                        backoff.failed()
                    }
                }
            };
            tokio::select! {
                changed = reports.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn report_once(&self, reports: Reports) -> Result<(), Status> {
        let request = wire::ReportStatusRequest {
            node: self.node.clone(),
            revision: reports.revision,
            vms: reports
                .vms
                .into_iter()
                .map(|(id, report)| vm_report(id, report))
                .collect(),
        };
        let request = self.call(request).await?;
        self.client.clone().report_status(request).await.map(drop)
    }
}

fn vm_report(id: VmId, report: Report) -> wire::VmReport {
    let phase = match report.phase {
        Phase::Provisioning => wire::VmPhase::Provisioning,
        Phase::Starting => wire::VmPhase::Starting,
        Phase::Running => wire::VmPhase::Running,
        Phase::Stopping => wire::VmPhase::Stopping,
        Phase::Stopped => wire::VmPhase::Stopped,
        Phase::Failed => wire::VmPhase::Failed,
        Phase::Deleting => wire::VmPhase::Deleting,
    };
    wire::VmReport {
        id: id.to_string(),
        phase: phase.into(),
        message: report.message,
        accelerator: report.accelerator,
        unit: id.unit_name(),
        started_at: report.started_at.map(Into::into),
        reboot_generation: report.reboot_generation,
        gone: report.gone,
    }
}

#[async_trait]
impl Registry for Link {
    async fn fetch(&self, file: &ImageFile, offset: u64) -> Result<Pieces, String> {
        let ImageSource::Registry { image, part } = &file.source else {
            return Err("the file is not one of the registry".to_owned());
        };
        let part = match part {
            Part::Disk => wire::ImagePart::Disk,
            Part::Kernel => wire::ImagePart::Kernel,
            Part::Initrd => wire::ImagePart::Initrd,
        };
        let request = wire::FetchImageRequest {
            node: self.node.clone(),
            image_id: image.to_string(),
            part: part.into(),
            offset,
        };
        let text = |status: Status| format!("fetch image {image}: {}", status.message());
        let request = self.request(request).await.map_err(text)?;
        let stream = match self.client.clone().fetch_image(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                self.failed("image", &status).await;
                return Err(text(status));
            }
        };
        Ok(stream
            .map_ok(|piece| piece.data)
            .map_err(|status| status.message().to_owned())
            .boxed())
    }
}

/// A registry for a host without a server: there is none.
pub struct NoRegistry;

#[async_trait]
impl Registry for NoRegistry {
    async fn fetch(&self, _file: &ImageFile, _offset: u64) -> Result<Pieces, String> {
        Err(
            Error::Unavailable("the image is in a registry, and no server is known".into())
                .to_string(),
        )
    }
}
