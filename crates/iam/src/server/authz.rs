//! `IamAuthzService`: decisions for other services.

use photon_api::iam::v1::iam_authz_service_server::IamAuthzService;
use photon_api::iam::v1::{
    AuthorizeEachRequest, AuthorizeEachResponse, AuthorizeRequest, AuthorizeResponse,
};
use photon_resource::{Action, Caller, Described, Error, Extent, ResourceName, Scope};
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
            self.asks(&caller, &request.token).await?;
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
                on_each: outcome.extent == Extent::Each,
                on_some: outcome.extent == Extent::Some,
                absent: outcome.absent,
            })
        })
        .await
    }

    async fn authorize_each(
        &self,
        request: Request<AuthorizeEachRequest>,
    ) -> Result<Response<AuthorizeEachResponse>, Status> {
        answer(async {
            let (caller, request) = self.open(request).await?;
            self.asks(&caller, &request.token).await?;
            let count = request.resources.len();
            if count > MOST {
                return Err(Error::invalid(
                    "resources",
                    count,
                    format!("at most {MOST}"),
                ));
            }
            let action: Action = request.action.parse()?;
            let resources = request.resources.into_iter().map(|it| {
                Ok(Described {
                    name: resource(&it.resource)?,
                    attributes: it.attributes,
                })
            });
            let resources: Vec<_> = resources.collect::<Result<_, Error>>()?;
            let (token, ongoing) = (&request.token, request.ongoing);
            let asked = authorization::decide_each(&self.core, token, &action, &resources, ongoing);
            Ok(AuthorizeEachResponse {
                allowed: asked.await?,
            })
        })
        .await
    }
}

/// How many resources may be asked about at once: a page of a list.
const MOST: usize = 1000;

impl Server {
    /// Everybody asks about their own token; about others', who may.
    async fn asks(&self, caller: &Caller, token: &str) -> Result<(), Error> {
        if token == caller.token {
            return Ok(());
        }
        let all = token::asking();
        self.guard
            .authorize(caller, "iam:tokens:authorize", &all, &[])
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
