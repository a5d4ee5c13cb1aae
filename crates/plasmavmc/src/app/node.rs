//! Hosts: which are there, what they have, and what they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use flaredb::{Db, Transaction};
use photon_catalog::node::only_itself;
use photon_catalog::{Access, Change, Effect, Supervision, commit};
use photon_resource::{Caller, Error, Page, PageRequest, Time};
use photon_service::Mutation;
use tokio::time::Instant;

use crate::model::{Load, Node, kind};
use crate::scheduler::Candidate;
use crate::store;

/// The hosts. Clones are the same.
#[derive(Clone)]
pub struct Nodes {
    db: Db,
    access: Access,
    timeout: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// A host, and how it is.
#[derive(Debug, Clone)]
pub struct Standing {
    pub node: Node,
    /// What VMs take of it.
    pub used: Load,
    /// It was heard of lately: new VMs go there.
    pub ready: bool,
}

/// When hosts were last heard of: kept in memory, since a server that starts anew hears of each within
/// seconds.
struct Seen {
    since: Instant,
    nodes: HashMap<String, (Instant, Time)>,
}

impl Nodes {
    /// A host that is not heard of for `timeout` is not ready.
    pub fn new(access: Access, timeout: Duration) -> Self {
        let seen = Seen {
            since: Instant::now(),
            nodes: HashMap::new(),
        };
        Self {
            db: access.db().clone(),
            access,
            timeout,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Whether the caller is the host that it speaks of, and may do `verb` as such.
    ///
    /// Errors: as [`only_itself`]'s.
    pub async fn own(&self, caller: &Caller, verb: &str, node: &str) -> Result<(), Error> {
        only_itself(&self.access, caller, kind::NODES, verb, node).await?;
        Ok(())
    }

    /// Watches over the right of a host that was found to be the caller's [`own`](Self::own).
    pub fn supervision(&self, caller: Caller, verb: &str, node: &str) -> Supervision {
        let attributes = vec![("node".to_owned(), node.to_owned())];
        let name = Node::resource_name(node);
        let guard = self.access.guard().clone();
        Supervision::new(guard, caller, kind::NODES.action(verb), name, attributes)
    }

    /// Takes in that a host is there. Stored, and recorded, only if what it has has changed.
    ///
    /// Errors: `InvalidArgument`.
    pub async fn register<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        node: Node,
    ) -> Result<A, Error> {
        node.validate()?;
        let now = node.last_seen;
        let mut change = Register { node: node.clone() };
        let (answer, stored) = commit(&self.db, mutation, &mut change, |_| A::default()).await?;
        if stored == Some(true) {
            tracing::info!(
                node = node.name,
                vcpus = node.vcpus,
                memory_mib = node.memory_mib,
                accelerator = node.accelerator,
                "host registered"
            );
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.nodes.insert(node.name, (Instant::now(), now));
        Ok(answer)
    }

    /// Hosts with what VMs take of them, for the scheduler.
    pub async fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let all = PageRequest {
            size: usize::MAX,
            after: None,
        };
        let nodes = store::node::node_page(&self.db, &all).await?.items;
        let mut candidates = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let used = store::node::load_get(&self.db, &node.name).await?;
            let ready = self.look(&mut node);
            candidates.push(Candidate::new(&node, used, ready));
        }
        Ok(candidates)
    }

    /// One page of hosts, by name.
    pub async fn list(&self, page: PageRequest) -> Result<Page<Standing>, Error> {
        let page = store::node::node_page(&self.db, &page).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for mut node in page.items {
            let used = store::node::load_get(&self.db, &node.name).await?;
            let ready = self.look(&mut node);
            items.push(Standing { node, used, ready });
        }
        Ok(Page {
            items,
            next_page_token: page.next_page_token,
        })
    }

    /// Fills in when the host was last heard of, and says whether that is recent. One that this server has not
    /// heard of since it started is given the same time to be heard of again.
    fn look(&self, node: &mut Node) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.nodes.get(&node.name) {
            Some((instant, time)) => {
                node.last_seen = *time;
                instant.elapsed() < self.timeout
            }
            None => seen.since.elapsed() < self.timeout,
        }
    }
}

/// Stores what a host says of itself, if it is new; gives whether it is.
struct Register {
    node: Node,
}

#[async_trait]
impl Change for Register {
    type Value = bool;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<bool>, Error> {
        let known = store::node::node_read(tx, &self.node.name).await?;
        let same = known.is_some_and(|known| {
            known
                == Node {
                    last_seen: known.last_seen,
                    ..self.node.clone()
                }
        });
        if same {
            return Ok(Effect::nothing(false));
        }
        store::node::node_put(tx, &self.node)?;
        Ok(Effect::of(Node::resource_name(&self.node.name), true))
    }
}
