//! Where the cloud's APIs are, for clients that know IAM alone.

use std::sync::Arc;

use photon_api::iam::v1::directory_service_server::DirectoryService;
use photon_api::iam::v1::{ComponentEndpoint, ListEndpointsRequest, ListEndpointsResponse};
use tonic::{Request, Response, Status};

use crate::Settings;

/// Answers what the operators published.
#[derive(Clone)]
pub struct Directory(Arc<[ComponentEndpoint]>);

impl Directory {
    /// Of the endpoints that `settings` name.
    pub fn new(settings: &Settings) -> Self {
        let endpoints = settings.public_endpoints.iter();
        let endpoints = endpoints.map(|(component, url)| ComponentEndpoint {
            component: component.clone(),
            url: url.clone(),
        });
        Self(endpoints.collect())
    }
}

#[tonic::async_trait]
impl DirectoryService for Directory {
    async fn list_endpoints(
        &self,
        _: Request<ListEndpointsRequest>,
    ) -> Result<Response<ListEndpointsResponse>, Status> {
        Ok(Response::new(ListEndpointsResponse {
            endpoints: self.0.to_vec(),
        }))
    }
}
