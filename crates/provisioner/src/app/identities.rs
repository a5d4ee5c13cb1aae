//! The identities of hosts' agents in IAM: those of every host that has joined, and of no other that ever had some.
//!
//! A host's name is noted in the transaction that enrols it, and forgotten only after its identities are gone, so
//! that neither a crash nor an IAM that is away loses one or leaves one behind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flaredb::{Committed, Db};
use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::{
    CreateBindingRequest, CreatePrincipalRequest, DeletePrincipalRequest, GetPrincipalRequest,
    ListBindingsRequest, Principal, PrincipalKind,
};
use photon_program::Identity;
use photon_reconcile::{Plan, Reconciler};
use photon_resource::Error;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::store;

/// The agents of every host.
const AGENTS: [&str; 2] = ["prismnet-agent", "plasmavmc-agent"];
/// What they may do, and where.
const ROLE: &str = "NodeAgent";
const SCOPE: &str = "system";
/// After how long it is looked again whether identities are still there.
const CERTAIN_FOR: Duration = Duration::from_secs(600);
/// How long one call to IAM may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Makes and removes identities. Clones are the same.
#[derive(Clone)]
pub struct Identities {
    db: Db,
    iam: IamAdminServiceClient<Channel>,
    own: Identity,
    /// Whoever looks what IAM has and then changes it: two at once would make everything twice.
    changing: Arc<tokio::sync::Mutex<()>>,
    /// Hosts whose identities were seen to be there, and since when all of that is remembered.
    certain: Arc<Mutex<(Instant, BTreeSet<String>)>>,
}

impl Identities {
    /// In the IAM behind `iam`, as the principal `own`.
    pub fn new(db: Db, iam: Channel, own: Identity) -> Self {
        Self {
            db,
            iam: IamAdminServiceClient::new(iam),
            own,
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
        let id = match self.find(principal).await? {
            Some(found) if is_agent(&found, node) => found.id,
            Some(_) => {
                return Err(Error::FailedPrecondition(format!(
                    "IAM has a principal '{principal}' that is not an agent of the host '{node}': remove it"
                )));
            }
            None => {
                let request = CreatePrincipalRequest {
                    name: principal.to_owned(),
                    kind: PrincipalKind::Node.into(),
                    node: node.to_owned(),
                    description: format!("agent of the host {node}, by its certificate"),
                    ..Default::default()
                };
                let request = self.request(request).await?;
                let made = self.iam.clone().create_principal(request).await;
                made.map_err(|status| failed("make", principal, &status))?
                    .into_inner()
                    .principal
                    .unwrap_or_default()
                    .id
            }
        };
        let request = ListBindingsRequest {
            principal_id: id.clone(),
            scope: SCOPE.to_owned(),
            ..Default::default()
        };
        let request = self.request(request).await?;
        let bindings = self.iam.clone().list_bindings(request).await;
        let bindings =
            bindings.map_err(|status| failed("read the roles of", principal, &status))?;
        let bound = |it: &photon_api::iam::v1::Binding| it.role_id == ROLE && it.scope == SCOPE;
        if bindings.into_inner().bindings.iter().any(bound) {
            return Ok(());
        }
        let request = CreateBindingRequest {
            principal_id: id,
            role_id: ROLE.to_owned(),
            scope: SCOPE.to_owned(),
            ..Default::default()
        };
        let request = self.request(request).await?;
        let made = self.iam.clone().create_binding(request).await;
        made.map_err(|status| failed("give a role to", principal, &status))?;
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
            let found = self.find(&principal).await?;
            let Some(found) = found.filter(|it| is_agent(it, name)) else {
                continue;
            };
            let request = DeletePrincipalRequest {
                id: found.id,
                ..Default::default()
            };
            let request = self.request(request).await?;
            match self.iam.clone().delete_principal(request).await {
                Ok(_) => tracing::info!(principal, "the agent's identity is deleted"),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(failed("delete", &principal, &status)),
            }
        }
        Ok(())
    }

    async fn find(&self, principal: &str) -> Result<Option<Principal>, Error> {
        let request = GetPrincipalRequest {
            id: principal.to_owned(),
            ..Default::default()
        };
        let request = self.request(request).await?;
        match self.iam.clone().get_principal(request).await {
            Ok(found) => Ok(found.into_inner().principal),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(failed("find", principal, &status)),
        }
    }

    async fn request<T>(&self, message: T) -> Result<tonic::Request<T>, Error> {
        let mut request = self.own.request(message, "").await?;
        request.set_timeout(DEADLINE);
        Ok(request)
    }
}

fn is_agent(principal: &Principal, node: &str) -> bool {
    principal.kind() == PrincipalKind::Node && principal.node == node
}

fn failed(what: &str, principal: &str, status: &Status) -> Error {
    Error::Unavailable(format!(
        "could not {what} '{principal}' in IAM: {}",
        status.message()
    ))
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
        let own = Identity::new("photon-provisioner", Some(key), &endpoints).unwrap();
        let channel = endpoints.channel(&photon_api::components::IAM).unwrap();
        let reconciler = IdentityReconciler(Identities::new(Db::memory(), channel, own));
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
