//! `VmService`.

use futures::StreamExt;
use futures::stream::try_unfold;
use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::console_request::Message;
use photon_api::plasmavmc::v1::vm_service_server::VmService;
use photon_catalog::desk::WatchStream;
use photon_catalog::stored::attributes_of;
use photon_catalog::{Access, Answer, Desk, Named, Stored};
use photon_resource::{Caller, Error, ResourceName};
use photon_service::{Supervision, answer, status};
use tonic::{Request, Streaming};

use super::tunnel;
use crate::app::{Consoles, Readers, Told, Tunnels, Typed, Watches};
use crate::model::phase::Command;
use crate::model::{Node, Vm};
use crate::{app, convert};

/// The service over `app`.
pub struct Vms {
    desk: Desk<Vm>,
    app: app::Vms,
    watches: Watches,
    consoles: Consoles,
    tunnels: Tunnels,
    readers: Readers,
}

impl Vms {
    /// Calls go through `access` to `app`.
    pub fn new(
        access: Access,
        app: app::Vms,
        watches: Watches,
        consoles: Consoles,
        tunnels: Tunnels,
    ) -> Self {
        Self {
            desk: Desk::new(access),
            app,
            watches,
            consoles,
            tunnels,
            readers: Readers::default(),
        }
    }

    fn access(&self) -> &Access {
        self.desk.access()
    }

    /// Only operators do `action`, which is about `host`; `resource` is for the record of a refusal.
    async fn only_operators(
        &self,
        caller: &Caller,
        action: &str,
        resource: &ResourceName,
        host: &str,
        reason: &str,
    ) -> Result<(), Error> {
        if caller.claims.org_id.is_none() {
            return Ok(());
        }
        let guard = self.access().guard();
        guard.record(caller, action, resource, reason).await;
        Err(Error::PermissionDenied {
            action: action.to_owned(),
            resource: Node::resource_name(host).to_string(),
            reason: reason.to_owned(),
        })
    }

    /// Whether the caller may give up the host of this VM.
    async fn may_abandon(&self, caller: &Caller, vm: &Vm) -> Result<(), Error> {
        let action = "compute:nodes:abandon";
        let host = Node::resource_name(&vm.node);
        let reason = "only operators give up a host: delete without `force`";
        self.only_operators(caller, action, &host, &vm.node, reason)
            .await?;
        let guard = self.access().guard();
        guard.authorize(caller, action, &host, &[]).await
    }

    /// The caller's right to this VM or to all of a scope, as long as a stream lasts.
    fn supervision(
        &self,
        caller: Caller,
        verb: &str,
        resource: ResourceName,
        vm: Option<&Vm>,
    ) -> Supervision {
        let attributes = vm.map(attributes_of).unwrap_or_default();
        let guard = self.access().guard();
        guard.supervise(caller, Vm::KIND.action(verb), resource, attributes)
    }
}

