//! `quota.v1.QuotaService` over a server's own store.

use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use flaredb::Transaction;
use photon_api::quota::v1 as wire;
use photon_api::quota::v1::quota_service_server::QuotaService;
use photon_resource::{Error, Kind, ResourceName, Scope};
use photon_service::answer;
use tonic::{Request, Response, Status};

use super::{Amounts, Holder, Quantity, holders, known, one_of};
use crate::access::{Access, list_scope};
use crate::change::{Change, Effect, commit};
use crate::tenants::require_open;

/// Shows and sets the quotas of one component.
#[derive(Clone)]
pub struct Quotas {
    access: Access,
    kind: Kind,
    quantities: Arc<[Quantity]>,
}

impl Quotas {
    /// Of `quantities`, which the component whose actions begin with `service` counts.
    pub fn new(access: Access, service: &'static str, quantities: Arc<[Quantity]>) -> Self {
        Self {
            access,
            kind: Kind {
                service,
                plural: "quotas",
                noun: "quota",
            },
            quantities,
        }
    }

    /// What is called so of what `holder` has.
    fn quantity(&self, holder: &Holder, name: &str) -> Result<Quantity, Error> {
        let is = |it: &&Quantity| it.name == name && holder.default_of(it).is_some();
        let found = self.quantities.iter().find(is).copied();
        found.ok_or_else(|| {
            let of_project = matches!(holder, Holder::Project(..));
            Error::invalid("name", name, one_of(&known(&self.quantities, of_project)))
        })
    }

    /// All that `holder` can have.
    async fn all(&self, holder: &Holder) -> Result<Vec<wire::Quota>, Error> {
        let db = self.access.db();
        let usage = db.get(&holder.usage_key()).await?.unwrap_or_default();
        let limits = db.get(&holder.limits_key()).await?.unwrap_or_default();
        let quantities = self.quantities.iter();
        let shown = quantities.filter_map(|it| shown(holder, *it, &usage, &limits));
        Ok(shown.collect())
    }
}

fn holder(scope: &Scope) -> Result<Holder, Error> {
    let first = holders(scope).into_iter().next();
    first.ok_or_else(|| {
        Error::invalid(
            "org_id",
            "",
            "the id of an organization, because the cloud itself has no quota",
        )
    })
}

/// `None`: it is nothing that `holder` has.
fn shown(
    holder: &Holder,
    quantity: Quantity,
    usage: &Amounts,
    limits: &Amounts,
) -> Option<wire::Quota> {
    let default = holder.default_of(&quantity)?;
    let set = limits.of(quantity.name);
    Some(wire::Quota {
        name: quantity.name.to_owned(),
        used: usage.of(quantity.name).unwrap_or_default(),
        limit: set.unwrap_or(default),
        set: set.is_some(),
    })
}

struct Set {
    resource: ResourceName,
    holder: Holder,
    quantity: Quantity,
    limit: Option<u64>,
}

#[async_trait]
impl Change for Set {
    type Value = wire::Quota;

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<wire::Quota>, Error> {
        // Whoever is let in while the project is deleted would leave something behind.
        require_open(tx, self.resource.scope()).await?;
        let key = self.holder.limits_key();
        let before: Amounts = tx.get(&key).await?.unwrap_or_default();
        let mut after = before.clone();
        match self.limit {
            Some(limit) => {
                after.amounts.insert(self.quantity.name.to_owned(), limit);
            }
            None => {
                after.amounts.remove(self.quantity.name);
            }
        }
        let usage = tx.db().get(&self.holder.usage_key()).await?;
        let shown = shown(
            &self.holder,
            self.quantity,
            &usage.unwrap_or_default(),
            &after,
        );
        let shown = shown.ok_or_else(|| Error::internal("a quota of what it can't have"))?;
        if after == before {
            return Ok(Effect::nothing(shown));
        }
        if after.amounts.is_empty() {
            tx.delete(&key);
        } else {
            tx.put(&key, &after)?;
        }
        let reason = match self.limit {
            Some(limit) => format!("{} = {limit}", self.quantity.name),
            None => format!("{}: the default again", self.quantity.name),
        };
        Ok(Effect::at(self.resource.clone(), key, shown).because(reason))
    }
}

#[tonic::async_trait]
impl QuotaService for Quotas {
    async fn get_quotas(
        &self,
        request: Request<wire::GetQuotasRequest>,
    ) -> Result<Response<wire::GetQuotasResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let scope = list_scope(&caller, &request.org_id, &request.project_id)?;
            let resource = self.kind.any(scope.clone());
            self.access
                .guard()
                .authorize(&caller, &self.kind.action("get"), &resource, &[])
                .await?;
            let holder = holder(&scope)?;
            // Of an organization only who may set is told: what is left of one that is gone stays to be read.
            let verb = match holder {
                Holder::Project(..) => "list",
                Holder::Organization(_) => "set",
            };
            let action = self.kind.action(verb);
            let guard = self.access.guard();
            guard.require_place(&caller, &action, &resource).await?;
            let mut response = wire::GetQuotasResponse {
                quotas: self.all(&holder).await?,
                org_id: scope.org().map(ToString::to_string).unwrap_or_default(),
                project_id: scope.project().map(ToString::to_string).unwrap_or_default(),
                organization_quotas: Vec::new(),
            };
            if let Holder::Project(org, _) = holder {
                let all = self.kind.any(Scope::Org(org.clone()));
                let action = self.kind.action("get");
                if guard.may_also(&caller, &action, &all, &[]).await? {
                    response.organization_quotas = self.all(&Holder::Organization(org)).await?;
                }
            }
            Ok(response)
        })
        .await
    }

    async fn set_quota(
        &self,
        request: Request<wire::SetQuotaRequest>,
    ) -> Result<Response<wire::SetQuotaResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let action = self.kind.action("set");
            // Of the system: whoever has all rights in an organization does not set how much it may have.
            let resource = self.kind.any(Scope::System);
            self.access
                .guard()
                .authorize(&caller, &action, &resource, &[])
                .await?;
            let mutation = self
                .access
                .mutation(&caller, &action, &request.request_id, &request)?;
            let scope = list_scope(&caller, &request.org_id, &request.project_id)?;
            let holder = holder(&scope)?;
            let quantity = self.quantity(&holder, &request.name)?;
            let (guard, all) = (self.access.guard(), self.kind.any(scope.clone()));
            let place = guard.require_place(&caller, &action, &all).await;
            if let ControlFlow::Break(earlier) = self.access.or_earlier(place, &mutation).await? {
                return Ok(earlier);
            }
            let mut change = Set {
                resource: self.kind.name(scope, &request.name),
                holder,
                quantity,
                limit: request.limit,
            };
            let answer = |quota: &wire::Quota| wire::SetQuotaResponse {
                quota: Some(quota.clone()),
            };
            Ok(commit(self.access.db(), mutation, &mut change, answer)
                .await?
                .0)
        })
        .await
    }
}
