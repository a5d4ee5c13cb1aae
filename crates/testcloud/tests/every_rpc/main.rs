//! Every RPC of every server, found by reflection: with every token that must not get in, and with what every one of
//! them promises.
//!
//! [`contracts`] keeps the promises: what is hidden reads as what is absent, a call may be repeated, a list goes on from
//! its own pages and is as narrow as its caller's token.

mod contracts;
mod flashdns;
mod iam;
mod plasmavmc;
mod prismnet;
mod provisioner;

use std::time::Duration;

use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{GetJwksRequest, IssueTokenRequest, RevokeTokenRequest, WhoAmIRequest};
use photon_api::quota::v1::{GetQuotasRequest, SetQuotaRequest};
use photon_api::tenancy::v1::{CloseProjectRequest, ListHoldingsRequest};
use photon_service::claims::LEEWAY_SECONDS;
use photon_testcloud::{Tenant, TestCloud};
use photon_testkit::Session;
use photon_testkit::walk::{Bearer, Case, Refused, problems, rest_of_life};
use prost::Message;
use tonic::Code;

/// What is named by its id, so that for another tenant it must look absent.
const HIDDEN: &[Code] = &[Code::NotFound];
/// What is asked of a tenant that the request itself names.
const NAMED: &[Code] = &[Code::PermissionDenied];
/// What is the cloud's own: a tenant learns at most that it may not.
const SYSTEM: &[Code] = &[Code::PermissionDenied, Code::NotFound];

/// Whose things are called about.
pub struct Scene<'a> {
    cloud: &'a TestCloud,
    tenant: &'a Tenant,
    /// Who must see none of them.
    other: &'a Tenant,
}

impl<'a> Scene<'a> {
    /// Things of `acme`.
    fn acme(cloud: &'a TestCloud) -> Self {
        Self {
            cloud,
            tenant: &cloud.acme,
            other: &cloud.globex,
        }
    }

    /// Whatever somebody may do in the whole organization: with a token for another project nothing of it.
    fn another_projects_token(&self) -> Refused {
        Refused {
            who: "the tenant's administrator with a token for another project",
            session: self.tenant.elsewhere.clone(),
            codes: &[Code::PermissionDenied, Code::NotFound],
        }
    }

    fn another_tenant(&self, codes: &'static [Code]) -> Refused {
        Refused {
            who: "another tenant's administrator",
            session: self.other.admin.clone(),
            codes,
        }
    }

    /// A call that reads things of the tenant.
    fn reads(&self, method: &'static str, others: &'static [Code], request: impl Message) -> Case {
        let refused = vec![
            self.another_tenant(others),
            self.another_projects_token(),
            denied("one of the tenant without a role", &self.tenant.nobody),
        ];
        Case::guarded(method, &request, &self.tenant.admin, refused)
    }

    /// A call that changes things of the tenant.
    fn changes(
        &self,
        method: &'static str,
        others: &'static [Code],
        request: impl Message,
    ) -> Case {
        let refused = vec![
            self.another_tenant(others),
            self.another_projects_token(),
            denied("one of the tenant without a role", &self.tenant.nobody),
            denied("one of the tenant who may only look", &self.tenant.viewer),
        ];
        Case::guarded(method, &request, &self.tenant.admin, refused)
    }

    /// A call for the cloud's own.
    fn system(&self, method: &'static str, allowed: &Session, request: impl Message) -> Case {
        let refused = vec![
            Refused {
                who: "a tenant's administrator",
                session: self.tenant.admin.clone(),
                codes: SYSTEM,
            },
            denied("one of the system without a role", &self.cloud.stranger),
        ];
        Case::guarded(method, &request, allowed, refused)
    }

    /// What there is of a tenant, which every server with things of tenants tells IAM.
    fn tenancy(&self) -> [Case; 2] {
        let (org_id, project_id) = (self.tenant.org.clone(), self.tenant.project.clone());
        let list = ListHoldingsRequest { org_id, project_id };
        let close = CloseProjectRequest {
            org_id: list.org_id.clone(),
            project_id: list.project_id.clone(),
        };
        let operator = &self.cloud.operator;
        [
            self.system("tenancy.v1.TenantService/ListHoldings", operator, list),
            self.system("tenancy.v1.TenantService/CloseProject", operator, close),
        ]
    }

