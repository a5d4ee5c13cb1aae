//! Ports that are made with a VM, and go with it. They are made with the caller's token, so that PrismNET decides what the
//! caller may make, and where; they are removed by this server itself, which finishes what a caller has begun.

use photon_api::prismnet::v1 as pb;
use photon_program::on_behalf;
use photon_resource::{Caller, Error, OrgId, PortId, ProjectId};
use tonic::Code;

use super::refusal::{Fields, refusal};
use super::{Ports, with_deadline};

/// What the subnet of a project's default network is called.
const DEFAULT_SUBNET: &str = "default";

/// A port that is to be made.
#[derive(Clone, Debug)]
pub struct PortRequest<'a> {
    pub org_id: &'a OrgId,
    pub project_id: &'a ProjectId,
    pub name: String,
    pub description: String,
    /// Id or name.
    pub subnet: String,
    /// Ids or names; empty: the project's default group.
    pub security_groups: Vec<String>,
}

impl Ports {
    /// The subnet (id) of the project's default network, which is made if there is none.
    ///
    /// Errors: PrismNET's.
    pub async fn default_subnet(
        &self,
        caller: &Caller,
        (org_id, project_id): (&OrgId, &ProjectId),
    ) -> Result<String, Error> {
        let get = pb::GetSubnetRequest {
            id: DEFAULT_SUBNET.to_owned(),
            org_id: org_id.to_string(),
            project_id: project_id.to_string(),
        };
        let request = with_deadline(on_behalf(get, caller)?);
        let subnet = match self.subnets.clone().get_subnet(request).await {
            Ok(answer) => answer.into_inner().subnet,
            // Who may not see one is told so by the next call, unless it may all the same make one.
            Err(status) if [Code::NotFound, Code::PermissionDenied].contains(&status.code()) => {
                let ensure = pb::EnsureDefaultSubnetRequest {
                    org_id: org_id.to_string(),
                    project_id: project_id.to_string(),
                    ..Default::default()
                };
                let request = with_deadline(on_behalf(ensure, caller)?);
                let made = self.subnets.clone().ensure_default_subnet(request).await;
                let made = made.map_err(|status| refusal(&status, &Fields::new("spec.network")))?;
                made.into_inner().subnet
            }
            Err(status) => return Err(refusal(&status, &Fields::new("spec.network"))),
        };
        let subnet = subnet
            .ok_or_else(|| Error::internal("PrismNET answered without the default subnet"))?;
        Ok(subnet.id)
    }

    /// Makes a port, for the interface that is `field` in the caller's request.
    ///
    /// Errors: PrismNET's, about fields of that interface.
    pub async fn create(
        &self,
        caller: &Caller,
        field: &str,
        wanted: PortRequest<'_>,
    ) -> Result<PortId, Error> {
        let message = pb::CreatePortRequest {
            org_id: wanted.org_id.to_string(),
            project_id: wanted.project_id.to_string(),
            subnet_id: wanted.subnet,
            name: wanted.name,
            description: wanted.description,
            security_group_ids: wanted.security_groups,
            ..Default::default()
        };
        let request = with_deadline(on_behalf(message, caller)?);
        let made = self.client.clone().create_port(request).await;
        let made = made.map_err(|status| refusal(&status, &Fields::new(field)))?;
        let port = made.into_inner().port;
        let port = port.ok_or_else(|| Error::internal("PrismNET answered without a new port"))?;
        port.id.parse()
    }

    /// The port of this name, if there is one that is attached to nothing.
    ///
    /// Errors: `Unavailable`, `Unauthenticated`.
    pub async fn find_free(
        &self,
        (org_id, project_id): (&OrgId, &ProjectId),
        name: &str,
    ) -> Result<Option<PortId>, Error> {
        let message = pb::GetPortRequest {
            id: name.to_owned(),
            org_id: org_id.to_string(),
            project_id: project_id.to_string(),
        };
        let request = self.own(message).await?;
        match self.client.clone().get_port(request).await {
            Ok(answer) => {
                let port = answer.into_inner().port;
                let free = port.filter(|port| port.device_id.is_empty());
                free.map(|port| port.id.parse()).transpose()
            }
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(self.failed(name, &status).await),
        }
    }

    /// Removes a port that was made with a VM. Nothing happens if it is gone, or another device than that VM has it.
    ///
    /// Errors: `Unavailable`, `Unauthenticated`.
    pub async fn delete(&self, port: PortId) -> Result<(), Error> {
        let message = pb::DeletePortRequest {
            id: port.to_string(),
            ..Default::default()
        };
        let request = self.own(message).await?;
        match self.client.clone().delete_port(request).await {
            Ok(_) => Ok(()),
            Err(status) if [Code::NotFound, Code::FailedPrecondition].contains(&status.code()) => {
                Ok(())
            }
            Err(status) => Err(self.failed(port, &status).await),
        }
    }
}
