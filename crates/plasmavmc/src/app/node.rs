//! Hosts: which are there, what they have, and what they are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use flaredb::Db;
use photon_api::plasmavmc::v1;
use photon_resource::{Caller, Error, Page, PageRequest, PrincipalKind, ResourceName, Scope};
use photon_service::Mutations;
use tokio::time::Instant;

use super::{Access, Supervision};
use crate::convert;
use crate::model::Node;
use crate::scheduler::Candidate;
use crate::store;

/// The hosts. Clones are the same.
#[derive(Clone)]
pub struct Nodes {
    db: Db,
    mutations: Mutations,
    access: Access,
    timeout: Duration,
    seen: Arc<Mutex<Seen>>,
}

/// When hosts were last heard of: kept in memory, since a server that starts anew hears of each within
/// seconds.
struct Seen {
    since: Instant,
    nodes: HashMap<String, (Instant, SystemTime)>,
}

impl Nodes {
    /// A host that is not heard of for `timeout` is not ready.
    pub fn new(db: Db, mutations: Mutations, access: Access, timeout: Duration) -> Self {
        let seen = Seen {
            since: Instant::now(),
            nodes: HashMap::new(),
        };
        Self {
            db,
            mutations,
            access,
            timeout,
            seen: Arc::new(Mutex::new(seen)),
        }
    }

    /// Whether the caller is the host that it speaks of, and may do `action` as such.
    ///
    /// Errors: `PermissionDenied`, whatever the policy says, if it is another; it is recorded.
    pub async fn own(&self, caller: &Caller, action: &str, node: &str) -> Result<(), Error> {
        let claims = &caller.claims;
        let guard = self.access.guard();
        // The name of a resource can't hold whatever a request does.
        let shown = if claims.node.as_deref() == Some(node) {
            node
        } else {
            "another"
        };
        let resource = Node::resource_name(shown);
        if claims.kind != PrincipalKind::Node || claims.node.as_deref() != Some(node) {
            let reason = match (&claims.kind, &claims.node) {
                (PrincipalKind::Node, Some(own)) => {
                    format!("a host speaks for itself alone: this one is '{own}', not '{node}'")
                }
                _ => "this call is for the agents of hosts alone".to_owned(),
            };
            guard.record(caller, action, &resource, &reason).await;
            return Err(Error::PermissionDenied {
                action: action.to_owned(),
                resource: resource.to_string(),
                reason,
            });
        }
        guard
            .authorize(caller, action, &resource, &[("node", node)])
            .await
    }

    /// Watches over the right of a host that was found to be the caller's [`own`](Self::own).
    pub fn supervision(&self, caller: Caller, action: &'static str, node: &str) -> Supervision {
        let attributes = vec![("node".to_owned(), node.to_owned())];
        let name = Node::resource_name(node);
        Supervision::new(self.access.clone(), caller, action, name, attributes)
    }

    /// Takes in that a host is there. Stored, and recorded, only if what it has has changed.
    pub async fn register(
        &self,
        caller: &Caller,
        request: v1::RegisterNodeRequest,
    ) -> Result<v1::RegisterNodeResponse, Error> {
        const ACTION: &str = "compute:nodes:register";
        let wire = request.node.clone().unwrap_or_default();
        self.own(caller, ACTION, &wire.name).await?;
        let now = SystemTime::now();
        let node = convert::node_from_wire(wire, now)?;
        node.validate()?;
        let mut mutation = self.mutations.start(caller, ACTION, "", &request)?;
        loop {
            let mut tx = self.db.begin();
            let known = store::node::node_read(&mut tx, &node.name).await?;
            let same = known.as_ref().is_some_and(|known| {
                *known
                    == Node {
                        last_seen: known.last_seen,
                        ..node.clone()
                    }
            });
            if same {
                break;
            }
            store::node::node_put(&mut tx, &node)?;
            let name = Node::resource_name(&node.name);
            let response = v1::RegisterNodeResponse {};
            let committed = mutation.commit(tx, &name, None, None, "", response, None);
            if committed.await?.is_some() {
                tracing::info!(
                    node = node.name,
                    vcpus = node.vcpus,
                    memory_mib = node.memory_mib,
                    accelerator = node.accelerator,
                    "host registered"
                );
                break;
            }
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.nodes.insert(node.name, (Instant::now(), now));
        Ok(v1::RegisterNodeResponse {})
    }

    /// Hosts with what VMs take of them, for the scheduler.
    pub async fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let (nodes, _) = store::node::node_page(&self.db, None, usize::MAX).await?;
        let mut candidates = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let used = store::node::load_get(&self.db, &node.name).await?;
            let ready = self.look(&mut node);
            candidates.push(Candidate::new(&node, used, ready));
        }
        Ok(candidates)
    }

    /// One page of hosts, by name, for operators.
    pub async fn list(
        &self,
        caller: &Caller,
        request: &v1::ListNodesRequest,
    ) -> Result<Page<v1::Node>, Error> {
        let all = ResourceName::any(Scope::System, Node::KIND);
        self.access
            .ask(caller, "compute:nodes:list", &all, &[])
            .await?;
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let (nodes, more) =
            store::node::node_page(&self.db, page.after.as_deref(), page.size).await?;
        let mut items = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            let used = store::node::load_get(&self.db, &node.name).await?;
            let ready = self.look(&mut node);
            items.push(convert::node_to_wire(&node, used, ready));
        }
        let last = items.last().filter(|_| more);
        let next_page_token = last.map(|node| PageRequest::token(&node.name));
        Ok(Page {
            next_page_token: next_page_token.unwrap_or_default(),
            items,
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
