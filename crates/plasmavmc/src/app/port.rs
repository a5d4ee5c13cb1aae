//! PrismNET as this server uses it.

use std::time::Duration;

use photon_api::prismnet::v1;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_program::{Identity, on_behalf};
use photon_resource::{Caller, Error, PortId, VmId};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// How long PrismNET may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks PrismNET about ports. Clones share the connection.
#[derive(Clone)]
pub struct Ports {
    client: PortServiceClient<Channel>,
    identity: Identity,
}

/// Why a port was not attached.
#[derive(Debug)]
pub enum NotAttached {
    /// It never will be: it is gone, or another device has it. The text is for the VM's owner.
    Refused(String),
    /// Trying again may help.
    Failed(Error),
}

impl Ports {
    /// `identity` is this server's own.
    pub fn new(channel: Channel, identity: Identity) -> Self {
        Self {
            client: PortServiceClient::new(channel),
            identity,
        }
    }

    /// The port as its caller sees it: with the caller's token, so that PrismNET decides what may be seen.
    ///
    /// Errors: `NotFound`, `PermissionDenied`, `Unauthenticated`, `Unavailable`.
    pub async fn get(&self, caller: &Caller, id: PortId) -> Result<v1::Port, Error> {
        let message = v1::GetPortRequest {
            id: id.to_string(),
            ..Default::default()
        };
        let request = with_deadline(on_behalf(message, caller)?);
        let answer = self.client.clone().get_port(request).await;
        let answer = answer.map_err(|status| explain(id, &status))?;
        answer
            .into_inner()
            .port
            .ok_or_else(|| Error::internal(format!("PrismNET answered without the port {id}")))
    }

    /// Gives the port to the VM on its host. A second time changes nothing.
    pub async fn attach(
        &self,
        port: PortId,
        vm: VmId,
        node: &str,
    ) -> Result<v1::Port, NotAttached> {
        let message = v1::AttachPortRequest {
            id: port.to_string(),
            device_id: vm.to_string(),
            device_type: v1::DeviceType::Vm.into(),
            node: node.to_owned(),
            request_id: String::new(),
        };
        let request = self.own(message).await.map_err(NotAttached::Failed)?;
        match self.client.clone().attach_port(request).await {
            Ok(answer) => answer.into_inner().port.ok_or_else(|| {
                let missing = format!("PrismNET answered without the port {port}");
                NotAttached::Failed(Error::internal(missing))
            }),
            Err(status) if status.code() == Code::FailedPrecondition => Err(NotAttached::Refused(
                format!("port {port} can't be attached: {}", status.message()),
            )),
            Err(status) if status.code() == Code::NotFound => Err(NotAttached::Refused(format!(
                "port {port} can't be attached: it has been deleted"
            ))),
            Err(status) => Err(NotAttached::Failed(self.failed(port, &status).await)),
        }
    }

    /// Takes the port from the VM. Nothing happens if the VM has it no more.
    pub async fn detach(&self, port: PortId, vm: VmId) -> Result<(), Error> {
        let message = v1::DetachPortRequest {
            id: port.to_string(),
            device_id: vm.to_string(),
            request_id: String::new(),
        };
        let request = self.own(message).await?;
        match self.client.clone().detach_port(request).await {
            Ok(_) => Ok(()),
            // Deleted, or another device has it by now: this VM has not.
            Err(status) if [Code::NotFound, Code::FailedPrecondition].contains(&status.code()) => {
                Ok(())
            }
            Err(status) => Err(self.failed(port, &status).await),
        }
    }

    async fn own<T>(&self, message: T) -> Result<Request<T>, Error> {
        Ok(with_deadline(self.identity.request(message, "").await?))
    }

    async fn failed(&self, port: PortId, status: &Status) -> Error {
        if status.code() == Code::Unauthenticated {
            // Revoked, or IAM's keys were rotated: the next attempt gets a new token.
            self.identity.forget().await;
        }
        explain(port, status)
    }
}

fn with_deadline<T>(mut request: Request<T>) -> Request<T> {
    request.set_timeout(DEADLINE);
    request
}

/// PrismNET's refusal in the words of this server's callers.
fn explain(port: PortId, status: &Status) -> Error {
    match status.code() {
        Code::NotFound => Error::not_found(PortId::KIND, port),
        Code::PermissionDenied => Error::PermissionDenied {
            action: "network:ports:get".to_owned(),
            resource: format!("port {port}"),
            reason: status.message().to_owned(),
        },
        Code::Unauthenticated => Error::Unauthenticated(status.message().to_owned()),
        Code::ResourceExhausted => Error::ResourceExhausted(status.message().to_owned()),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Error::internal(format!("PrismNET, about port {port}: {status}"))
        }
        _ => Error::Unavailable(format!(
            "PrismNET can't be reached about port {port} ({}): try again",
            status.message()
        )),
    }
}
