//! `NodeService`: what hosts are told, and what they tell.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures::Stream;
use photon_api::desired::{DesiredMessage, Kind, MESSAGE_BYTES};
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_server::NodeService;
use photon_catalog::Access;
use photon_catalog::node::only_itself;
use photon_resource::{Caller, Error, ResourceName};
use photon_service::{NodeCertificate, Supervision, answer, status};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::model::{kind, validate_node};
use crate::{app, convert};

const WATCH: &str = "network:nodes:watch";
const REPORT: &str = "network:nodes:report";
/// Not an RPC: what a host that begins to watch leads to, if its address is news.
const REGISTER: &str = "network:nodes:register";

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
    app: app::Nodes,
    interest: app::Interest,
    supervision: Supervision,
    node: String,
    accepts_changes: bool,
    accepts_kept_rules: bool,
    /// What it was told last, and when.
    told: Option<(pb::DesiredNetwork, Instant)>,
    /// Messages that it is still to be told.
    waiting: VecDeque<pb::DesiredNetwork>,
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
            let resource = itself(&self.access, &caller, "watch", &request.get_ref().node).await?;
            if let Some(address) = tunnel_address(&request) {
                let message = request.get_ref();
                let mutation = self.access.mutation(&caller, REGISTER, "", message)?;
                self.app.register(mutation, &message.node, address).await?;
            }
            let host = convert::gateway_host(request.get_ref());
            let mutation = self
                .access
                .mutation(&caller, REGISTER, "", request.get_ref())?;
            self.app.register_external(mutation, host).await?;
            let pb::WatchDesiredRequest {
                node,
                accepts_changes,
                accepts_kept_rules,
                ..
            } = request.into_inner();
            let attributes = vec![("node".to_owned(), node.clone())];
            let guard = self.access.guard();
            let watch = Watch {
                app: self.app.clone(),
                interest: self.app.interest(&node),
                supervision: guard.supervise(caller, WATCH.to_owned(), resource, attributes),
                node,
                accepts_changes,
                accepts_kept_rules,
                told: None,
                waiting: VecDeque::new(),
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
            let reported = app::Reported {
                revision: request.revision,
                store_epoch: request.store_epoch,
            };
            self.app
                .report(mutation, resource, &request.node, reported, ports)
                .await
        })
        .await
    }
}

impl Watch {
    /// The next message: at once the first time, then when what should be differs from what was told.
    async fn next(&mut self) -> Result<pb::DesiredNetwork, Error> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(message);
            }
            tokio::select! {
                changed = self.interest.changed() => changed?,
                error = self.supervision.lost() => return Err(error),
            }
            if let Some((_, at)) = &self.told {
                tokio::time::sleep_until(*at + PACE).await;
            }
            let desired = self.app.desired(&self.node, convert::desired);
            let messages = self.messages(&desired);
            if !messages.is_empty() {
                self.waiting.extend(messages);
                self.told = Some((desired, Instant::now()));
            }
        }
    }

    /// What leads from what was told to what should be; none: nothing has changed.
    fn messages(&self, desired: &pb::DesiredNetwork) -> Vec<pb::DesiredNetwork> {
        let (epoch, revision) = (self.app.store_epoch(), desired.revision);
        let (mut message, kind) = match &self.told {
            Some((told, _)) if same(told, desired) => return Vec::new(),
            _ if !self.accepts_changes => (desired.clone(), Kind::Whole),
            None => (desired.clone(), Kind::Full { more: false }),
            Some((told, _)) => {
                let mut change = pb::DesiredNetwork::difference(told, desired);
                if !self.accepts_kept_rules {
                    change = change.with_rules(desired);
                }
                (change, Kind::Change { more: false })
            }
        };
        message.label(kind, epoch, revision);
        match kind {
            Kind::Whole => vec![message],
            _ => message.pieces(MESSAGE_BYTES),
        }
    }
}

/// Whether a host has nothing new to be told.
fn same(told: &pb::DesiredNetwork, desired: &pb::DesiredNetwork) -> bool {
    told.vpcs == desired.vpcs
        && told.gateways == desired.gateways
        && told.peerings == desired.peerings
        && told.tunnel_address == desired.tunnel_address
}

/// Where the host that asks is reached: as the certificate of its connection says, of which it must be the host; what it
/// says itself counts for nothing. `None`, and the host has no tunnels: no such certificate, as on a cloud of one host.
fn tunnel_address(request: &Request<pb::WatchDesiredRequest>) -> Option<Ipv4Addr> {
    let chain = request.peer_certs()?;
    let node = request.get_ref().node.as_str();
    let certificate = NodeCertificate::read(chain.first()?, SystemTime::now())
        .inspect_err(|error| tracing::warn!(node, "no address for tunnels: {error}"))
        .ok()?;
    if certificate.node != node {
        let of = certificate.node;
        tracing::warn!(
            node,
            of,
            "no address for tunnels: the certificate is of another host"
        );
        return None;
    }
    certificate
        .addresses
        .iter()
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
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
