//! The identities of hosts' agents in IAM: those of every host that has joined, and of no other that ever had some.
//!
//! A host's name is noted in the transaction that enrols it, and forgotten only after its identities are gone, so
//! that neither a crash nor an IAM that is away loses one or leaves one behind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flaredb::{Committed, Db};
use photon_reconcile::{Plan, Reconciler};
use photon_resource::Error;

use crate::iam::Principals;
use crate::store;

/// The agents of every host.
const AGENTS: [&str; 3] = ["prismnet-agent", "plasmavmc-agent", "flashdns-agent"];
/// After how long it is looked again whether identities are still there.
const CERTAIN_FOR: Duration = Duration::from_secs(600);

/// Makes and removes identities. Clones are the same.
#[derive(Clone)]
pub struct Identities {
    db: Db,
    principals: Principals,
    /// Whoever looks what IAM has and then changes it: two at once would make everything twice.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Hosts whose identities were seen to be there, and since when all of that is remembered.
    certain: Arc<Mutex<(Instant, BTreeSet<String>)>>,
}

impl Identities {
    /// Among `principals`.
    pub fn new(db: Db, principals: Principals) -> Self {
        Self {
            db,
            principals,
            changing: Arc::default(),
            certain: Arc::new(Mutex::new((Instant::now(), BTreeSet::new()))),
        }
    }

    /// Makes the identities of the host `name`, if they are not there.
    pub async fn ensure(&self, name: &str) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        for agent in AGENTS {
            self.ensure_agent(&format!("{agent}@{name}"), name).await?;
        }
        self.certain().insert(name.to_owned());
        Ok(())
    }

    fn certain(&self) -> impl std::ops::DerefMut<Target = BTreeSet<String>> {
        struct Names<'a>(std::sync::MutexGuard<'a, (Instant, BTreeSet<String>)>);
        impl std::ops::Deref for Names<'_> {
            type Target = BTreeSet<String>;
            fn deref(&self) -> &Self::Target {
                &self.0.1
            }
        }
        impl std::ops::DerefMut for Names<'_> {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0.1
            }
        }
        let mut held = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0.elapsed() > CERTAIN_FOR {
            *held = (Instant::now(), BTreeSet::new());
        }
        Names(held)
    }

    async fn ensure_agent(&self, principal: &str, node: &str) -> Result<(), Error> {
        let id = match self.principals.find(principal).await? {
            Some(found) if found.is_agent_of(node) => found.id,
            Some(_) => {
                return Err(Error::FailedPrecondition(format!(
                    "IAM has a principal '{principal}' that is not an agent of the host '{node}': remove it"
                )));
            }
            None => self.principals.make_agent(principal, node).await?,
        };
        if self.principals.has_role(principal, &id).await? {
            return Ok(());
        }
        self.principals.give_role(principal, id).await?;
        tracing::info!(principal, "the agent has an identity");
        Ok(())
    }

    /// Deletes the identities of the host `name`, and with them its agents' roles and tokens.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        let _alone = self.changing.lock().await;
        self.certain().remove(name);
        for agent in AGENTS {
            let principal = format!("{agent}@{name}");
            // Never somebody else's principal that happens to be called so.
            let found = self.principals.find(&principal).await?;
            let Some(found) = found.filter(|it| it.is_agent_of(name)) else {
                continue;
            };
            if self.principals.delete(&principal, found.id).await? {
                tracing::info!(principal, "the agent's identity is deleted");
            }
        }
        Ok(())
    }
}

/// Keeps the identities as they should be.
pub struct IdentityReconciler(pub Identities);

/// Hosts whose identities are to be made, and to be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityPlan {
    pub make: Vec<String>,
    pub remove: Vec<String>,
}

impl Plan for IdentityPlan {
    fn is_empty(&self) -> bool {
        self.make.is_empty() && self.remove.is_empty()
    }

    fn summary(&self) -> String {
        format!(
            "identities of hosts: make [{}], remove [{}]",
            self.make.join(", "),
            self.remove.join(", ")
        )
    }
}

/// What there is.
pub struct IdentitiesObserved {
    /// Hosts that have, or are to lose, identities.
    noted: Vec<String>,
    /// Hosts that have joined.
    members: BTreeSet<String>,
    /// Hosts whose identities are known to be there.
    certain: BTreeSet<String>,
}

#[async_trait]
impl Reconciler for IdentityReconciler {
    type Observed = IdentitiesObserved;
    type Plan = IdentityPlan;
    type Error = Error;

    async fn observe(&mut self) -> Result<Option<IdentitiesObserved>, Error> {
        let machines = store::machine_all(&self.0.db).await?;
        let members = machines.into_iter().filter(|it| it.state.is_member());
        Ok(Some(IdentitiesObserved {
            members: members.filter_map(|it| it.name).collect(),
            noted: store::identity_names(&self.0.db).await?,
            certain: self.0.certain().clone(),
        }))
    }

    fn plan(&self, observed: &IdentitiesObserved) -> IdentityPlan {
        let mut plan = IdentityPlan::default();
        for name in &observed.noted {
            if !observed.members.contains(name) {
                plan.remove.push(name.clone());
            } else if !observed.certain.contains(name) {
                plan.make.push(name.clone());
            }
        }
        plan
    }

    async fn apply(&mut self, plan: &IdentityPlan) -> Result<(), Error> {
        // Taking away first: that a host which is out can still sign in is worse than one that has to wait.
        for name in &plan.remove {
            self.0.remove(name).await?;
            self.forget(name).await?;
        }
        for name in &plan.make {
            self.0.ensure(name).await?;
        }
        Ok(())
    }
}

impl IdentityReconciler {
    /// Notes that the host `name` has no identities, unless one of that name has joined meanwhile: then the next pass
    /// makes them anew.
    async fn forget(&self, name: &str) -> Result<(), Error> {
        let mut tx = self.0.db.begin();
        let holder = match store::machine_by_name_read(&mut tx, name).await? {
            Some(id) => store::machine_read(&mut tx, id).await?,
            None => None,
        };
        if holder.is_some_and(|machine| machine.state.is_member()) {
            return Ok(());
        }
        store::identity_delete(&mut tx, name);
        match tx.commit().await? {
            Committed::Done(_) => Ok(()),
            Committed::Conflict { .. } => Err(Error::Unavailable(format!(
                "the host '{name}' has changed meanwhile"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_members_keep_identities_and_only_noted_ones_lose_them() {
        let endpoints = photon_program::Endpoints::default();
        let key = std::path::Path::new("/nonexistent");
        let own =
            photon_program::Identity::new("photon-provisioner", Some(key), &endpoints).unwrap();
        let channel = endpoints.channel(&photon_program::components::IAM).unwrap();
        let principals = Principals::new(channel, own);
        let reconciler = IdentityReconciler(Identities::new(Db::memory(), principals));
        let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let set = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let plan = reconciler.plan(&IdentitiesObserved {
            noted: names(&["gone", "new", "settled"]),
            members: set(&["new", "settled", "unnoted"]),
            certain: set(&["settled", "gone"]),
        });
        assert_eq!(plan.make, names(&["new"]));
        assert_eq!(plan.remove, names(&["gone"]));
    }
}