#[tonic::async_trait]
impl VmService for Vms {
    async fn create_vm(
        &self,
        request: Request<pb::CreateVmRequest>,
    ) -> Answer<pb::CreateVmResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.into_inner();
            let (name, labels, node) = (&request.name, &request.labels, &request.node);
            let further = [("node", node.as_str())];
            let within = (request.org_id.as_str(), request.project_id.as_str());
            let tenant = self
                .access()
                .create::<Vm>(&caller, within, name, labels, &further)
                .await?;
            let action = Vm::KIND.action("create");
            if !node.is_empty() {
                let all = Vm::KIND.any(tenant.scope());
                let reason = "only operators choose the host: leave it out";
                self.only_operators(&caller, &action, &all, node, reason)
                    .await?;
            }
            let mutation =
                self.access()
                    .mutation(&caller, &action, &request.request_id, &request)?;
            let new = convert::new_vm(tenant, request)?;
            let created = |vm: &Vm| pb::CreateVmResponse {
                vm: Some(convert::vm_to_wire(vm)),
            };
            let told = |response: &pb::CreateVmResponse| {
                let vm = response.vm.as_ref();
                vm.and_then(|vm| vm.id.parse().ok())
            };
            self.app.create(mutation, new, created, told).await
        })
        .await
    }

    async fn get_vm(&self, request: Request<pb::GetVmRequest>) -> Answer<pb::GetVmResponse> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.get_ref();
            let named = Named {
                id: &request.id,
                org_id: &request.org_id,
                project_id: &request.project_id,
            };
            let vm: Vm = self.access().reach(&caller, "get", named).await?;
            let shown = !vm.spec.user_data.is_empty()
                && self.readers.may_see(self.access(), &caller, &vm).await?;
            let vm = if shown {
                convert::vm_with_user_data(&vm)
            } else {
                convert::vm_to_wire(&vm)
            };
            Ok(pb::GetVmResponse { vm: Some(vm) })
        })
        .await
    }

    async fn list_vms(&self, request: Request<pb::ListVmsRequest>) -> Answer<pb::ListVmsResponse> {
        self.desk
            .list(
                request,
                |query, request| async move {
                    let filter = convert::vm_filter(request)?;
                    self.app.list(query, filter).await
                },
                |page| pb::ListVmsResponse {
                    vms: page.items.iter().map(convert::vm_to_wire).collect(),
                    next_page_token: page.next_page_token,
                    revision: page.revision,
                },
            )
            .await
    }

    async fn update_vm(
        &self,
        request: Request<pb::UpdateVmRequest>,
    ) -> Answer<pb::UpdateVmResponse> {
        self.desk
            .change(request, "update", |mutation, vm: Vm, request| async move {
                let changes = convert::vm_changes(request)?;
                let answer = |vm: &Vm| pb::UpdateVmResponse {
                    vm: Some(convert::vm_to_wire(vm)),
                };
                self.app.update(mutation, vm.id, changes, answer).await
            })
            .await
    }

    async fn attach_interface(
        &self,
        request: Request<pb::AttachInterfaceRequest>,
    ) -> Answer<pb::AttachInterfaceResponse> {
        self.desk
            .change(
                request,
                "attachInterface",
                |mutation, vm: Vm, request| async move {
                    let interface = convert::new_interface(&request)?;
                    let (port, expected) = (interface.port_id, request.expected_revision);
                    let given = request.interface.unwrap_or_default().port_id;
                    let answer = |vm: &Vm| pb::AttachInterfaceResponse {
                        vm: Some(convert::vm_to_wire(vm)),
                    };
                    let attached = self
                        .app
                        .attach_interface(mutation, vm.id, interface, expected, answer)
                        .await;
                    attached.map_err(|error| convert::port_as_given(error, port, &given))
                },
            )
            .await
    }

    async fn detach_interface(
        &self,
        request: Request<pb::DetachInterfaceRequest>,
    ) -> Answer<pb::DetachInterfaceResponse> {
        self.desk
            .change(
                request,
                "detachInterface",
                |mutation, vm: Vm, request| async move {
                    let port = convert::port_id("port_id", &request.port_id)?;
                    let expected = request.expected_revision;
                    let answer = |vm: &Vm| pb::DetachInterfaceResponse {
                        vm: Some(convert::vm_to_wire(vm)),
                    };
                    let detached = self
                        .app
                        .detach_interface(mutation, vm.id, port, expected, answer)
                        .await;
                    detached.map_err(|error| convert::port_as_given(error, port, &request.port_id))
                },
            )
            .await
    }

    async fn start_vm(&self, request: Request<pb::StartVmRequest>) -> Answer<pb::StartVmResponse> {
        self.desk
            .change(request, "start", |mutation, vm: Vm, _| {
                let answer = |vm: &Vm| pb::StartVmResponse {
                    vm: Some(convert::vm_to_wire(vm)),
                };
                self.app.command(mutation, vm.id, Command::Start, answer)
            })
            .await
    }

    async fn stop_vm(&self, request: Request<pb::StopVmRequest>) -> Answer<pb::StopVmResponse> {
        self.desk
            .change(request, "stop", |mutation, vm: Vm, request| async move {
                let stop = convert::stop(&request)?;
                let answer = |vm: &Vm| pb::StopVmResponse {
                    vm: Some(convert::vm_to_wire(vm)),
                };
                self.app.command(mutation, vm.id, stop, answer).await
            })
            .await
    }

    async fn reboot_vm(
        &self,
        request: Request<pb::RebootVmRequest>,
    ) -> Answer<pb::RebootVmResponse> {
        self.desk
            .change(request, "reboot", |mutation, vm: Vm, request| {
                let force = request.force;
                let answer = |vm: &Vm| pb::RebootVmResponse {
                    vm: Some(convert::vm_to_wire(vm)),
                };
                self.app
                    .command(mutation, vm.id, Command::Reboot { force }, answer)
            })
            .await
    }

    async fn delete_vm(
        &self,
        request: Request<pb::DeleteVmRequest>,
    ) -> Answer<pb::DeleteVmResponse> {
        self.desk
            .change(request, "delete", |mutation, vm: Vm, request| async move {
                let command = if request.force {
                    self.may_abandon(mutation.caller(), &vm).await?;
                    Command::Abandon
                } else {
                    Command::Delete
                };
                let answer = |vm: &Vm| pb::DeleteVmResponse {
                    vm: Some(convert::vm_to_wire(vm)),
                };
                self.app.command(mutation, vm.id, command, answer).await
            })
            .await
    }

    type ConsoleStream = WatchStream<pb::ConsoleResponse>;

    async fn console(
        &self,
        request: Request<Streaming<pb::ConsoleRequest>>,
    ) -> Answer<Self::ConsoleStream> {
        let caller = self.access().caller(&request).await.map_err(status)?;
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|first| first.message);
        let Some(Message::VmId(id)) = first else {
            let expected = "'vm_id' in the first message";
            return Err(status(Error::invalid("message", "", expected)));
        };
        answer(async {
            let named = Named::own(&id);
            let vm: Vm = self.access().reach(&caller, "console", named).await?;
            let action = Vm::KIND.action("console");
            let (guard, reason) = (self.access().guard(), "the console was opened");
            guard
                .record_access(&caller, &action, &vm.resource(), reason)
                .await?;
            let session = self.consoles.open(&vm, typed(input)).await?;
            let supervision = self.supervision(caller, "console", vm.resource(), Some(&vm));
            let output = try_unfold(
                (session, supervision),
                async |(mut session, mut supervision)| {
                    let output = tokio::select! {
                        output = session.next() => output.map_err(status)?,
                        error = supervision.lost() => return Err(status(error)),
                    };
                    let told = output.map(|output| pb::ConsoleResponse { output });
                    Ok(told.map(|told| (told, (session, supervision))))
                },
            );
            Ok(Box::pin(output) as Self::ConsoleStream)
        })
        .await
    }

    type TunnelStream = WatchStream<pb::TunnelResponse>;

    async fn tunnel(
        &self,
        request: Request<Streaming<pb::TunnelRequest>>,
    ) -> Answer<Self::TunnelStream> {
        let caller = self.access().caller(&request).await.map_err(status)?;
        let (input, id, port) = tunnel::first(request.into_inner()).await?;
        answer(async {
            let vm: Vm = self
                .access()
                .reach(&caller, "console", Named::own(&id))
                .await?;
            let action = Vm::KIND.action("console");
            let reason = format!("a tunnel to port {port} was opened");
            let guard = self.access().guard();
            guard
                .record_access(&caller, &action, &vm.resource(), &reason)
                .await?;
            let end = self.tunnels.open(&vm, port).await?;
            let supervision = self.supervision(caller, "console", vm.resource(), Some(&vm));
            Ok(tunnel::owners(end, input, supervision))
        })
        .await
    }

    type WatchVmStream = WatchStream<pb::WatchVmResponse>;

    async fn watch_vm(&self, request: Request<pb::WatchVmRequest>) -> Answer<Self::WatchVmStream> {
        answer(async {
            let caller = self.access().caller(&request).await?;
            let request = request.get_ref();
            let (org, project) = (&request.org_id, &request.project_id);
            let (watch, supervision) = if request.id.is_empty() {
                let scope = self
                    .access()
                    .all::<Vm>(&caller, "watch", org, project)
                    .await?;
                let all = Vm::KIND.any(scope.clone());
                let watch = self.watches.vms(scope, request.accepts_all_told).await?;
                (watch, self.supervision(caller, "watch", all, None))
            } else {
                // From before the look: what changes meanwhile is told twice rather than never.
                let revision = self.access().db().revision().await?;
                let named = Named {
                    id: &request.id,
                    org_id: org,
                    project_id: project,
                };
                let vm: Vm = self.access().reach(&caller, "watch", named).await?;
                let supervision = self.supervision(caller, "watch", vm.resource(), Some(&vm));
                (self.watches.vm(vm, revision).await?, supervision)
            };
            let told = try_unfold(
                (watch, supervision),
                async |(mut watch, mut supervision)| {
                    let told = tokio::select! {
                        told = watch.next() => told.map_err(status)?,
                        error = supervision.lost() => return Err(status(error)),
                    };
                    Ok(told.map(|told| (told_to_wire(told), (watch, supervision))))
                },
            );
            Ok(Box::pin(told) as Self::WatchVmStream)
        })
        .await
    }
}

