//! PrismNET, as a caller's zones refer to its VPCs.

use std::collections::BTreeSet;
use std::time::Duration;

use photon_api::prismnet::v1::GetVpcRequest;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_program::on_behalf;
use photon_resource::{Caller, Error, OrgId, ProjectId, VpcId};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::model::validate_vpc_count;

/// How long PrismNET may take to answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks PrismNET about VPCs. Clones share the connection.
#[derive(Clone)]
pub struct Network {
    client: VpcServiceClient<Channel>,
}

impl Network {
    /// PrismNET behind this channel.
    pub fn new(channel: Channel) -> Self {
        Self {
            client: VpcServiceClient::new(channel),
        }
    }

    /// The VPCs of a project with these ids or names, that the caller may see: PrismNET is asked with the caller's token. One
    /// of another project looks absent.
    ///
    /// Errors: `NotFound`, `InvalidArgument` (more than a zone may have), `PermissionDenied`, `Unavailable`.
    pub async fn vpcs(
        &self,
        caller: &Caller,
        (org, project): (&OrgId, &ProjectId),
        given: &[String],
    ) -> Result<BTreeSet<VpcId>, Error> {
        validate_vpc_count(given.len())?;
        let mut found = BTreeSet::new();
        for vpc in given {
            let message = GetVpcRequest {
                id: vpc.clone(),
                org_id: org.to_string(),
                project_id: project.to_string(),
            };
            let mut request = on_behalf(message, caller)?;
            request.set_timeout(DEADLINE);
            let answer = self.client.clone().get_vpc(request).await;
            let answer = answer.map_err(|status| explain(vpc, &status))?;
            let seen = answer.into_inner().vpc.unwrap_or_default();
            if seen.org_id != org.as_str() || seen.project_id != project.as_str() {
                return Err(Error::not_found(VpcId::KIND, vpc));
            }
            found.insert(seen.id.parse()?);
        }
        Ok(found)
    }
}

/// PrismNET's refusal in the words of this server's callers.
fn explain(vpc: &str, status: &Status) -> Error {
    match status.code() {
        Code::NotFound => Error::not_found(VpcId::KIND, vpc),
        Code::PermissionDenied => Error::PermissionDenied {
            action: "network:vpcs:get".to_owned(),
            resource: format!("VPC {vpc}"),
            reason: status.message().to_owned(),
        },
        Code::Unauthenticated => Error::Unauthenticated(status.message().to_owned()),
        Code::InvalidArgument => Error::invalid("vpc_ids", vpc, "ids or names of VPCs"),
        _ => Error::Unavailable(format!(
            "PrismNET can't be reached about VPC {vpc} ({}): try again",
            status.message()
        )),
    }
}
