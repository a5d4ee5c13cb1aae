//! What a host should have: how it is heard of, understood and kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use photon_api::desired::{DesiredMessage, Kind};
use photon_reconcile::Signal;
use photon_reconcile::follow::{Ended, Feed, Followed, Part, Position};
use tokio::sync::watch;
use tonic::{Response, Status, Streaming};

use super::{Cache, Session};

/// What a host should have, in the terms of its agent: every value has been checked.
#[async_trait]
pub trait Desired: Send + Sync + Sized + 'static {
    /// As it comes over the wire.
    type Message: DesiredMessage + 'static;

    /// Begins the stream of it, accepting changes.
    async fn watch(session: &Session) -> Opened<Self::Message>;

    /// What is understood of a whole state; what is not is named in it, since its owner must be told.
    fn parse(message: &Self::Message) -> Self;

    /// As of when it is.
    fn position(&self) -> Position;

    /// How much it is, for the log.
    fn summary(&self) -> String;

    /// The file that a host keeps of it. An agent of the release before must be able to read it.
    ///
    /// Errors: it has no such form, which would be a mistake in the program.
    fn to_file(&self, message: &Self::Message) -> anyhow::Result<Vec<u8>>;

    /// Reads such a file, also one that an operator wrote or an agent of the next release: what is not known there is
    /// skipped.
    ///
    /// Errors: where and why it can't be read.
    fn from_file(contents: &[u8]) -> anyhow::Result<Self>;
}

/// How a stream of desired state begins.
pub type Opened<M> = Result<Response<Streaming<M>>, Status>;

/// The desired state as far as it is known; `None`: nothing may be touched.
pub type Known<D> = Option<Arc<D>>;

/// The state as it came, put together.
#[derive(Debug, Default)]
pub(crate) struct State<M>(M);

impl<M: DesiredMessage + 'static> Followed for State<M> {
    type Message = M;

    fn part(message: &M) -> Option<(Part, Position)> {
        let part = match message.kind()? {
            Kind::Whole => Part::Whole,
            Kind::Full { more } => Part::Full { more },
            Kind::Change { more } => Part::Change { more },
        };
        Some((part, position(message)))
    }

    fn merge(&mut self, message: M) -> bool {
        let (epoch, revision) = message.position();
        self.0.label(Kind::Whole, epoch, revision);
        self.0.amend(message)
    }
}

fn position(message: &impl DesiredMessage) -> Position {
    let (epoch, revision) = message.position();
    Position {
        epoch: epoch.to_owned(),
        revision,
    }
}

/// Follows what the server wants of this host: onto the disk first, then to the reconciler.
pub(crate) struct Desires<D: Desired> {
    pub(crate) session: Session,
    pub(crate) cache: Cache<D>,
    pub(crate) known: watch::Sender<Known<D>>,
    pub(crate) signal: Signal,
}

#[async_trait]
impl<D: Desired> Feed for Desires<D> {
    type State = State<D::Message>;
    type Error = Status;

    /// From nothing each time: what is on the disk may be of an agent that understood less.
    async fn open(
        &mut self,
        _known: Option<&Position>,
    ) -> Result<BoxStream<'static, Result<D::Message, Status>>, Status> {
        let stream = D::watch(&self.session).await?.into_inner();
        metrics::gauge!("photon_agent_connected").set(1.0);
        Ok(stream.boxed())
    }

    async fn known(&mut self, state: &State<D::Message>, at: &Position) {
        let desired = D::parse(&state.0);
        // A host that can't keep it needs it all the same; it is kept again with the next change.
        let kept = match desired.to_file(&state.0) {
            Ok(contents) => self.cache.store(contents).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            tracing::error!("after a power cut an older state would be restored: {error:#}");
        }
        tracing::info!(
            revision = at.revision,
            "desired state: {}",
            desired.summary()
        );
        self.known.send_replace(Some(Arc::new(desired)));
        self.signal.notify();
    }

    async fn ended(&mut self, why: &Ended<Status>, retry_in: Duration) {
        metrics::gauge!("photon_agent_connected").set(0.0);
        match why {
            Ended::Failed(status) => self.session.failed("desired state", status).await,
            other => tracing::info!(retry_in_ms = retry_in.as_millis(), "desired state: {other}"),
        }
    }
}