    /// The quotas of a server that counts `name`.
    fn quotas(&self, name: &str) -> [Case; 2] {
        let (org_id, project_id) = (&self.tenant.org, &self.tenant.project);
        [
            self.reads(
                "quota.v1.QuotaService/GetQuotas",
                NAMED,
                GetQuotasRequest {
                    org_id: org_id.clone(),
                    project_id: project_id.clone(),
                },
            ),
            self.system(
                "quota.v1.QuotaService/SetQuota",
                &self.cloud.operator,
                SetQuotaRequest {
                    org_id: org_id.clone(),
                    project_id: project_id.clone(),
                    name: name.to_owned(),
                    limit: Some(100_000),
                    ..Default::default()
                },
            ),
        ]
    }

    /// The event log, which every server has.
    fn events(&self) -> [Case; 2] {
        let org_id = || self.tenant.org.clone();
        [
            // A project's token is told of its project: that it is told no more has a test of its own.
            Case::guarded(
                "chainfire.v1.EventService/ListEvents",
                &ListEventsRequest {
                    org_id: org_id(),
                    ..Default::default()
                },
                &self.tenant.admin,
                vec![
                    self.another_tenant(NAMED),
                    denied("one of the tenant without a role", &self.tenant.nobody),
                ],
            ),
            self.changes(
                "chainfire.v1.EventService/VerifyChain",
                NAMED,
                VerifyChainRequest {
                    org_id: org_id(),
                    ..Default::default()
                },
            ),
        ]
    }
}

fn denied(who: &'static str, session: &Session) -> Refused {
    Refused {
        who,
        session: session.clone(),
        codes: NAMED,
    }
}

/// The operator, and those of the cloud's own programs that are named, with their bad tokens.
async fn bearers(cloud: &TestCloud, programs: &[&str]) -> Vec<Bearer> {
    let mut iam = IamTokenServiceClient::new(cloud.channel("iam"));
    let mut bearers = Vec::new();
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
    bearers.push(Bearer {
        session: operator.clone(),
        expired: issue(1).await,
        revoked: issue(900).await,
    });
    for name in programs {
        bearers.push(Bearer {
            session: cloud.program(name).await,
            expired: cloud.program_for(name, 1).await.token,
            revoked: cloud.program(name).await.token,
        });
    }
    // There is nothing to watch for but the time: clocks of other hosts may be behind, so that servers take a token a
    // few seconds longer than it says.
    let longest = bearers
        .iter()
        .map(|bearer| rest_of_life(&bearer.expired))
        .max();
    tokio::time::sleep(longest.unwrap_or_default() + Duration::from_secs(LEEWAY_SECONDS + 1)).await;
    for bearer in &bearers {
        let revoking = bearing(&bearer.revoked, RevokeTokenRequest::default());
        iam.revoke_token(revoking).await.unwrap();
        let asking = bearing(&bearer.expired, WhoAmIRequest {});
        let status = iam.who_am_i(asking).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    bearers
}

fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    Session::with_token(token).request(message)
}

/// The walk itself must be able to fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_walk_notices_what_is_forgotten_and_what_is_open() {
    let cloud = TestCloud::start().await;
    let channel = cloud.channel("iam");
    let bearers = [Bearer {
        session: cloud.operator.clone(),
        expired: "a.b.c".into(),
        revoked: "a.b.c".into(),
    }];
    let (_, forgotten) = problems(&channel, &[], &bearers, &[]).await;
    let forgotten = forgotten.join("\n");
    assert!(
        forgotten.contains("iam.v1.IamAdminService/CreateRole: no case says who may call it"),
        "{forgotten}"
    );
    // An RPC that is open to everybody, told as if it were not; one that there is not; an exception that is not known.
    let scene = Scene::acme(&cloud);
    let cases = [
        scene.system(
            "iam.v1.IamTokenService/GetJwks",
            &cloud.operator,
            GetJwksRequest {},
        ),
        scene.reads("iam.v1.IamTokenService/GetKeys", HIDDEN, GetJwksRequest {}),
        Case::any_token("iam.v1.IamTokenService/WhoAmI", &WhoAmIRequest {}, "a test"),
    ];
    let (_, open) = problems(&channel, &cases, &bearers, &[]).await;
    let open = open.join("\n");
    for expected in [
        "iam.v1.IamTokenService/GetJwks, no token: expected [Unauthenticated], got OK: it was let in",
        "iam.v1.IamTokenService/GetJwks, a token with alg none: expected",
        "iam.v1.IamTokenService/GetJwks, one of the system without a role: expected",
        "iam.v1.IamTokenService/GetKeys: there is a case, but no such RPC",
        "iam.v1.IamTokenService/WhoAmI: the exceptions of the walk",
    ] {
        assert!(open.contains(expected), "no '{expected}' in {open}");
    }
}
