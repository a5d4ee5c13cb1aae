//! `quota.v1.QuotaService` over a server's own store.

use std::sync::Arc;

use async_trait::async_trait;
use flaredb::Transaction;
use photon_api::quota::v1 as wire;
use photon_api::quota::v1::quota_service_server::QuotaService;
use photon_resource::{Error, Kind, ResourceName, Scope};
use photon_service::answer;
use tonic::{Request, Response, Status};

use super::{Amounts, Holder, Quantity, holders, unknown};
use crate::access::{Access, list_scope};
use crate::change::{Change, Effect, commit};

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

    fn quantity(&self, name: &str) -> Result<Quantity, Error> {
        let found = self.quantities.iter().find(|it| it.name == name);
        found
            .copied()
            .ok_or_else(|| unknown(&self.quantities, "name", name))
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

fn shown(holder: &Holder, quantity: Quantity, usage: &Amounts, limits: &Amounts) -> wire::Quota {
    let default = match holder {
        Holder::Project(..) => quantity.per_project,
        Holder::Organization(_) => quantity.per_organization,
    };
    let set = limits.of(quantity.name);
    wire::Quota {
        name: quantity.name.to_owned(),
        used: usage.of(quantity.name).unwrap_or_default(),
        limit: set.unwrap_or(default),
        set: set.is_some(),
    }
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
            let db = self.access.db();
            let usage = db.get(&holder.usage_key()).await?.unwrap_or_default();
            let limits = db.get(&holder.limits_key()).await?.unwrap_or_default();
            let quotas = self
                .quantities
                .iter()
                .map(|quantity| shown(&holder, *quantity, &usage, &limits));
            Ok(wire::GetQuotasResponse {
                quotas: quotas.collect(),
            })
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
            let mut change = Set {
                resource: self.kind.name(scope.clone(), &request.name),
                holder: holder(&scope)?,
                quantity: self.quantity(&request.name)?,
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
