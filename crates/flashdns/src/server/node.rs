//! `NodeService`: what hosts are told.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use photon_api::desired::{DesiredMessage, Kind, MESSAGE_BYTES};
use photon_api::flashdns::v1 as pb;
use photon_api::flashdns::v1::node_service_server::NodeService;
use photon_catalog::node::only_itself;
use photon_catalog::{Access, Answer};
use photon_resource::Error;
use photon_service::{Supervision, answer, status};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::model::kind;
use crate::{app, convert};

/// A host is told at most this often; what changes in between is told together.
const PACE: Duration = Duration::from_millis(50);

/// The service over `app`.
pub struct Nodes {
    access: Access,
    app: app::Nodes,
    suffix: Arc<str>,
}

impl Nodes {
    /// Calls go through `access` to `app`; all names end with `suffix`.
    pub fn new(access: Access, app: app::Nodes, suffix: String) -> Self {
        Self {
            access,
            app,
            suffix: suffix.into(),
        }
    }
}

#[tonic::async_trait]
impl NodeService for Nodes {
    type WatchDesiredStream =
        Pin<Box<dyn Stream<Item = Result<pb::DesiredNames, Status>> + Send + 'static>>;

    async fn watch_desired(
        &self,
        request: Request<pb::WatchDesiredRequest>,
    ) -> Answer<Self::WatchDesiredStream> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let node = request.into_inner().node;
            let resource = only_itself(&self.access, &caller, kind::NODES, "watch", &node).await?;
            let attributes = vec![("node".to_owned(), node.clone())];
            let action = kind::NODES.action("watch");
            let guard = self.access.guard();
            let watch = Watch {
                interest: self.app.interest(&node),
                app: self.app.clone(),
                suffix: self.suffix.clone(),
                supervision: guard.supervise(caller, action, resource, attributes),
                node,
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
}

/// One host's watch.
struct Watch {
    app: app::Nodes,
    interest: app::Interest,
    suffix: Arc<str>,
    supervision: Supervision,
    node: String,
    /// What it was told last, and when.
    told: Option<(pb::DesiredNames, Instant)>,
    /// Messages that it is still to be told.
    waiting: VecDeque<pb::DesiredNames>,
}

impl Watch {
    /// The next message: as soon as everything is known the first time, then when what should be differs from what was
    /// told.
    async fn next(&mut self) -> Result<pb::DesiredNames, Error> {
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
            let now = self.app.desired(&self.node, |desired| {
                convert::desired(desired, &self.suffix)
            });
            let (mut message, kind) = match &self.told {
                Some((told, _)) if told.views == now.views => continue,
                Some((told, _)) => (
                    pb::DesiredNames::difference(told, &now),
                    Kind::Change { more: false },
                ),
                None => (now.clone(), Kind::Full { more: false }),
            };
            message.label(kind, self.app.epoch(), now.revision);
            self.waiting.extend(message.pieces(MESSAGE_BYTES));
            self.told = Some((now, Instant::now()));
        }
    }
}
