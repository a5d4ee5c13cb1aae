//! What a server holds of tenants: for IAM, which deletes no project of which anything is left elsewhere (decision 0029).
//!
//! IAM asks every server, and then deletes. What a call would make meanwhile that was permitted before is kept out by a mark
//! in the server's own store, which whatever is made reads in its transaction. The mark is written first and then the store is
//! looked through: what came before it is found, what comes after it is refused. It ends by itself, so that an IAM that is
//! killed leaves nothing behind that somebody would have to know of.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chainfire::Ledger;
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
use crate::change::{Actor, Effect, commit_own, commit_unrecorded, work};
use crate::record::Reference;
use crate::stored::{Stored, get, load_many};

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

/// A kind of things that tenants have here.
#[async_trait]
trait Table: Send + Sync {
    /// How many a tenant has, and what some of them are called; `None`: none.
    async fn holding(&self, db: &Db, scope: &Scope) -> Result<Option<Holding>, Error>;
    /// Removes what the server made by itself.
    async fn clear(&self, own: &Own<'_>, scope: &Scope) -> Result<(), Error>;
}

/// How a server changes something by itself.
struct Own<'a> {
    db: &'a Db,
    ledger: &'a Ledger,
    actor: &'a Actor,
    action: &'a str,
}

/// Removes something in a transaction.
pub type Remove<R> = for<'t> fn(&'t R, &'t mut Transaction) -> BoxFuture<'t, Result<(), Error>>;

struct Of<R> {
    /// `None`: the server makes none of them by itself.
    automatic: Option<Automatic<R>>,
}

/// What the server makes by itself.
struct Automatic<R> {
    is: fn(&R) -> bool,
    remove: Remove<R>,
}

/// `tenancy.v1.TenantService` over a server's own store.
#[derive(Clone)]
pub struct Tenants {
    access: Access,
    ledger: Ledger,
    actor: Actor,
    service: &'static str,
    tables: Vec<Arc<dyn Table>>,
}

impl Tenants {
    /// A server whose actions begin with `service`, which holds nothing yet. What it removes by itself is `actor`'s doing.
    pub fn new(access: Access, ledger: Ledger, actor: Actor, service: &'static str) -> Self {
        Self {
            access,
            ledger,
            actor,
            service,
            tables: Vec::new(),
        }
    }

    /// Tenants have such things here.
    #[must_use]
    pub fn with<R: Stored>(mut self) -> Self {
        self.tables.push(Arc::new(Of::<R> { automatic: None }));
        self
    }

    /// Tenants have such things here. Those that `automatic` tells nobody asked for: they hold no project, and go when it is
    /// closed.
    #[must_use]
    pub fn with_automatic<R: Stored>(
        mut self,
        automatic: fn(&R) -> bool,
        remove: Remove<R>,
    ) -> Self {
        let automatic = Some(Automatic {
            is: automatic,
            remove,
        });
        self.tables.push(Arc::new(Of { automatic }));
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
        for table in &self.tables {
            holdings.extend(table.holding(self.access.db(), scope).await?);
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
        let scope = Scope::Project(org, project);
        let holdings = self.holdings(&scope).await?;
        if holdings.is_empty() {
            let own = Own {
                db,
                ledger: &self.ledger,
                actor: &self.actor,
                action: &format!("{}:tenants:close", self.service),
            };
            for table in &self.tables {
                table.clear(&own, &scope).await?;
            }
        } else {
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

impl<R: Stored> Of<R> {
    fn is_automatic(&self, resource: &R) -> bool {
        self.automatic
            .as_ref()
            .is_some_and(|automatic| (automatic.is)(resource))
    }

    /// Up to [`COUNTED`] things in a scope that `which` tells.
    async fn some(
        &self,
        db: &Db,
        scope: &Scope,
        which: impl Fn(&R) -> bool + Send,
    ) -> Result<Vec<R>, Error> {
        let (prefix, mut after) = (R::list_prefix(scope), None);
        let mut some = Vec::new();
        loop {
            let page = db
                .page::<Reference>(&prefix, after.as_deref(), COUNTED)
                .await?;
            let ids = page.items.iter().map(|(_, entry)| entry.id.parse());
            let ids: Vec<R::Id> = ids.collect::<Result<_, _>>()?;
            let found = load_many::<R>(db, &ids).await?;
            some.extend(found.into_iter().flatten().filter(&which));
            match page.items.last() {
                Some((last, _)) if page.more && some.len() < COUNTED => {
                    after = Some(last.clone());
                }
                _ => break,
            }
        }
        some.truncate(COUNTED);
        Ok(some)
    }
}

#[async_trait]
impl<R: Stored> Table for Of<R> {
    async fn holding(&self, db: &Db, scope: &Scope) -> Result<Option<Holding>, Error> {
        let found = self.some(db, scope, |it| !self.is_automatic(it)).await?;
        if found.is_empty() {
            return Ok(None);
        }
        let names = found.iter().take(NAMED).map(|it| {
            let name = it.common().name.map(str::to_owned);
            name.unwrap_or_else(|| it.id().to_string())
        });
        Ok(Some(Holding {
            noun: R::KIND.noun.to_owned(),
            count: u32::try_from(found.len()).unwrap_or(u32::MAX),
            names: names.collect(),
        }))
    }

    async fn clear(&self, own: &Own<'_>, scope: &Scope) -> Result<(), Error> {
        let Some(Automatic { remove, .. }) = self.automatic else {
            return Ok(());
        };
        for it in self.some(own.db, scope, |it| self.is_automatic(it)).await? {
            let mut gone = work((it.id(), remove), |(id, remove), tx| {
                Box::pin(async move {
                    match get::<R>(tx, id).await {
                        Ok(it) => {
                            remove(&it, tx).await?;
                            Ok(Effect::about(&it, ()).because("its project is being deleted"))
                        }
                        // Another call for the same project was here first.
                        Err(Error::NotFound { .. }) => Ok(Effect::nothing(())),
                        Err(error) => Err(error),
                    }
                })
            });
            commit_own(own.db, own.ledger, own.actor, own.action, &mut gone).await?;
        }
        Ok(())
    }
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
