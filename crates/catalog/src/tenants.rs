//! What a server holds of tenants: for IAM, which deletes no project of which anything is left elsewhere (decision 0029).
//!
//! IAM asks every server, and then deletes. What a call would make meanwhile that was permitted before is kept out by a mark
//! in the server's own store, which whatever is made reads in its transaction. The mark is written first and then the store is
//! looked through: what came before it is found, what comes after it is refused. It ends by itself, so that an IAM that is
//! killed leaves nothing behind that somebody would have to know of.

use std::time::Duration;

use flaredb::{Db, Record, Transaction};
use futures::future::BoxFuture;
use photon_api::tenancy::v1::tenant_service_server::TenantService;
use photon_api::tenancy::v1::{
    CloseProjectRequest, CloseProjectResponse, Holding, ListHoldingsRequest, ListHoldingsResponse,
};
use photon_resource::{Error, OrgId, ProjectId, ResourceName, Scope};
use photon_service::answer;
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

use crate::access::Access;
use crate::change::{Effect, commit_unrecorded, work};
use crate::record::Reference;
use crate::stored::{Stored, load_many};

/// How long a project stays closed: longer than a call may take (30 s by default) that was permitted before, and than IAM
/// takes to delete what it closed.
const CLOSED_FOR: Duration = Duration::from_secs(60);
/// How many of a kind are counted.
const COUNTED: usize = 1000;
/// How many of a kind are named.
const NAMED: usize = 3;

/// That a project is closed. On a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ClosedRecord {}

impl Record for ClosedRecord {
    const KIND: &'static str = "closed project";
    const VERSION: u32 = 1;
}

fn closed_key(org: &OrgId, project: &ProjectId) -> String {
    format!("closed/{org}/{project}")
}

/// Refuses to make something in a project that is closed.
///
/// Errors: `FailedPrecondition`.
pub(crate) async fn require_open(tx: &mut Transaction, scope: &Scope) -> Result<(), Error> {
    let (Some(org), Some(project)) = (scope.org(), scope.project()) else {
        return Ok(());
    };
    let closed: Option<ClosedRecord> = tx.get(&closed_key(org, project)).await?;
    match closed {
        None => Ok(()),
        Some(_) => Err(Error::FailedPrecondition(format!(
            "project '{project}' is being deleted, so that nothing can be made in it"
        ))),
    }
}

/// Counts the things of one kind in a scope.
type Count = fn(Db, Scope) -> BoxFuture<'static, Result<Option<Holding>, Error>>;

/// `tenancy.v1.TenantService` over a server's own store.
#[derive(Clone)]
pub struct Tenants {
    access: Access,
    service: &'static str,
    kinds: Vec<Count>,
}

impl Tenants {
    /// A server whose actions begin with `service`, which holds nothing yet.
    pub fn new(access: Access, service: &'static str) -> Self {
        Self {
            access,
            service,
            kinds: Vec::new(),
        }
    }

    /// Tenants have such things here.
    #[must_use]
    pub fn with<R: Stored>(mut self) -> Self {
        self.kinds.push(|db, scope| Box::pin(count::<R>(db, scope)));
        self
    }

    async fn authorize<T>(&self, request: &Request<T>, verb: &str) -> Result<(), Error> {
        let caller = self.access.caller(request).await?;
        let action = format!("{}:tenants:{verb}", self.service);
        let all = ResourceName::any(Scope::System, "tenants");
        let asked = self.access.guard().authorize(&caller, &action, &all, &[]);
        asked.await
    }

    async fn holdings(&self, scope: &Scope) -> Result<Vec<Holding>, Error> {
        let mut holdings = Vec::new();
        for count in &self.kinds {
            holdings.extend(count(self.access.db().clone(), scope.clone()).await?);
        }
        Ok(holdings)
    }

    async fn close(&self, org: OrgId, project: ProjectId) -> Result<Vec<Holding>, Error> {
        let db = self.access.db();
        let lease = db.lease_grant(CLOSED_FOR).await?;
        // No events: it is no more than a pause, and IAM's deletion, if it comes to that, is one.
        let key = closed_key(&org, &project);
        let mut close = work((key.clone(), lease), |(key, lease), tx| {
            Box::pin(async move {
                tx.put_with_lease(key, &ClosedRecord {}, *lease)?;
                Ok(Effect::silent(()))
            })
        });
        commit_unrecorded(db, &mut close).await?;
        let holdings = self.holdings(&Scope::Project(org, project)).await?;
        if !holdings.is_empty() {
            let mut open = work(key, |key, tx| {
                Box::pin(async move {
                    tx.delete(key);
                    Ok(Effect::silent(()))
                })
            });
            commit_unrecorded(db, &mut open).await?;
        }
        Ok(holdings)
    }
}

/// How many there are of a kind, and what some of them are called; `None`: there is none.
async fn count<R: Stored>(db: Db, scope: Scope) -> Result<Option<Holding>, Error> {
    let found = db
        .page::<Reference>(&R::list_prefix(&scope), None, COUNTED)
        .await?
        .items;
    if found.is_empty() {
        return Ok(None);
    }
    let first = found.iter().take(NAMED);
    let ids: Vec<R::Id> = first
        .map(|(_, entry)| entry.id.parse())
        .collect::<Result<_, _>>()?;
    let named = load_many::<R>(&db, &ids).await?;
    let names = named.into_iter().flatten().map(|it| {
        let name = it.common().name.map(str::to_owned);
        name.unwrap_or_else(|| it.id().to_string())
    });
    Ok(Some(Holding {
        noun: R::KIND.noun.to_owned(),
        count: u32::try_from(found.len()).unwrap_or(u32::MAX),
        names: names.collect(),
    }))
}

#[tonic::async_trait]
impl TenantService for Tenants {
    async fn list_holdings(
        &self,
        request: Request<ListHoldingsRequest>,
    ) -> Result<Response<ListHoldingsResponse>, Status> {
        answer(async {
            self.authorize(&request, "list").await?;
            let ListHoldingsRequest { org_id, project_id } = request.into_inner();
            let org: OrgId = org_id.parse()?;
            let scope = match project_id.as_str() {
                "" => Scope::Org(org),
                id => Scope::Project(org, id.parse()?),
            };
            let holdings = self.holdings(&scope).await?;
            Ok(ListHoldingsResponse { holdings })
        })
        .await
    }

    async fn close_project(
        &self,
        request: Request<CloseProjectRequest>,
    ) -> Result<Response<CloseProjectResponse>, Status> {
        answer(async {
            self.authorize(&request, "close").await?;
            let CloseProjectRequest { org_id, project_id } = request.into_inner();
            let holdings = self.close(org_id.parse()?, project_id.parse()?).await?;
            Ok(CloseProjectResponse { holdings })
        })
        .await
    }
}
