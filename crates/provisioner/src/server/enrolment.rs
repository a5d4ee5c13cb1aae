//! `provisioner.v1.EnrolmentService`: what hosts call, without a bearer token: known by a join token, or by the
//! certificate of their TLS connection.

use async_trait::async_trait;
use photon_api::provisioner::v1::enrolment_service_server::EnrolmentService;
use photon_api::provisioner::v1::{
    EnrolRequest, EnrolResponse, RenewRequest, RenewResponse, ReportReadyRequest,
    ReportReadyResponse,
};
use photon_catalog::Actor;
use photon_service::{Guard, answer};
use tonic::{Request, Response, Status};

use crate::app::{Enrolment, Peer};
use crate::convert;

pub struct EnrolmentServer {
    enrolment: Enrolment,
}

impl EnrolmentServer {
    pub fn new(enrolment: Enrolment) -> Self {
        Self { enrolment }
    }
}

fn actor<T>(request: &Request<T>) -> Actor {
    let (source, request_id) = Guard::origin(request);
    Actor {
        name: String::new(),
        source,
        request_id,
    }
}

fn peer<T>(request: &Request<T>) -> Peer {
    let certificates = request.peer_certs();
    let leaf = certificates.as_ref().and_then(|chain| chain.first());
    Peer(leaf.map(|der| der.to_vec()))
}

#[async_trait]
impl EnrolmentService for EnrolmentServer {
    async fn enrol(
        &self,
        request: Request<EnrolRequest>,
    ) -> Result<Response<EnrolResponse>, Status> {
        answer(async {
            let actor = actor(&request);
            let joining = convert::joining(request.into_inner());
            let granted = self.enrolment.enrol(&actor, &joining).await?;
            Ok(EnrolResponse {
                certificate_pem: granted.certificate_pem,
                ca_pem: granted.ca_pem,
                renew_at: Some(granted.renew_at.into()),
                expires_at: Some(granted.expires_at.into()),
            })
        })
        .await
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        answer(async {
            let peer = peer(&request);
            let granted = self
                .enrolment
                .renew(
                    &actor(&request),
                    &peer,
                    &request.get_ref().certificate_request_pem,
                )
                .await?;
            Ok(RenewResponse {
                certificate_pem: granted.certificate_pem,
                ca_pem: granted.ca_pem,
                renew_at: Some(granted.renew_at.into()),
                expires_at: Some(granted.expires_at.into()),
            })
        })
        .await
    }

    async fn report_ready(
        &self,
        request: Request<ReportReadyRequest>,
    ) -> Result<Response<ReportReadyResponse>, Status> {
        answer(async {
            let peer = peer(&request);
            let version = &request.get_ref().version;
            self.enrolment
                .ready(&actor(&request), &peer, version)
                .await?;
            Ok(ReportReadyResponse {})
        })
        .await
    }
}
