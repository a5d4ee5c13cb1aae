//! `NetworkSettingsService`.

use std::ops::ControlFlow;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::network_settings_service_server::NetworkSettingsService;
use photon_catalog::{Access, Answer};
use photon_resource::{Caller, Error, OrgId, ResourceName, Scope};
use photon_service::answer;
use tonic::Request;

use crate::app::SettingsChange;
use crate::model::{NetworkSettings, kind};
use crate::{app, convert, store};

/// The service over `app`.
pub struct Settings {
    access: Access,
    app: app::DefaultNetworks,
}

impl Settings {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::DefaultNetworks) -> Self {
        Self { access, app }
    }

    /// The organization that a request names, if the caller may do `verb` with its settings.
    async fn reach(
        &self,
        caller: &Caller,
        verb: &str,
        org_id: &str,
    ) -> Result<(OrgId, ResourceName), Error> {
        let org: OrgId = match (org_id, &caller.claims.org_id) {
            ("", Some(org)) => org.clone(),
            ("", None) => {
                let expected =
                    "the id of an organization, because the token is for the whole system";
                return Err(Error::invalid("org_id", "", expected));
            }
            (given, _) => given.parse()?,
        };
        let all = kind::SETTINGS.any(Scope::Org(org.clone()));
        let action = kind::SETTINGS.action(verb);
        let guard = self.access.guard();
        guard.authorize(caller, &action, &all, &[]).await?;
        Ok((org, all))
    }
}

#[tonic::async_trait]
impl NetworkSettingsService for Settings {
    async fn get_network_settings(
        &self,
        request: Request<pb::GetNetworkSettingsRequest>,
    ) -> Answer<pb::GetNetworkSettingsResponse> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let (org, all) = self
                .reach(&caller, "get", &request.get_ref().org_id)
                .await?;
            let action = kind::SETTINGS.action("get");
            let guard = self.access.guard();
            guard.require_place(&caller, &action, &all).await?;
            let settings = store::network_settings_load(self.access.db(), &org).await?;
            Ok(pb::GetNetworkSettingsResponse {
                settings: Some(convert::network_settings(&settings)),
            })
        })
        .await
    }

    async fn update_network_settings(
        &self,
        request: Request<pb::UpdateNetworkSettingsRequest>,
    ) -> Answer<pb::UpdateNetworkSettingsResponse> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.into_inner();
            let (org_id, all) = self.reach(&caller, "update", &request.org_id).await?;
            let action = kind::SETTINGS.action("update");
            let mutation = self
                .access
                .mutation(&caller, &action, &request.request_id, &request)?;
            let place = self.access.guard().require_place(&caller, &action, &all);
            let place = place.await;
            if let ControlFlow::Break(earlier) = self.access.or_earlier(place, &mutation).await? {
                return Ok(earlier);
            }
            let resource = kind::SETTINGS.name(Scope::Org(org_id.clone()), "network");
            let change = SettingsChange {
                org_id,
                default_networks: request.default_networks,
            };
            let answer = |settings: &NetworkSettings| pb::UpdateNetworkSettingsResponse {
                settings: Some(convert::network_settings(settings)),
            };
            self.app.say(mutation, resource, change, answer).await
        })
        .await
    }
}
