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
use photon_catalog::Access;
use photon_service::{answer, status};
use tonic::{Request, Response, Status};

use crate::app::{Installations, MachineWatch, Machines};
use crate::convert::machine_to_wire;

pub struct MachineServer {
    access: Access,
    machines: Machines,
    files: Installations,
}

impl MachineServer {
    pub fn new(access: Access, machines: Machines, files: Installations) -> Self {
        Self {
            access,
            machines,
            files,
        }
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
            let page = self.machines.list(&caller, request.get_ref()).await?;
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
            self.machines.approve(&caller, request.get_ref()).await
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
            self.machines.reinstall(&caller, request.get_ref()).await
        })
        .await
    }

    async fn retire_machine(
        &self,
        request: Request<RetireMachineRequest>,
    ) -> Result<Response<RetireMachineResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            self.machines.retire(&caller, request.get_ref()).await
        })
        .await
    }

    async fn issue_join_token(
        &self,
        request: Request<IssueJoinTokenRequest>,
    ) -> Result<Response<IssueJoinTokenResponse>, Status> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            self.machines
                .issue_join_token(&caller, request.get_ref())
                .await
        })
        .await
    }
}
