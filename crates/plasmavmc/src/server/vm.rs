//! `plasmavmc.v1.VmService`.

use async_trait::async_trait;
use futures::stream::try_unfold;
use photon_api::plasmavmc::v1::console_request::Message;
use photon_api::plasmavmc::v1::vm_service_server::VmService;
use photon_api::plasmavmc::v1::{
    ConsoleRequest, ConsoleResponse, CreateVmRequest, CreateVmResponse, DeleteVmRequest,
    DeleteVmResponse, GetVmRequest, GetVmResponse, ListVmsRequest, ListVmsResponse,
    RebootVmRequest, RebootVmResponse, StartVmRequest, StartVmResponse, StopVmRequest,
    StopVmResponse, UpdateVmRequest, UpdateVmResponse, WatchVmRequest, WatchVmResponse,
};
use photon_resource::Error;
use photon_service::Guard;
use tonic::{Request, Response, Status, Streaming};

use super::Answers;
use crate::app::{Consoles, Vms, Watches};

pub struct VmServer {
    guard: Guard,
    vms: Vms,
    watches: Watches,
    consoles: Consoles,
}

impl VmServer {
    pub fn new(guard: Guard, vms: Vms, watches: Watches, consoles: Consoles) -> Self {
        Self {
            guard,
            vms,
            watches,
            consoles,
        }
    }
}

#[async_trait]
impl VmService for VmServer {
    type ConsoleStream = Answers<ConsoleResponse>;
    type WatchVmStream = Answers<WatchVmResponse>;

    async fn create_vm(
        &self,
        request: Request<CreateVmRequest>,
    ) -> Result<Response<CreateVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.create(&caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn get_vm(
        &self,
        request: Request<GetVmRequest>,
    ) -> Result<Response<GetVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let vm = self.vms.get(&caller, request.get_ref()).await?;
        Ok(Response::new(GetVmResponse { vm: Some(vm) }))
    }

    async fn list_vms(
        &self,
        request: Request<ListVmsRequest>,
    ) -> Result<Response<ListVmsResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let page = self.vms.list(&caller, request.get_ref()).await?;
        Ok(Response::new(ListVmsResponse {
            vms: page.items,
            next_page_token: page.next_page_token,
        }))
    }

    async fn update_vm(
        &self,
        request: Request<UpdateVmRequest>,
    ) -> Result<Response<UpdateVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.update(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn start_vm(
        &self,
        request: Request<StartVmRequest>,
    ) -> Result<Response<StartVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.start(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn stop_vm(
        &self,
        request: Request<StopVmRequest>,
    ) -> Result<Response<StopVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.stop(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn reboot_vm(
        &self,
        request: Request<RebootVmRequest>,
    ) -> Result<Response<RebootVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.reboot(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn delete_vm(
        &self,
        request: Request<DeleteVmRequest>,
    ) -> Result<Response<DeleteVmResponse>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let response = self.vms.delete(&caller, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn console(
        &self,
        request: Request<Streaming<ConsoleRequest>>,
    ) -> Result<Response<Self::ConsoleStream>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|first| first.message);
        let Some(Message::VmId(vm)) = first else {
            let expected = "'vm_id' in the first message";
            return Err(Error::invalid("message", "", expected).into());
        };
        let session = self.consoles.open(&caller, &vm, input).await?;
        let answers = try_unfold(session, async |mut session| {
            let output = session.next().await?;
            Ok(output.map(|output| (ConsoleResponse { output }, session)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn watch_vm(
        &self,
        request: Request<WatchVmRequest>,
    ) -> Result<Response<Self::WatchVmStream>, Status> {
        let caller = self.guard.authenticate(&request).await?;
        let watch = self.watches.vms(&caller, request.get_ref()).await?;
        let answers = try_unfold(watch, async |mut watch| {
            let told = watch.next().await?;
            Ok(told.map(|told| (told, watch)))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
