//! `NodeService`: what hosts are told, and what they tell.

use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures::Stream;
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_server::NodeService;
use photon_catalog::Access;
use photon_catalog::node::only_itself;
use photon_resource::{Caller, Error, ResourceName};
use photon_service::{answer, status};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::model::{kind, validate_node};
use crate::{app, convert};

const WATCH: &str = "network:nodes:watch";
const REPORT: &str = "network:nodes:report";

/// A host is told at most this often; what changes in between is told together.
const PACE: Duration = Duration::from_millis(50);

/// The service over `app`.
pub struct Nodes {
    access: Access,
    app: app::Nodes,
}

impl Nodes {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Nodes) -> Self {
        Self { access, app }
    }
}

/// One host's watch.
struct Watch {
    access: Access,
    app: app::Nodes,
    interest: app::Interest,
    caller: Caller,
    resource: ResourceName,
    node: String,
    /// What it was told last, and when.
    told: Option<(pb::DesiredNetwork, Instant)>,
}

#[tonic::async_trait]
impl NodeService for Nodes {
    type WatchDesiredStream =
        Pin<Box<dyn Stream<Item = Result<pb::DesiredNetwork, Status>> + Send + 'static>>;

    async fn watch_desired(
        &self,
        request: Request<pb::WatchDesiredRequest>,
    ) -> Result<Response<Self::WatchDesiredStream>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let node = request.into_inner().node;
            let resource = itself(&self.access, &caller, "watch", &node).await?;
            let watch = Watch {
                access: self.access.clone(),
                app: self.app.clone(),
                interest: self.app.interest(&node),
                caller,
                resource,
                node,
                told: None,
            };
            let stream = futures::stream::try_unfold(watch, async |mut watch| {
                let desired = watch.next().await.map_err(status)?;
                Ok(Some((desired, watch)))
            });
            Ok(Box::pin(stream) as Self::WatchDesiredStream)
        })
        .await
    }

    async fn report_status(
        &self,
        request: Request<pb::ReportStatusRequest>,
    ) -> Result<Response<pb::ReportStatusResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let resource = itself(&self.access, &caller, "report", &request.node).await?;
            let mutation = self.access.mutation(&caller, REPORT, "", &request)?;
            let ports = request
                .ports
                .into_iter()
                .map(convert::report)
                .collect::<Result<_, _>>()?;
            self.app
                .report(mutation, resource, &request.node, request.revision, ports)
                .await
        })
        .await
    }
}

impl Watch {
    /// The next thing to tell: at once the first time, then when it differs from what was told.
    async fn next(&mut self) -> Result<pb::DesiredNetwork, Error> {
        loop {
            let expiry = self.caller.claims.expires_at;
            let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::timeout(left, self.interest.changed())
                .await
                .map_err(|_| {
                    Error::Unauthenticated(
                        "the token has expired: watch again with a new one".into(),
                    )
                })??;
            if let Some((_, at)) = &self.told {
                tokio::time::sleep_until(*at + PACE).await;
                // The right to watch may have been taken away since.
                self.access
                    .guard()
                    .authorize(
                        &self.caller,
                        WATCH,
                        &self.resource,
                        &[("node", self.node.as_str())],
                    )
                    .await?;
            }
            let desired = self.app.desired(&self.node, convert::desired);
            let news = match &self.told {
                Some((told, _)) => told.vpcs != desired.vpcs,
                None => true,
            };
            if news {
                self.told = Some((desired.clone(), Instant::now()));
                return Ok(desired);
            }
        }
    }
}

/// Whether an agent asks about its own host; answers with the host's resource name.
async fn itself(
    access: &Access,
    caller: &Caller,
    verb: &str,
    node: &str,
) -> Result<ResourceName, Error> {
    validate_node(node)?;
    only_itself(access, caller, kind::NODES, verb, node).await
}
