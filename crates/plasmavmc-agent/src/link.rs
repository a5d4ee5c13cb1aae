//! What plasmavmc-server is told, and asked for. Each part tries again by itself, and none of them is needed for what
//! runs.

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use photon_agent::Session;
use photon_api::plasmavmc::v1 as wire;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_resource::VmId;
use tonic::Status;

use crate::images::{FetchError, Pieces, Registry};
use crate::plan::desired::{ImageFile, ImageSource, Part};
use crate::plan::{Phase, Report};
use crate::reconciler::Reports;

/// The server takes a host for gone after 30 s without a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Tells every 10 s that the host is there, and what it can hold.
pub async fn heartbeat(session: Session, node: wire::Node) {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(status) = register(&session, node.clone()).await {
            session.failed("heartbeat", &status).await;
        }
    }
}

async fn register(session: &Session, node: wire::Node) -> Result<(), Status> {
    let request = wire::RegisterNodeRequest { node: Some(node) };
    let request = session.call(request).await?;
    let mut client = NodeServiceClient::new(session.channel());
    client.register_node(request).await.map(drop)
}

/// Tells what exists.
pub async fn report(session: Session, reports: Reports) -> Result<(), Status> {
    let vms = reports.vms.into_iter();
    let request = wire::ReportStatusRequest {
        node: session.node().to_owned(),
        revision: reports.revision,
        vms: vms.map(|(id, report)| vm_report(id, report)).collect(),
        store_epoch: reports.store_epoch,
    };
    let request = session.call(request).await?;
    let mut client = NodeServiceClient::new(session.channel());
    client.report_status(request).await.map(drop)
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
        interfaces: report.taps.map(|taps| wire::HeldInterfaces {
            names: taps.into_iter().collect(),
        }),
    }
}

/// The server's images.
pub struct ServerImages(pub Session);

#[async_trait]
impl Registry for ServerImages {
    async fn fetch(&self, file: &ImageFile, offset: u64) -> Result<Pieces, FetchError> {
        let Self(session) = self;
        let ImageSource::Registry { image, part } = file.source.clone() else {
            return Err(FetchError::NoRegistry);
        };
        let part = match part {
            Part::Disk => wire::ImagePart::Disk,
            Part::Kernel => wire::ImagePart::Kernel,
            Part::Initrd => wire::ImagePart::Initrd,
        };
        let message = wire::FetchImageRequest {
            node: session.node().to_owned(),
            image_id: image.to_string(),
            part: part.into(),
            offset,
        };
        let failed = move |status: Status| FetchError::Registry {
            image,
            reason: status.message().to_owned(),
        };
        let begun = async {
            let request = session.stream(message).await?;
            let mut client = NodeServiceClient::new(session.channel());
            client.fetch_image(request).await
        };
        match begun.await {
            Ok(answer) => Ok(answer
                .into_inner()
                .map_ok(|piece| piece.data)
                .map_err(failed)
                .boxed()),
            Err(status) => {
                session.failed("image", &status).await;
                Err(failed(status))
            }
        }
    }
}

/// A registry for a host without a server: there is none.
pub struct NoRegistry;

#[async_trait]
impl Registry for NoRegistry {
    async fn fetch(&self, _file: &ImageFile, _offset: u64) -> Result<Pieces, FetchError> {
        Err(FetchError::NoRegistry)
    }
}
