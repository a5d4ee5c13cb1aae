//! PrismNET as this server uses it.

mod new_port;
mod refusal;

pub use new_port::PortRequest;

use std::fmt::Display;
use std::time::Duration;

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_program::{Identity, on_behalf};
use photon_resource::{Caller, Error, PortId, VmId};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::model::Addressing;

/// How long PrismNET may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks PrismNET about ports. Clones share the connection.
#[derive(Clone)]
pub struct Ports {
    client: PortServiceClient<Channel>,
    subnets: SubnetServiceClient<Channel>,
    identity: Identity,
    guest_mtu: u32,
}

/// A port as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub org_id: String,
    pub project_id: String,
    /// What it is attached to; empty: nothing.
    pub device_id: String,
}

/// What a host needs of a port that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    pub mac_address: String,
    /// Name of the TAP on the host.
    pub interface_name: String,
    /// `None`: a PrismNET of the release before does not say.
    pub addressing: Option<Addressing>,
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
    /// `identity` is this server's own. Guests send packets of `guest_mtu` bytes.
    pub fn new(channel: Channel, identity: Identity, guest_mtu: u32) -> Self {
        Self {
            client: PortServiceClient::new(channel.clone()),
            subnets: SubnetServiceClient::new(channel),
            identity,
            guest_mtu,
        }
    }

    /// A port that the caller may use, which takes the right to change it. PrismNET is asked with the caller's token for a
    /// change of nothing: it alone knows what roles' conditions can read of a port.
    ///
    /// Errors: `NotFound`, `PermissionDenied`, `Unauthenticated`, `Unavailable`.
    pub async fn to_use(&self, caller: &Caller, id: PortId) -> Result<Seen, Error> {
        let message = pb::UpdatePortRequest {
            id: id.to_string(),
            ..Default::default()
        };
        let request = with_deadline(on_behalf(message, caller)?);
        let answer = self.client.clone().update_port(request).await;
        let answer = answer.map_err(|status| explain(id, &status))?;
        let port = answer.into_inner().port.ok_or_else(|| without(id))?;
        Ok(Seen {
            org_id: port.org_id,
            project_id: port.project_id,
            device_id: port.device_id,
        })
    }

    /// Gives the port to the VM on its host. A second time changes nothing.
    pub async fn attach(
        &self,
        port: PortId,
        vm: VmId,
        node: &str,
    ) -> Result<Attached, NotAttached> {
        let message = pb::AttachPortRequest {
            id: port.to_string(),
            device_id: vm.to_string(),
            device_type: pb::DeviceType::Vm.into(),
            node: node.to_owned(),
            mtu: self.guest_mtu,
            request_id: String::new(),
        };
        let request = self.own(message).await.map_err(NotAttached::Failed)?;
        match self.client.clone().attach_port(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                let port = answer
                    .port
                    .ok_or_else(|| NotAttached::Failed(without(port)))?;
                Ok(Attached {
                    mac_address: port.mac_address,
                    interface_name: port.interface_name,
                    addressing: answer.addressing.map(|addressing| Addressing {
                        address: addressing.address,
                        gateway: addressing.gateway,
                        dhcp: addressing.dhcp_enabled,
                        dns_servers: addressing.dns_servers,
                        ipv6_address: addressing.ipv6_address,
                        ipv6_gateway: addressing.ipv6_gateway,
                        mtu: self.guest_mtu.min(addressing.mtu),
                    }),
                })
            }
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
        let message = pb::DetachPortRequest {
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

    async fn failed(&self, port: impl Display, status: &Status) -> Error {
        if status.code() == Code::Unauthenticated {
            // Revoked, or IAM's keys were rotated: the next attempt gets a new token.
            self.identity.forget().await;
        }
        explain(port, status)
    }
}

fn without(port: PortId) -> Error {
    Error::internal(format!("PrismNET answered without the port {port}"))
}

fn with_deadline<T>(mut request: Request<T>) -> Request<T> {
    request.set_timeout(DEADLINE);
    request
}

/// PrismNET's refusal in the words of this server's callers.
fn explain(port: impl Display, status: &Status) -> Error {
    match status.code() {
        Code::NotFound => Error::not_found(PortId::KIND, port),
        Code::PermissionDenied => Error::PermissionDenied {
            action: "network:ports:update".to_owned(),
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