fn told_to_wire(told: Told) -> pb::WatchVmResponse {
    match told {
        Told::AllTold => pb::WatchVmResponse::default(),
        Told::Now(vm) => pb::WatchVmResponse {
            vm: Some(convert::vm_to_wire(&vm)),
            deleted: false,
        },
        Told::Gone(gone) => pb::WatchVmResponse {
            vm: Some(pb::Vm {
                id: gone.id.to_string(),
                name: gone.name,
                org_id: gone.org_id.to_string(),
                project_id: gone.project_id.to_string(),
                phase: pb::VmPhase::Deleting.into(),
                ..Default::default()
            }),
            deleted: true,
        },
    }
}

/// The most that is typed in one message, in bytes: so many messages wait for a host that their size counts.
pub const MAX_INPUT: usize = 64 * 1024;

/// What an owner types after the first message.
fn typed(input: Streaming<pb::ConsoleRequest>) -> Typed {
    futures::stream::unfold(input, async |mut input| {
        let message = input.message().await.ok().flatten()?;
        let typed = match message.message {
            Some(Message::Input(input)) if input.len() > MAX_INPUT => {
                let value = format!("({} bytes)", input.len());
                Err(Error::invalid(
                    "input",
                    value,
                    "at most 65536 bytes in each message",
                ))
            }
            Some(Message::Input(input)) => Ok(input),
            _ => Err(Error::invalid(
                "message",
                "",
                "'input' in every message after the first",
            )),
        };
        Some((typed, input))
    })
    .boxed()
}
