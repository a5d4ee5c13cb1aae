//! `plasmavmc.v1.NodeService`: what agents of hosts use, and the list of hosts.

use async_trait::async_trait;
use futures::stream::try_unfold;
use photon_api::plasmavmc::v1::node_service_server::NodeService;
use photon_api::plasmavmc::v1::{
    DesiredVms, FetchImageRequest, FetchImageResponse, ListNodesRequest, ListNodesResponse,
    RegisterNodeRequest, RegisterNodeResponse, ReportStatusRequest, ReportStatusResponse,
    ServeConsolesRequest, ServeConsolesResponse, ServeTunnelRequest, ServeTunnelResponse,
    WatchDesiredRequest,
};
use photon_catalog::Access;
use photon_catalog::desk::WatchStream;
use photon_resource::{Error, PageRequest, Scope, Time};
use photon_service::{answer, status};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::telling::{Form, Telling};
use super::tunnel;
use crate::app::{self, Desired, Files, Reporter, Reports, Tunnels};
use crate::convert;
use crate::model::kind;

pub struct Nodes {
    access: Access,
    nodes: app::Nodes,
    desired: Desired,
    guest_mtu: u32,
    reports: Reports,
    files: Files,
    tunnels: Tunnels,
}

impl Nodes {
    /// `guest_mtu` is that of guests' interfaces.
    pub fn new(
        access: Access,
        nodes: app::Nodes,
        desired: Desired,
        guest_mtu: u32,
        reports: Reports,
        files: Files,
        tunnels: Tunnels,
    ) -> Self {
        Self {
            access,
            nodes,
            desired,
            guest_mtu,
            reports,
            files,
            tunnels,
        }
    }
}

#[async_trait]
impl NodeService for Nodes {
    type WatchDesiredStream = WatchStream<DesiredVms>;
    type FetchImageStream = WatchStream<FetchImageResponse>;
    type ServeConsolesStream = WatchStream<ServeConsolesResponse>;

    async fn register_node(
        &self,
        request: Request<RegisterNodeRequest>,
    ) -> Result<Response<RegisterNodeResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            const VERB: &str = "register";
            let request = request.into_inner();
            let node = request.node.clone().unwrap_or_default();
            self.nodes.own(&caller, VERB, &node.name).await?;
            let mutation =
                self.access
                    .mutation(&caller, &kind::NODES.action(VERB), "", &request)?;
            let node = convert::node_from_wire(node, Time::now())?;
            self.nodes.register(mutation, node).await
        })
        .await
    }

    async fn watch_desired(
        &self,
        request: Request<WatchDesiredRequest>,
    ) -> Result<Response<Self::WatchDesiredStream>, Status> {
        answer(async {
            const VERB: &str = "watch";
            let caller = self.access.caller(&request).await?;
            let WatchDesiredRequest {
                node,
                accepts_changes,
            } = request.into_inner();
            self.nodes.own(&caller, VERB, &node).await?;
            let watch = self.desired.watch(&node).await?;
            let supervision = self.nodes.supervision(caller, VERB, &node);
            let form = Form {
                guest_mtu: self.guest_mtu,
                store_epoch: self.desired.store_epoch().to_owned(),
                whole: (!accepts_changes).then(DesiredVms::default),
            };
            let telling = Telling::new(watch, supervision, form);
            let answers = try_unfold(telling, async |mut telling| {
                Ok(Some((telling.next().await.map_err(status)?, telling)))
            });
            Ok(Box::pin(answers) as Self::WatchDesiredStream)
        })
        .await
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            self.nodes.own(&caller, "report", &request.node).await?;
            let reports = request.vms.into_iter().map(convert::report_from_wire);
            let reporter = Reporter {
                node: &request.node,
                revision: request.revision,
                store_epoch: &request.store_epoch,
            };
            self.reports
                .take(&caller, reporter, reports.collect::<Result<_, _>>()?)
                .await?;
            Ok(ReportStatusResponse {})
        })
        .await
    }

    async fn fetch_image(
        &self,
        request: Request<FetchImageRequest>,
    ) -> Result<Response<Self::FetchImageStream>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            self.nodes.own(&caller, "watch", &request.node).await?;
            let image = request
                .image_id
                .parse()
                .map_err(|_| Error::invalid("image_id", &request.image_id, "the id of an image"))?;
            let part = convert::image_part("part", request.part)?;
            let file = self
                .files
                .open(&request.node, image, part, request.offset)
                .await?;
            let answers = try_unfold(file, async |mut file| {
                let data = file.next().await.map_err(status)?;
                Ok(data.map(|data| (FetchImageResponse { data }, file)))
            });
            Ok(Box::pin(answers) as Self::FetchImageStream)
        })
        .await
    }

    async fn serve_consoles(
        &self,
        request: Request<Streaming<ServeConsolesRequest>>,
    ) -> Result<Response<Self::ServeConsolesStream>, Status> {
        answer(async {
            const VERB: &str = "watch";
            let caller = self.access.caller(&request).await?;
            let mut from_host = request.into_inner();
            let Some(first) = from_host.message().await.map_err(broken)? else {
                let expected = "the host's name in the first message";
                return Err(Error::invalid("node", "", expected));
            };
            self.nodes.own(&caller, VERB, &first.node).await?;
            let (offer, to_host) = self.tunnels.hub().offer(&first.node);
            // The offer lasts as long as the host's side of the stream.
            let reading = AbortOnDropHandle::new(tokio::spawn(async move {
                while let Ok(Some(message)) = from_host.message().await {
                    offer.received(convert::from_host(message));
                }
            }));
            let supervision = self.nodes.supervision(caller, VERB, &first.node);
            // And no longer than the server's side, nor than the host's right to it.
            let answers = try_unfold(
                (to_host, supervision, reading),
                async |(mut to_host, mut supervision, reading)| {
                    let message = tokio::select! {
                        message = to_host.recv() => message,
                        error = supervision.lost() => return Err(status(error)),
                    };
                    let told = message.map(convert::to_host);
                    Ok(told.map(|told| (told, (to_host, supervision, reading))))
                },
            );
            Ok(Box::pin(answers) as Self::ServeConsolesStream)
        })
        .await
    }

    type ServeTunnelStream = WatchStream<ServeTunnelResponse>;

    async fn serve_tunnel(
        &self,
        request: Request<Streaming<ServeTunnelRequest>>,
    ) -> Result<Response<Self::ServeTunnelStream>, Status> {
        answer(async {
            const VERB: &str = "watch";
            let caller = self.access.caller(&request).await?;
            let mut from_host = request.into_inner();
            let Some(first) = from_host.message().await.map_err(broken)? else {
                let expected = "the host's name in the first message";
                return Err(Error::invalid("node", "", expected));
            };
            self.nodes.own(&caller, VERB, &first.node).await?;
            let supervision = self.nodes.supervision(caller, VERB, &first.node);
            let end = self
                .tunnels
                .serve(&first.node, first.session, first.refusal);
            Ok(tunnel::hosts(end, from_host, supervision))
        })
        .await
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let all = kind::NODES.any(Scope::System);
            self.access
                .guard()
                .authorize(&caller, &kind::NODES.action("list"), &all, &[])
                .await?;
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.nodes.list(page).await?;
            Ok(ListNodesResponse {
                nodes: page.items.iter().map(convert::node_to_wire).collect(),
                next_page_token: page.next_page_token,
            })
        })
        .await
    }
}

/// The host has gone, or sends what is no message.
fn broken(status: Status) -> Error {
    Error::Unavailable(format!(
        "the host's side of the stream has ended before it began: {}",
        status.message()
    ))
}
