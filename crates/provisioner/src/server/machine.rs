//! `provisioner.v1.MachineService`: machines, for operators.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;
use futures::stream::try_unfold;
use photon_api::provisioner::v1::machine_service_server::MachineService;
use photon_api::provisioner::v1::{
    ApproveMachineRequest, ApproveMachineResponse, GetMachineRequest, GetMachineResponse,
    IssueJoinTokenRequest, IssueJoinTokenResponse, ListMachinesRequest, ListMachinesResponse,
    ReinstallMachineRequest, ReinstallMachineResponse, RetireMachineRequest, RetireMachineResponse,
    WatchMachineRequest, WatchMachineResponse,
};
use photon_catalog::{Access, Follower};
use photon_resource::{Caller, Error, PageRequest, Scope};
use photon_service::{Mutation, answer, status};
use tonic::{Request, Response, Status};

use crate::app::{Confirmation, Installations, MachineWatch, Machines, Wish};
use crate::convert::{self, machine_to_wire};
use crate::model::{MACHINES, Machine};
use crate::store::Token;

pub struct MachineServer {
    access: Access,
    follower: Follower<Machine>,
    machines: Machines,
    files: Installations,
}

impl MachineServer {
    pub fn new(access: Access, machines: Machines, files: Installations) -> Self {
        Self {
            follower: Follower::new(access.db().clone()),
            access,
            machines,
            files,
        }
    }

    /// Begins a change by an authorized caller.
    fn mutation<T: prost::Message>(
        &self,
        caller: &Caller,
        verb: &str,
        request_id: &str,
        request: &T,
    ) -> Result<Mutation, Error> {
        let action = MACHINES.action(verb);
        self.access.mutation(caller, &action, request_id, request)
    }
}

#[async_trait]
impl MachineService for MachineServer {
    type WatchMachineStream =
        Pin<Box<dyn Stream<Item = Result<WatchMachineResponse, Status>> + Send>>;

    async fn list_machines(
        &self,
        request: Request<ListMachinesRequest>,
    ) -> Result<Response<ListMachinesResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let all = MACHINES.any(Scope::System);
            self.access
                .guard()
                .authorize(&caller, &MACHINES.action("list"), &all, &[])
                .await?;
            let state = convert::state_from_wire(request.state)?;
            let page = PageRequest::parse(request.page_size, &request.page_token)?;
            let page = self.machines.list(&page, state).await?;
            Ok(ListMachinesResponse {
                machines: page.items.iter().map(machine_to_wire).collect(),
                next_page_token: page.next_page_token,
                revision: page.revision,
            })
        })
        .await
    }

    async fn get_machine(
        &self,
        request: Request<GetMachineRequest>,
    ) -> Result<Response<GetMachineResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let id = &request.get_ref().id;
            let machine = self.machines.find(&caller, "get", id).await?;
            Ok(GetMachineResponse {
                machine: Some(machine_to_wire(&machine)),
            })
        })
        .await
    }

    async fn approve_machine(
        &self,
        request: Request<ApproveMachineRequest>,
    ) -> Result<Response<ApproveMachineResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let id = self
                .machines
                .find(&caller, "approve", &request.id)
                .await?
                .id;
            let wish = Wish::Approve(convert::approval(request)?);
            let mutation = self.mutation(&caller, "approve", &request.request_id, request)?;
            let answer = |machine: &Machine| ApproveMachineResponse {
                machine: Some(machine_to_wire(machine)),
            };
            let expected = request.expected_revision;
            self.machines
                .change(mutation, id, expected, wish, answer)
                .await
        })
        .await
    }

    async fn watch_machine(
        &self,
        request: Request<WatchMachineRequest>,
    ) -> Result<Response<Self::WatchMachineStream>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let watch = MachineWatch::start(
                &self.access,
                &self.follower,
                &self.machines,
                self.files.clone(),
                caller,
                &request.get_ref().id,
            )
            .await?;
            let answers = try_unfold(watch, async |mut watch| {
                let told = watch.next().await.map_err(status)?;
                let response = WatchMachineResponse {
                    machine: told.machine.as_ref().map(machine_to_wire),
                    log: told.log,
                    log_restarted: told.log_restarted,
                };
                Ok(Some((response, watch)))
            });
            Ok(Box::pin(answers) as Self::WatchMachineStream)
        })
        .await
    }

    async fn reinstall_machine(
        &self,
        request: Request<ReinstallMachineRequest>,
    ) -> Result<Response<ReinstallMachineResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let id = self
                .machines
                .find(&caller, "reinstall", &request.id)
                .await?
                .id;
            let mutation = self.mutation(&caller, "reinstall", &request.request_id, request)?;
            let wish = Wish::Reinstall(Confirmation {
                typed: request.confirm_name.clone(),
                force: request.force,
            });
            let answer = |machine: &Machine| ReinstallMachineResponse {
                machine: Some(machine_to_wire(machine)),
            };
            let expected = request.expected_revision;
            self.machines
                .change(mutation, id, expected, wish, answer)
                .await
        })
        .await
    }

    async fn retire_machine(
        &self,
        request: Request<RetireMachineRequest>,
    ) -> Result<Response<RetireMachineResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let id = self.machines.find(&caller, "retire", &request.id).await?.id;
            let mutation = self.mutation(&caller, "retire", &request.request_id, request)?;
            let wish = Wish::Retire(Confirmation {
                typed: request.confirm_name.clone(),
                force: request.force,
            });
            let answer = |machine: &Machine| RetireMachineResponse {
                machine: Some(machine_to_wire(machine)),
            };
            let expected = request.expected_revision;
            self.machines
                .change(mutation, id, expected, wish, answer)
                .await
        })
        .await
    }

    async fn issue_join_token(
        &self,
        request: Request<IssueJoinTokenRequest>,
    ) -> Result<Response<IssueJoinTokenResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let machine = self.machines.find(&caller, "issueToken", &request.machine);
            let id = machine.await?.id;
            let mutation = self.mutation(&caller, "issueToken", &request.request_id, request)?;
            let answer = |kept: &Token, token| IssueJoinTokenResponse {
                token,
                expires_at: Some(kept.expires_at.into()),
            };
            self.machines
                .issue_join_token(mutation, id, &request.confirm_name, answer)
                .await
        })
        .await
    }
}
