//! Errors for programs: what a client reads of them beside the text.

use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_service::DOMAIN;
use tonic::Code;
use tonic_types::StatusExt;

use crate::desk::{Desk, Policy, bearing, events_client};

#[tokio::test]
async fn a_client_reads_which_field_and_value_were_wrong() {
    let desk = Desk::new();
    let running = desk.run().await;
    let request = ListEventsRequest {
        page_token: "no token".into(),
        ..Default::default()
    };
    let mut client = events_client(&running).await;
    let refused = client.list_events(bearing("acme", request)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, DOMAIN);
    assert_eq!(info.reason, "INVALID_ARGUMENT");
    assert_eq!(info.metadata["field"], "page_token");
    assert_eq!(info.metadata["value"], "no token");
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, "page_token");
    assert!(
        refused.message().ends_with(&violation.description),
        "{violation:?}: {refused}"
    );
}

#[tokio::test]
async fn a_client_reads_which_right_it_lacks() {
    let desk = Desk::new();
    desk.policy(Policy::Deny("no role permits it"));
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    let request = bearing("acme", VerifyChainRequest::default());
    let refused = client.verify_chain(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.reason, "PERMISSION_DENIED");
    assert_eq!(info.metadata["action"], "audit:events:verify");
    assert_eq!(info.metadata["resource"], "org/acme/events/*");
}
