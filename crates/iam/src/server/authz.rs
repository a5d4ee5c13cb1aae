//! `IamAuthzService`: decisions for other services.

use photon_api::iam::v1::iam_authz_service_server::IamAuthzService;
use photon_api::iam::v1::{AuthorizeRequest, AuthorizeResponse};
use photon_resource::{Action, Error, ResourceName, Scope};
use photon_service::answer;
use tonic::{Request, Response, Status};

use super::Server;
use crate::app::{authorization, token};

#[tonic::async_trait]
impl IamAuthzService for Server {
    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Status> {
        answer(async {
            let (caller, request) = self.open(request).await?;
            if request.token != caller.token {
                let all = token::asking();
                self.guard
                    .authorize(&caller, "iam:tokens:authorize", &all, &[])
                    .await?;
            }
            let action: Action = request.action.parse()?;
            let resource = resource(&request.resource)?;
            let attributes = request.attributes.into_iter().collect();
            let asked =
                authorization::decide(&self.core, &request.token, &action, &resource, &attributes);
            let outcome = asked.await?;
            Ok(AuthorizeResponse {
                allowed: outcome.allowed,
                reason: outcome.reason,
                binding_ids: outcome.bindings.iter().map(ToString::to_string).collect(),
                outside_tenant: outcome.outside_tenant,
            })
        })
        .await
    }
}

/// A resource's name, or a scope's, which means the organization or project itself.
fn resource(text: &str) -> Result<ResourceName, Error> {
    let error = match text.parse::<ResourceName>() {
        Ok(name) => return Ok(name),
        Err(error) => error,
    };
    match text.parse::<Scope>() {
        Ok(scope @ Scope::Project(..)) => {
            let id = scope.project().map(ToString::to_string).unwrap_or_default();
            Ok(ResourceName::new(scope, "projects", id))
        }
        Ok(scope @ Scope::Org(_)) => {
            let id = scope.org().map(ToString::to_string).unwrap_or_default();
            Ok(ResourceName::new(scope, "organizations", id))
        }
        _ => Err(error),
    }
}
