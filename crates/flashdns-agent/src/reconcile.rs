//! Brings views and sockets to what they should be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use hickory_proto::rr::Name;
use photon_agent::Known;
use photon_host::links::Links;
use photon_host::{Error, vrf_socket};
use photon_names::View;
use photon_reconcile::Reconciler;
use photon_resource::{VpcId, vrf_name};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::pace::Rate;
use crate::parsed::Parsed;
use crate::plan::{self, Endpoint, Observed, Plan, Protocol};
use crate::serve::{self, Vpc};

/// Where guests ask (RFC 1035 section 4.2).
const PORT: u16 = 53;

/// What answers the guests of this host.
pub struct Resolver {
    links: Arc<dyn Links>,
    known: watch::Receiver<Known<Parsed>>,
    settings: Answering,
    vpcs: BTreeMap<VpcId, Answered>,
    sockets: BTreeMap<Endpoint, AbortOnDropHandle<()>>,
}

/// How guests are answered, of whatever VPC.
#[derive(Clone, Debug, Default)]
pub struct Answering {
    /// How fast each address may ask.
    pub rate: Option<Rate>,
    /// Whom foreign names are asked of; `None`: they are refused.
    pub upstream: Option<SocketAddr>,
    /// What nobody is asked for.
    pub denied: Vec<Name>,
}

/// A VPC whose guests are answered.
struct Answered {
    served: Arc<Vpc>,
    of: Arc<plan::Vpc>,
    suffix: String,
}

impl Resolver {
    /// Answers nobody until it has run.
    pub fn new(
        links: Arc<dyn Links>,
        known: watch::Receiver<Known<Parsed>>,
        settings: Answering,
    ) -> Self {
        Self {
            links,
            known,
            settings,
            vpcs: BTreeMap::new(),
            sockets: BTreeMap::new(),
        }
    }

    fn answer(&mut self, id: VpcId, of: &Arc<plan::Vpc>, suffix: &str) {
        let view = View::of(&of.contents, suffix, &self.settings.denied);
        let served = match self.vpcs.remove(&id) {
            Some(before) => {
                before.served.put(view);
                before.served
            }
            None => {
                let Answering { rate, upstream, .. } = self.settings;
                Arc::new(Vpc::new(view, rate, upstream))
            }
        };
        let answered = Answered {
            served,
            of: of.clone(),
            suffix: suffix.to_owned(),
        };
        self.vpcs.insert(id, answered);
    }

    fn open(&mut self, endpoint: &Endpoint) -> Result<(), Error> {
        let Some(vpc) = self.vpcs.get(&endpoint.vpc) else {
            return Ok(());
        };
        let served = vpc.served.clone();
        let device = vrf_name(endpoint.vpc);
        let address = SocketAddr::new(endpoint.address, PORT);
        let of_tokio = |error: std::io::Error| Error::Answer {
            what: "tokio, about a socket,",
            reason: error.to_string(),
        };
        let task = match endpoint.protocol {
            Protocol::Udp => {
                let socket = vrf_socket::udp(&device, address)?;
                let socket = UdpSocket::from_std(socket).map_err(of_tokio)?;
                tokio::spawn(serve::udp(served, socket))
            }
            Protocol::Tcp => {
                let listener = vrf_socket::tcp(&device, address)?;
                let listener = TcpListener::from_std(listener).map_err(of_tokio)?;
                tokio::spawn(serve::tcp(served, listener))
            }
        };
        self.sockets
            .insert(endpoint.clone(), AbortOnDropHandle::new(task));
        Ok(())
    }
}

#[async_trait]
impl Reconciler for Resolver {
    type Observed = Observed;
    type Plan = Plan;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<Observed>, Error> {
        let Some(known) = self.known.borrow_and_update().clone() else {
            return Ok(None);
        };
        // One that has panicked is open no more.
        self.sockets.retain(|_, task| !task.is_finished());
        let vpcs = self.vpcs.iter();
        Ok(Some(Observed {
            desired: known.desired.clone(),
            links: self.links.list().await?,
            open: self.sockets.keys().cloned().collect(),
            answered: vpcs
                .map(|(id, it)| (*id, (it.of.clone(), it.suffix.clone())))
                .collect(),
        }))
    }

    fn plan(&self, observed: &Observed) -> Plan {
        plan::plan(observed)
    }

    /// What can't be done for one VPC is done for the others all the same.
    async fn apply(&mut self, plan: &Plan) -> Result<(), Error> {
        let known = self.known.borrow().clone();
        let Some(desired) = known.map(|known| known.desired.clone()) else {
            return Ok(());
        };
        for id in &plan.answer {
            if let Some(vpc) = desired.vpcs.get(id) {
                self.answer(*id, vpc, &desired.suffix);
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
                tracing::warn!(vpc = %endpoint.vpc, "{error}");
            }
            failed = failed.and(opened);
        }
        for id in &plan.forget {
            self.vpcs.remove(id);
        }
        failed
    }

    fn goal(&self) -> u64 {
        let known = self.known.borrow();
        known.as_ref().map_or(0, |known| known.revision())
    }
}
