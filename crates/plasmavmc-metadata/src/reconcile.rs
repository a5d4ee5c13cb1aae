//! Brings sockets, and who is known, to what they should be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use photon_host::links::Links;
use photon_host::{Error, vrf_socket};
use photon_reconcile::Reconciler;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::ADDRESS;
use crate::files::Directory;
use crate::plan::{self, Endpoint, Observed, Plan};
use crate::serve::{self, Vrf};
use crate::token::Issuer;

/// Where guests ask.
const PORT: u16 = 80;

/// What answers the guests of this host.
pub struct Service {
    links: Arc<dyn Links>,
    directory: Directory,
    issuer: Arc<Issuer>,
    vrfs: BTreeMap<String, Arc<Vrf>>,
    sockets: BTreeMap<Endpoint, AbortOnDropHandle<()>>,
}

impl Service {
    /// Answers nobody until it has run.
    pub fn new(links: Arc<dyn Links>, directory: Directory, issuer: Issuer) -> Self {
        Self {
            links,
            directory,
            issuer: Arc::new(issuer),
            vrfs: BTreeMap::new(),
            sockets: BTreeMap::new(),
        }
    }

    fn open(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let Some(vrf) = self.vrfs.get(&endpoint.vrf) else {
            return Ok(());
        };
        let listener = vrf_socket::tcp(&endpoint.vrf, SocketAddr::from((ADDRESS, PORT)))?;
        let listener = TcpListener::from_std(listener).map_err(|error| Error::Answer {
            what: "tokio, about a socket,",
            reason: error.to_string(),
        })?;
        let task = tokio::spawn(serve::listen(vrf.clone(), listener));
        self.sockets
            .insert(endpoint.clone(), AbortOnDropHandle::new(task));
        Ok(())
    }
}

#[async_trait]
impl Reconciler for Service {
    type Observed = Observed;
    type Plan = Plan;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Observed>, Error> {
        // One that has panicked is open no more.
        self.sockets.retain(|_, task| !task.is_finished());
        let vrfs = self.vrfs.iter();
        Ok(Some(Observed {
            instances: self.directory.read()?,
            links: self.links.list().await?,
            open: self.sockets.keys().cloned().collect(),
            known: vrfs
                .map(|(name, vrf)| (name.clone(), vrf.callers()))
                .collect(),
        }))
    }

    fn plan(&self, observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    /// What can't be done for one VRF is done for the others all the same.
    async fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        for (name, callers) in &plan.know {
            match self.vrfs.get(name) {
                Some(vrf) => vrf.know(callers.clone()),
                None => {
                    let vrf = Vrf::new(callers.clone(), self.issuer.clone());
                    self.vrfs.insert(name.clone(), Arc::new(vrf));
                }
            }
        }
        for endpoint in &plan.close {
            if let Some(task) = self.sockets.remove(endpoint) {
                task.abort();
                // The address is free when the task is gone, and not before.
                let _ = task.await;
            }
        }
        let mut failed = Ok(());
        for endpoint in &plan.open {
            let opened = self.open(endpoint);
            if let Err(error) = &opened {
                tracing::warn!(vrf = endpoint.vrf, "{error}");
            }
            failed = failed.and(opened);
        }
        for name in &plan.forget {
            self.vrfs.remove(name);
        }
        failed
    }
}
