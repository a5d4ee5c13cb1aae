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
            self.enrolment
                .enrol(&actor(&request), request.get_ref())
                .await
        })
        .await
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        answer(async {
            let peer = peer(&request);
            self.enrolment
                .renew(&actor(&request), &peer, request.get_ref())
                .await
        })
        .await
    }

    async fn report_ready(
        &self,
        request: Request<ReportReadyRequest>,
    ) -> Result<Response<ReportReadyResponse>, Status> {
        answer(async {
            let peer = peer(&request);
            self.enrolment
                .ready(&actor(&request), &peer, request.get_ref())
                .await
        })
        .await
    }
}
