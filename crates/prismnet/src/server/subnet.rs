//! `SubnetService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::subnet_service_server::SubnetService;
use photon_catalog::desk::WatchStream;
use photon_catalog::wire::optional_id;
use photon_catalog::{Access, Answer, Desk, Named, News, Stored, Tenant};
use photon_resource::{Caller, Error, Labels};
use photon_service::answer;
use tonic::Request;

use crate::model::{DEFAULT_NETWORK, Subnet, Vpc};
use crate::{app, convert};

/// The service over `app`.
pub struct Subnets {
    desk: Desk<Subnet>,
    app: app::Subnets,
    defaults: app::DefaultNetworks,
}

impl Subnets {
    /// Calls go through `access` to `app`, those for default networks to `defaults`.
    pub fn new(access: Access, app: app::Subnets, defaults: app::DefaultNetworks) -> Self {
        Self {
            desk: Desk::new(access),
            app,
            defaults,
        }
    }

    /// Whose default network it is, if the caller may make one, and may see that which is there.
    async fn reach_default(
        &self,
        caller: &Caller,
        request: &pb::EnsureDefaultSubnetRequest,
    ) -> Result<Tenant, Error> {
        let access = self.desk.access();
        let place = (request.org_id.as_str(), request.project_id.as_str());
        let (name, labels) = (DEFAULT_NETWORK, Labels::new());
        access
            .create::<Vpc>(caller, place, name, &labels, &[])
            .await?;
        let tenant = access
            .create::<Subnet>(caller, place, name, &labels, &[])
            .await?;
        let named = Named {
            id: name,
            org_id: tenant.org_id.as_str(),
            project_id: tenant.project_id.as_str(),
        };
        if let (Some(there), nearest) = access.look_up::<Subnet>(caller, named).await? {
            access
                .reveal(caller, "get", Some(there), nearest, name)
                .await?;
        }
        Ok(tenant)
    }
}

#[tonic::async_trait]
impl SubnetService for Subnets {
    async fn create_subnet(
        &self,
        request: Request<pb::CreateSubnetRequest>,
    ) -> Answer<pb::CreateSubnetResponse> {
        self.desk
            .create(request, convert::new_subnet, |mutation, new| {
                let answer = |subnet: &Subnet| pb::CreateSubnetResponse {
                    subnet: Some(convert::subnet(subnet)),
                };
                self.app.create(mutation, new, answer)
            })
            .await
    }

    async fn get_subnet(
        &self,
        request: Request<pb::GetSubnetRequest>,
    ) -> Answer<pb::GetSubnetResponse> {
        self.desk
            .get(request, |subnet| pb::GetSubnetResponse {
                subnet: Some(convert::subnet(subnet)),
            })
            .await
    }

    async fn list_subnets(
        &self,
        request: Request<pb::ListSubnetsRequest>,
    ) -> Answer<pb::ListSubnetsResponse> {
        self.desk
            .list(
                request,
                |query, request| async move {
                    let filter = optional_id("vpc_id", &request.vpc_id)?;
                    self.app.list(query, filter).await
                },
                |page| pb::ListSubnetsResponse {
                    subnets: page.items.iter().map(convert::subnet).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchSubnetsStream = WatchStream<pb::WatchSubnetsResponse>;

    async fn watch_subnets(
        &self,
        request: Request<pb::WatchSubnetsRequest>,
    ) -> Answer<Self::WatchSubnetsStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchSubnetsResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(subnet) => told.subnet = Some(convert::subnet(&subnet)),
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_subnet(
        &self,
        request: Request<pb::UpdateSubnetRequest>,
    ) -> Answer<pb::UpdateSubnetResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, subnet: Subnet, request| async move {
                    let changes = convert::subnet_changes(request)?;
                    let answer = |subnet: &Subnet| pb::UpdateSubnetResponse {
                        subnet: Some(convert::subnet(subnet)),
                    };
                    self.app.update(mutation, subnet.id, changes, answer).await
                },
            )
            .await
    }

    async fn delete_subnet(
        &self,
        request: Request<pb::DeleteSubnetRequest>,
    ) -> Answer<pb::DeleteSubnetResponse> {
        self.desk
            .change(request, "delete", |mutation, subnet, _| {
                self.app.delete(mutation, subnet.id)
            })
            .await
    }

    async fn ensure_default_subnet(
        &self,
        request: Request<pb::EnsureDefaultSubnetRequest>,
    ) -> Answer<pb::EnsureDefaultSubnetResponse> {
        answer(async {
            let access = self.desk.access();
            let caller = access.caller(&request).await?;
            let request = request.into_inner();
            let tenant = self.reach_default(&caller, &request).await?;
            let action = Subnet::KIND.action("create");
            let mutation = access.mutation(&caller, &action, &request.request_id, &request)?;
            let answer = |subnet: &Subnet| pb::EnsureDefaultSubnetResponse {
                subnet: Some(convert::subnet(subnet)),
            };
            self.defaults.ensure(mutation, tenant, answer).await
        })
        .await
    }
}
