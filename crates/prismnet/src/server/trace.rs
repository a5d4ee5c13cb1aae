//! `TraceService`.

use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::trace_service_server::TraceService;
use photon_catalog::access::borrowed;
use photon_catalog::stored::attributes_of;
use photon_catalog::{Access, Answer, Named, Stored, load};
use photon_resource::Error;
use photon_service::answer;
use tonic::Request;

use crate::model::{Port, Vpc};
use crate::{app, convert};

/// The service over what hosts are to have.
pub struct Traces {
    access: Access,
    app: app::Nodes,
}

impl Traces {
    /// Calls go through `access` to `app`.
    pub fn new(access: Access, app: app::Nodes) -> Self {
        Self { access, app }
    }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn trace(&self, request: Request<pb::TraceRequest>) -> Answer<pb::TraceResponse> {
        answer(async {
            let caller = self.access.caller(&request).await?;
            let request = request.get_ref();
            let named = Named {
                id: &request.id,
                org_id: &request.org_id,
                project_id: &request.project_id,
            };
            let port: Port = self.access.reach(&caller, "get", named).await?;
            // What it tells is of the VPC.
            let vpc: Vpc = load(self.access.db(), &port.vpc_id)
                .await?
                .ok_or_else(|| Error::not_found(Port::KIND.noun, &request.id))?;
            let attributes = attributes_of(&vpc);
            let (action, resource) = (Vpc::KIND.action("get"), vpc.resource());
            let guard = self.access.guard();
            guard
                .authorize(&caller, &action, &resource, &borrowed(&attributes))
                .await?;
            let question = convert::question(request)?;
            let trace = self.app.trace(&port, question).await?;
            Ok(convert::trace(trace))
        })
        .await
    }
}
