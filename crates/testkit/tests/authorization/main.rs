//! Who may call what: every RPC of every server, found by reflection, with every token that must not get in.

mod iam;
mod plasmavmc;
mod prismnet;

use std::time::Duration;

use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{IssueTokenRequest, RevokeTokenRequest, WhoAmIRequest};
use photon_testkit::walk::{BadTokens, Case, Refused, rest_of_life};
use photon_testkit::{Session, TestCloud};
use prost::Message;
use tonic::Code;

/// What is named by its id, so that for another tenant it must look absent.
const HIDDEN: &[Code] = &[Code::NotFound];
/// What is asked of a tenant that the request itself names.
const NAMED: &[Code] = &[Code::PermissionDenied];
/// What is the cloud's own: a tenant learns at most that it may not.
const SYSTEM: &[Code] = &[Code::PermissionDenied, Code::NotFound];

fn another_tenant(cloud: &TestCloud, codes: &'static [Code]) -> Refused {
    Refused {
        who: "another tenant's administrator",
        session: cloud.globex.admin.clone(),
        codes,
    }
}

fn denied(who: &'static str, session: &Session) -> Refused {
    Refused {
        who,
        session: session.clone(),
        codes: NAMED,
    }
}

/// A call that reads things of `acme`.
fn reads(
    cloud: &TestCloud,
    method: &'static str,
    others: &'static [Code],
    request: impl Message,
) -> Case {
    let refused = vec![
        another_tenant(cloud, others),
        denied("one of the tenant without a role", &cloud.acme.nobody),
    ];
    Case::guarded(method, &request, &cloud.acme.admin, refused)
}

/// A call that changes things of `acme`.
fn changes(
    cloud: &TestCloud,
    method: &'static str,
    others: &'static [Code],
    request: impl Message,
) -> Case {
    let refused = vec![
        another_tenant(cloud, others),
        denied("one of the tenant without a role", &cloud.acme.nobody),
        denied("one of the tenant who may only look", &cloud.acme.viewer),
    ];
    Case::guarded(method, &request, &cloud.acme.admin, refused)
}

/// A call for the cloud's own.
fn system(
    cloud: &TestCloud,
    method: &'static str,
    allowed: &Session,
    request: impl Message,
) -> Case {
    let refused = vec![
        Refused {
            who: "a tenant's administrator",
            session: cloud.acme.admin.clone(),
            codes: SYSTEM,
        },
        denied("one of the system without a role", &cloud.stranger),
    ];
    Case::guarded(method, &request, allowed, refused)
}

/// The event log, which every server has.
fn events(cloud: &TestCloud) -> [Case; 2] {
    let org_id = || cloud.acme.org.clone();
    [
        reads(
            cloud,
            "chainfire.v1.EventService/ListEvents",
            NAMED,
            ListEventsRequest {
                org_id: org_id(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "chainfire.v1.EventService/VerifyChain",
            NAMED,
            VerifyChainRequest {
                org_id: org_id(),
                ..Default::default()
            },
        ),
    ]
}

/// Tokens of the operator's that are good for nothing.
async fn bad_tokens(cloud: &TestCloud) -> BadTokens {
    let mut iam = IamTokenServiceClient::new(cloud.iam.channel());
    let operator = &cloud.operator;
    // The operator may impersonate itself, which needs no second password.
    let mut issue = async |ttl_seconds: u32| {
        let request = IssueTokenRequest {
            principal_id: operator.principal_id.clone(),
            ttl_seconds,
            ..Default::default()
        };
        let issued = iam.issue_token(operator.request(request)).await.unwrap();
        issued.into_inner().token
    };
    let expired = issue(1).await;
    let revoked = issue(900).await;
    let session = |token: &str| Session {
        principal_id: operator.principal_id.clone(),
        token: token.to_owned(),
    };
    iam.revoke_token(session(&revoked).request(RevokeTokenRequest::default()))
        .await
        .unwrap();
    // Clocks of other hosts may be behind, so that a token lives a few seconds longer.
    let leeway = Duration::from_secs(photon_service::claims::LEEWAY_SECONDS + 1);
    tokio::time::sleep(rest_of_life(&expired) + leeway).await;
    let status = iam
        .who_am_i(session(&expired).request(WhoAmIRequest {}))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    BadTokens {
        expired,
        revoked,
        genuine: operator.token.clone(),
    }
}
