//! `DnsService`.

use photon_api::flashdns::v1 as pb;
use photon_api::flashdns::v1::dns_service_server::DnsService;
use photon_catalog::wire::optional_id;
use photon_catalog::{Access, Answer, Desk, Stored};
use photon_resource::{Error, Scope, VpcId};
use photon_service::{answer, status};
use tonic::Request;

use crate::model::{RecordSet, Zone, kind};
use crate::network::Network;
use crate::{app, convert};

/// The service over `app`.
pub struct Dns {
    zones: Desk<Zone>,
    record_sets: Desk<RecordSet>,
    network: Network,
    app: app::Zones,
    sets: app::RecordSets,
    names: app::Names,
}

impl Dns {
    /// Calls go through `access` to `app`, `sets` and `names`; VPCs are those of `network`.
    pub fn new(
        access: Access,
        network: Network,
        app: app::Zones,
        sets: app::RecordSets,
        names: app::Names,
    ) -> Self {
        Self {
            zones: Desk::new(access.clone()),
            record_sets: Desk::new(access),
            network,
            app,
            sets,
            names,
        }
    }
}

#[tonic::async_trait]
impl DnsService for Dns {
    async fn create_zone(
        &self,
        request: Request<pb::CreateZoneRequest>,
    ) -> Answer<pb::CreateZoneResponse> {
        answer(async {
            let access = self.zones.access();
            let caller = access.caller(&request).await?;
            let request = request.into_inner();
            let place = (request.org_id.as_str(), request.project_id.as_str());
            let tenant = access
                .create::<Zone>(&caller, place, &request.name, &request.labels, &[])
                .await?;
            let action = Zone::KIND.action("create");
            let mutation = access.mutation(&caller, &action, &request.request_id, &request)?;
            let project = (&tenant.org_id, &tenant.project_id);
            let vpcs = self.network.vpcs(&caller, project, &request.vpc_ids);
            let new = convert::new_zone(tenant.clone(), request.clone(), vpcs.await?);
            let answer = |zone: &Zone| pb::CreateZoneResponse {
                zone: Some(convert::zone(zone)),
            };
            self.app.create(mutation, new, answer).await
        })
        .await
    }

    async fn get_zone(&self, request: Request<pb::GetZoneRequest>) -> Answer<pb::GetZoneResponse> {
        self.zones
            .get(request, |zone| pb::GetZoneResponse {
                zone: Some(convert::zone(zone)),
            })
            .await
    }

    async fn list_zones(
        &self,
        request: Request<pb::ListZonesRequest>,
    ) -> Answer<pb::ListZonesResponse> {
        self.zones
            .list(
                request,
                |query, _| self.app.list(query),
                |page| pb::ListZonesResponse {
                    zones: page.items.iter().map(convert::zone).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_zone(
        &self,
        request: Request<pb::UpdateZoneRequest>,
    ) -> Answer<pb::UpdateZoneResponse> {
        let caller = self.zones.access().caller(&request).await;
        let caller = caller.map_err(status)?;
        self.zones
            .change(
                request,
                "update",
                |mutation, zone: Zone, request| async move {
                    let project = (&zone.meta.org_id, &zone.meta.project_id);
                    let vpcs = match &request.vpc_ids {
                        Some(vpcs) => Some(self.network.vpcs(&caller, project, &vpcs.ids).await?),
                        None => None,
                    };
                    let changes = convert::zone_changes(request, vpcs);
                    let answer = |zone: &Zone| pb::UpdateZoneResponse {
                        zone: Some(convert::zone(zone)),
                    };
                    self.app.update(mutation, zone.id, changes, answer).await
                },
            )
            .await
    }

    async fn delete_zone(
        &self,
        request: Request<pb::DeleteZoneRequest>,
    ) -> Answer<pb::DeleteZoneResponse> {
        self.zones
            .change(request, "delete", |mutation, zone, _| {
                self.app.delete(mutation, zone.id)
            })
            .await
    }

    async fn create_record_set(
        &self,
        request: Request<pb::CreateRecordSetRequest>,
    ) -> Answer<pb::CreateRecordSetResponse> {
        self.record_sets
            .create(request, convert::new_record_set, |mutation, new| {
                let answer = |set: &RecordSet| pb::CreateRecordSetResponse {
                    record_set: Some(convert::record_set(set)),
                };
                self.sets.create(mutation, new, answer)
            })
            .await
    }

    async fn get_record_set(
        &self,
        request: Request<pb::GetRecordSetRequest>,
    ) -> Answer<pb::GetRecordSetResponse> {
        self.record_sets
            .get(request, |set| pb::GetRecordSetResponse {
                record_set: Some(convert::record_set(set)),
            })
            .await
    }

    async fn list_record_sets(
        &self,
        request: Request<pb::ListRecordSetsRequest>,
    ) -> Answer<pb::ListRecordSetsResponse> {
        self.record_sets
            .list(
                request,
                |query, request| async move {
                    let zone = optional_id("zone_id", &request.zone_id)?;
                    self.sets.list(query, zone).await
                },
                |page| pb::ListRecordSetsResponse {
                    record_sets: page.items.iter().map(convert::record_set).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_record_set(
        &self,
        request: Request<pb::UpdateRecordSetRequest>,
    ) -> Answer<pb::UpdateRecordSetResponse> {
        self.record_sets
            .change(
                request,
                "update",
                |mutation, set: RecordSet, request| async move {
                    let changes = convert::record_set_changes(request);
                    let answer = |set: &RecordSet| pb::UpdateRecordSetResponse {
                        record_set: Some(convert::record_set(set)),
                    };
                    self.sets.update(mutation, &set, changes, answer).await
                },
            )
            .await
    }

    async fn delete_record_set(
        &self,
        request: Request<pb::DeleteRecordSetRequest>,
    ) -> Answer<pb::DeleteRecordSetResponse> {
        self.record_sets
            .change(request, "delete", |mutation, set, _| {
                self.sets.delete(mutation, set.id)
            })
            .await
    }

    async fn resolve(&self, request: Request<pb::ResolveRequest>) -> Answer<pb::ResolveResponse> {
        answer(async {
            let access = self.zones.access();
            let caller = access.caller(&request).await?;
            let request = request.into_inner();
            let guard = access.guard();
            let (org, project) = guard.scope(&caller, &request.org_id, &request.project_id)?;
            let names = kind::NAMES.any(Scope::Project(org.clone(), project.clone()));
            let action = kind::NAMES.action("get");
            guard.authorize(&caller, &action, &names, &[]).await?;
            let given = std::slice::from_ref(&request.vpc_id);
            let found = self.network.vpcs(&caller, (&org, &project), given).await?;
            let vpc = found.into_iter().next();
            let vpc = vpc.ok_or_else(|| Error::not_found(VpcId::KIND, &request.vpc_id))?;
            let kind = convert::asked_type(request.r#type)?;
            let resolved = self.names.resolve(vpc, &request.name, kind)?;
            Ok(convert::resolved(resolved))
        })
        .await
    }
}
