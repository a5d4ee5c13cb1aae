//! `plasmavmc.v1.NodeService`: what agents of hosts use, and the list of hosts.

use async_trait::async_trait;
use futures::stream::try_unfold;
use photon_api::plasmavmc::v1::node_service_server::NodeService;
use photon_api::plasmavmc::v1::{
    DesiredVms, FetchImageRequest, FetchImageResponse, ListNodesRequest, ListNodesResponse,
    RegisterNodeRequest, RegisterNodeResponse, ReportStatusRequest, ReportStatusResponse,
    ServeConsolesRequest, ServeConsolesResponse, WatchDesiredRequest,
};
use photon_resource::Error;
use photon_service::Guard;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;
use crate::app::{ConsoleHub, Files, Nodes, Reports, Watches};

pub struct NodeServer {
    guard: Guard,
    nodes: Nodes,
    watches: Watches,
    reports: Reports,
    files: Files,
    hub: ConsoleHub,
}

impl NodeServer {
    pub fn new(
        guard: Guard,
        nodes: Nodes,
        watches: Watches,
        reports: Reports,
        files: Files,
        hub: ConsoleHub,
    ) -> Self {
        Self {
            guard,
            nodes,
            watches,
            reports,
            files,
            hub,
        }
    }
}

#[async_trait]
impl NodeService for NodeServer {
    type WatchDesiredStream = Answers<DesiredVms>;
    type FetchImageStream = Answers<FetchImageResponse>;
    type ServeConsolesStream = Answers<ServeConsolesResponse>;

    async fn register_node(
        &self,
        request: Request<RegisterNodeRequest>,
    ) -> Result<Response<RegisterNodeResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.nodes.register(&caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn watch_desired(
        &self,
        request: Request<WatchDesiredRequest>,
    ) -> Result<Response<Self::WatchDesiredStream>, Status> {
        const ACTION: &str = "compute:nodes:watch";
        let caller = self.guard.authenticate(&request).await?;
        let node = request.into_inner().node;
        self.nodes.own(&caller, ACTION, &node).await?;
        let watch = self.watches.desired(&node).await?;
        let supervision = self.nodes.supervision(caller, ACTION, &node);
        let answers = try_unfold(
            (watch, supervision),
            async |(mut watch, mut supervision)| {
                let desired = tokio::select! {
                    desired = watch.next() => desired?,
                    error = supervision.lost() => return Err(error.into()),
                };
                Ok(Some((desired, (watch, supervision))))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn report_status(
        &self,
        request: Request<ReportStatusRequest>,
    ) -> Result<Response<ReportStatusResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let request = request.into_inner();
        self.nodes
            .own(&caller, "compute:nodes:report", &request.node)
            .await?;
        let response = self.reports.take(&caller, request).await?;
        Ok(Response::new(response))
    }

    async fn fetch_image(
        &self,
        request: Request<FetchImageRequest>,
    ) -> Result<Response<Self::FetchImageStream>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let request = request.into_inner();
        self.nodes
            .own(&caller, "compute:nodes:watch", &request.node)
            .await?;
        let file = self.files.open(&request).await?;
        let answers = try_unfold(file, async |mut file| {
            let data = file.next().await?;
            Ok(data.map(|data| (FetchImageResponse { data }, file)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn serve_consoles(
        &self,
        request: Request<Streaming<ServeConsolesRequest>>,
    ) -> Result<Response<Self::ServeConsolesStream>, Status> {
        const ACTION: &str = "compute:nodes:watch";
        let caller = self.guard.authenticate(&request).await?;
        let mut from_host = request.into_inner();
        let Some(first) = from_host.message().await? else {
            let expected = "the host's name in the first message";
            return Err(Error::invalid("node", "", expected).into());
        };
        self.nodes.own(&caller, ACTION, &first.node).await?;
        let (offer, to_host) = self.hub.offer(&first.node);
        // The offer lasts as long as the host's side of the stream.
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok(Some(message)) = from_host.message().await {
                offer.received(message);
            }
        }));
        let supervision = self.nodes.supervision(caller, ACTION, &first.node);
        // And no longer than the server's side, nor than the host's right to it.
        let answers = try_unfold(
            (to_host, supervision, reading),
            async |(mut to_host, mut supervision, reading)| {
                let message = tokio::select! {
                    message = to_host.recv() => message,
                    error = supervision.lost() => return Err(error.into()),
                };
                Ok(message.map(|message| (message, (to_host, supervision, reading))))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_nodes(
        &self,
        request: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let page = self.nodes.list(&caller, request.get_ref()).await?;
        Ok(Response::new(ListNodesResponse {
            nodes: page.items,
            next_page_token: page.next_page_token,
        }))
    }
}
