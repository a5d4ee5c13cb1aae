//! `PortService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::port_service_server::PortService;
use photon_catalog::access::borrowed;
use photon_catalog::desk::WatchStream;
use photon_catalog::stored::{attributes, attributes_of};
use photon_catalog::{Access, Answer, Desk, News, Stored};
use photon_resource::{Caller, Error, ResourceName, Scope};
use photon_service::status;
use tonic::{Request, Status};

use crate::model::{DISABLE_SOURCE_CHECK, Port, Subnet};
use crate::{app, convert};

/// The service over `app`.
pub struct Ports {
    desk: Desk<Port>,
    app: app::Ports,
    resolver: bool,
}

impl Ports {
    /// Calls go through `access` to `app`. Whether hosts have a `resolver` devices are told.
    pub fn new(access: Access, app: app::Ports, resolver: bool) -> Self {
        Self {
            desk: Desk::new(access),
            app,
            resolver,
        }
    }

    /// Whether the caller may let a port's device send from addresses that are not the port's: beside the right to make or
    /// change the port.
    async fn may_disable_check(
        &self,
        caller: &Caller,
        port: &ResourceName,
        attributes: &[(String, String)],
    ) -> Result<(), Error> {
        let action = Port::KIND.action(DISABLE_SOURCE_CHECK);
        let guard = self.desk.access().guard();
        guard
            .authorize(caller, &action, port, &borrowed(attributes))
            .await
    }

    /// Whether the caller may do `verb` with ports of the whole cloud, as those do who run what ports are attached to. A
    /// host makes interfaces for each attached port, and a tenant's own right would be to as many as it likes, on hosts
    /// that it should not know.
    async fn for_devices<T>(&self, request: &Request<T>, verb: &str) -> Result<(), Status> {
        let access = self.desk.access();
        let caller = access.caller(request).await.map_err(status)?;
        let (action, all) = (Port::KIND.action(verb), Port::KIND.any(Scope::System));
        let asked = access.guard().authorize(&caller, &action, &all, &[]);
        asked.await.map_err(status)
    }
}

#[tonic::async_trait]
impl PortService for Ports {
    async fn create_port(
        &self,
        request: Request<pb::CreatePortRequest>,
    ) -> Answer<pb::CreatePortResponse> {
        self.desk
            .create(request, convert::new_port, |mutation, new| async move {
                if !new.source_check {
                    let caller = mutation.caller().clone();
                    let all = Port::KIND.any(new.meta.scope());
                    let owner = Some(caller.claims.principal_id);
                    let (name, labels) = (&new.meta.name, &new.meta.labels);
                    let attributes = attributes(owner, Some(name), Some(labels));
                    self.may_disable_check(&caller, &all, &attributes).await?;
                }
                let answer = |port: &Port| pb::CreatePortResponse {
                    port: Some(convert::port(port)),
                };
                self.app.create(mutation, new, answer).await
            })
            .await
    }

    async fn get_port(&self, request: Request<pb::GetPortRequest>) -> Answer<pb::GetPortResponse> {
        self.desk
            .get(request, |port| pb::GetPortResponse {
                port: Some(convert::port(port)),
            })
            .await
    }

    async fn list_ports(
        &self,
        request: Request<pb::ListPortsRequest>,
    ) -> Answer<pb::ListPortsResponse> {
        self.desk
            .list(
                request,
                |query, request| async move {
                    let filter = convert::port_filter(&request)?;
                    self.app.list(query, filter).await
                },
                |page| pb::ListPortsResponse {
                    ports: page.items.iter().map(convert::port).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    type WatchPortsStream = WatchStream<pb::WatchPortsResponse>;

    async fn watch_ports(
        &self,
        request: Request<pb::WatchPortsRequest>,
    ) -> Answer<Self::WatchPortsStream> {
        self.desk
            .watch(request, |news, revision| {
                let mut told = pb::WatchPortsResponse {
                    revision,
                    ..Default::default()
                };
                match news {
                    News::Now(port) => told.port = Some(convert::port(&port)),
                    News::Gone(id) => told.deleted_id = id.to_string(),
                    News::Synced => {}
                }
                told
            })
            .await
    }

    async fn update_port(
        &self,
        request: Request<pb::UpdatePortRequest>,
    ) -> Answer<pb::UpdatePortResponse> {
        self.desk
            .change(
                request,
                "update",
                |mutation, port: Port, request| async move {
                    let changes = convert::port_changes(request);
                    if changes.source_check == Some(false) {
                        let caller = mutation.caller().clone();
                        let attributes = attributes_of(&port);
                        self.may_disable_check(&caller, &port.resource(), &attributes)
                            .await?;
                    }
                    let answer = |port: &Port| pb::UpdatePortResponse {
                        port: Some(convert::port(port)),
                    };
                    self.app.update(mutation, port.id, changes, answer).await
                },
            )
            .await
    }

    async fn delete_port(
        &self,
        request: Request<pb::DeletePortRequest>,
    ) -> Answer<pb::DeletePortResponse> {
        self.desk
            .change(request, "delete", |mutation, port, _| {
                self.app.delete(mutation, port.id)
            })
            .await
    }

    async fn attach_port(
        &self,
        request: Request<pb::AttachPortRequest>,
    ) -> Answer<pb::AttachPortResponse> {
        self.for_devices(&request, "attach").await?;
        self.desk
            .change(
                request,
                "attach",
                |mutation, port: Port, request| async move {
                    let new = convert::attachment(&request)?;
                    let answer = |port: &Port, subnet: &Subnet| pb::AttachPortResponse {
                        port: Some(convert::port(port)),
                        addressing: Some(convert::port_addressing(port, subnet, self.resolver)),
                    };
                    self.app.attach(mutation, &port, new, answer).await
                },
            )
            .await
    }

    async fn detach_port(
        &self,
        request: Request<pb::DetachPortRequest>,
    ) -> Answer<pb::DetachPortResponse> {
        self.for_devices(&request, "detach").await?;
        self.desk
            .change(request, "detach", |mutation, port, request| async move {
                let answer = |port: &Port| pb::DetachPortResponse {
                    port: Some(convert::port(port)),
                };
                self.app
                    .detach(mutation, port.id, &request.device_id, answer)
                    .await
            })
            .await
    }
}
