use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use photon_testcloud::TestCloud;
use photon_testkit::Session;
use photon_testkit::walk::{Case, walk};
use tonic::transport::Channel;

use crate::{HIDDEN, NAMED, Scene, bearers, denied};

/// An organization that a case makes, and one that a case deletes.
pub const NEW_ORG: &str = "umbrella";
pub const OLD_ORG: &str = "initech";

/// RPCs that need no right. This list only shrinks.
const EXCEPTIONS: &[&str] = &[
    "iam.v1.DirectoryService/ListEndpoints",
    "iam.v1.IamTokenService/Bootstrap",
    "iam.v1.IamTokenService/GetJwks",
    "iam.v1.IamTokenService/WhoAmI",
    "iam.v1.SessionService/RefreshToken",
];

/// Things of a tenant to call about; those that are deleted are not used by another case.
struct Things<'a> {
    scene: &'a Scene<'a>,
    admin: IamAdminServiceClient<Channel>,
}

impl Things<'_> {
    fn by(&self) -> &Session {
        &self.scene.tenant.admin
    }

    async fn organization(&mut self, id: &str) {
        let request = CreateOrganizationRequest {
            id: id.into(),
            ..Default::default()
        };
        let request = self.scene.cloud.operator.request(request);
        self.admin.create_organization(request).await.unwrap();
    }

    async fn project(&mut self, id: &str) {
        let request = CreateProjectRequest {
            org_id: self.scene.tenant.org.clone(),
            id: id.into(),
            ..Default::default()
        };
        self.admin
            .create_project(self.by().request(request))
            .await
            .unwrap();
    }

    async fn principal(&mut self, name: &str, kind: PrincipalKind) -> String {
        let request = CreatePrincipalRequest {
            org_id: self.scene.tenant.org.clone(),
            name: name.into(),
            kind: kind.into(),
            ..Default::default()
        };
        let made = self
            .admin
            .create_principal(self.by().request(request))
            .await
            .unwrap();
        made.into_inner().principal.unwrap().id
    }

    async fn api_key(&mut self, principal_id: &str) -> String {
        let request = CreateApiKeyRequest {
            principal_id: principal_id.into(),
            ..Default::default()
        };
        let made = self
            .admin
            .create_api_key(self.by().request(request))
            .await
            .unwrap();
        made.into_inner().api_key.unwrap().id
    }

    /// A session of a principal.
    async fn session(&mut self, principal_id: &str) -> String {
        let key = CreateApiKeyRequest {
            principal_id: principal_id.into(),
            ..Default::default()
        };
        let key = self.admin.create_api_key(self.by().request(key)).await;
        let sign_in = IssueTokenRequest {
            credential: Some(Credential::ApiKey(key.unwrap().into_inner().secret)),
            session: Some(NewSession::default()),
            ..Default::default()
        };
        let mut tokens = IamTokenServiceClient::new(self.scene.cloud.channel("iam"));
        let issued = tokens.issue_token(sign_in).await.unwrap().into_inner();
        issued.session.unwrap().id
    }

    async fn s3_key(&mut self, principal_id: &str) -> String {
        let request = CreateS3AccessKeyRequest {
            principal_id: principal_id.into(),
            project_id: self.scene.tenant.project.clone(),
            ..Default::default()
        };
        let made = self
            .admin
            .create_s3_access_key(self.by().request(request))
            .await
            .unwrap();
        made.into_inner().key.unwrap().access_key_id
    }

    async fn role(&mut self, name: &str) -> String {
        let made = self
            .admin
            .create_role(self.by().request(self.scene.role(name)))
            .await
            .unwrap();
        made.into_inner().role.unwrap().id
    }

    async fn binding(&mut self, principal_id: &str, role_id: &str) -> String {
        let request = self.scene.binding(principal_id, role_id);
        let made = self
            .admin
            .create_binding(self.by().request(request))
            .await
            .unwrap();
        made.into_inner().binding.unwrap().id
    }
}

impl Scene<'_> {
    fn role(&self, name: &str) -> CreateRoleRequest {
        CreateRoleRequest {
            org_id: self.tenant.org.clone(),
            name: name.into(),
            permissions: vec![Permission {
                action: "network:vpcs:get".into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn binding(&self, principal_id: &str, role_id: &str) -> CreateBindingRequest {
        CreateBindingRequest {
            principal_id: principal_id.into(),
            role_id: role_id.into(),
            scope: self.tenant.scope(),
            ..Default::default()
        }
    }
}

macro_rules! admin {
    ($method:literal) => {
        concat!("iam.v1.IamAdminService/", $method)
    };
}

pub async fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let cloud = scene.cloud;
    let mut things = Things {
        scene,
        admin: cloud.admin(),
    };
    let org = || scene.tenant.org.clone();
    let mut cases: Vec<Case> = scene.events().into();
    cases.extend(scene.quotas("bindings"));

    let user = things.principal("alice", PrincipalKind::User).await;
    let bob = things.principal("bob", PrincipalKind::ServiceAccount).await;
    let leaving = things
        .principal("leaving", PrincipalKind::ServiceAccount)
        .await;
    let impersonated = things
        .principal("impersonated", PrincipalKind::ServiceAccount)
        .await;
    things.binding(&impersonated, "ProjectViewer").await;
    cases.extend([
        scene.changes(
            "iam.v1.IamTokenService/IssueToken",
            HIDDEN,
            IssueTokenRequest {
                principal_id: impersonated,
                ..Default::default()
            },
        ),
        scene.changes(
            "iam.v1.IamTokenService/RevokeToken",
            HIDDEN,
            RevokeTokenRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        Case::any_token(
            "iam.v1.IamTokenService/WhoAmI",
            &WhoAmIRequest {},
            "it tells the bearer about itself",
        ),
        Case::no_token(
            "iam.v1.DirectoryService/ListEndpoints",
            &ListEndpointsRequest {},
            "where to sign in and what to use then, as the operators published it",
        ),
        Case::no_token(
            "iam.v1.IamTokenService/GetJwks",
            &GetJwksRequest {},
            "public keys, with which tokens are verified",
        ),
        Case::no_token(
            "iam.v1.IamTokenService/Bootstrap",
            &BootstrapRequest {
                one_time_token: "wrong".into(),
                name: "root".into(),
                password: "correct horse battery staple".into(),
            },
            "it takes the one-time token instead",
        ),
        scene.system(
            "iam.v1.IamTokenService/RotateSigningKey",
            &cloud.operator,
            RotateSigningKeyRequest { revoke_old: false },
        ),
        scene.system(
            "iam.v1.IamAuthzService/Authorize",
            &cloud.program("prismnet-server").await,
            AuthorizeRequest {
                token: scene.tenant.member.token.clone(),
                action: "network:vpcs:get".into(),
                resource: format!("{}/vpcs/v1", scene.tenant.scope()),
                ..Default::default()
            },
        ),
        scene.system(
            "iam.v1.IamAuthzService/AuthorizeEach",
            &cloud.program("prismnet-server").await,
            AuthorizeEachRequest {
                token: scene.tenant.member.token.clone(),
                action: "network:vpcs:get".into(),
                resources: vec![Described {
                    resource: format!("{}/vpcs/v1", scene.tenant.scope()),
                    ..Default::default()
                }],
                ongoing: false,
            },
        ),
    ]);

    let closing = match org().as_str() {
        "acme" => OLD_ORG.to_owned(),
        other => format!("{other}-old"),
    };
    things.organization(&closing).await;
    cases.extend([
        scene.system(
            admin!("CreateOrganization"),
            &cloud.operator,
            CreateOrganizationRequest {
                id: NEW_ORG.into(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("GetOrganization"),
            HIDDEN,
            GetOrganizationRequest { id: org() },
        ),
        // It names no tenant: everybody asks for what is its own.
        Case::guarded(
            admin!("ListOrganizations"),
            &ListOrganizationsRequest::default(),
            &scene.tenant.admin,
            vec![denied(
                "one of the tenant without a role",
                &scene.tenant.nobody,
            )],
        ),
        scene.changes(
            admin!("UpdateOrganization"),
            HIDDEN,
            UpdateOrganizationRequest {
                id: org(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.system(
            admin!("DeleteOrganization"),
            &cloud.operator,
            DeleteOrganizationRequest {
                id: closing,
                ..Default::default()
            },
        ),
    ]);

    things.project("old").await;
    cases.extend([
        scene.changes(
            admin!("CreateProject"),
            NAMED,
            CreateProjectRequest {
                org_id: org(),
                id: "db".into(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("GetProject"),
            HIDDEN,
            GetProjectRequest {
                org_id: org(),
                id: scene.tenant.project.clone(),
            },
        ),
        scene.reads(
            admin!("ListProjects"),
            NAMED,
            ListProjectsRequest {
                org_id: org(),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("UpdateProject"),
            HIDDEN,
            UpdateProjectRequest {
                org_id: org(),
                id: scene.tenant.project.clone(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeleteProject"),
            HIDDEN,
            DeleteProjectRequest {
                org_id: org(),
                id: "old".into(),
                ..Default::default()
            },
        ),
    ]);

    cases.extend([
        scene.changes(
            admin!("CreatePrincipal"),
            NAMED,
            CreatePrincipalRequest {
                org_id: org(),
                name: "carol".into(),
                kind: PrincipalKind::ServiceAccount.into(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("GetPrincipal"),
            HIDDEN,
            GetPrincipalRequest {
                id: bob.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("ListPrincipals"),
            NAMED,
            ListPrincipalsRequest {
                org_id: org(),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("UpdatePrincipal"),
            HIDDEN,
            UpdatePrincipalRequest {
                id: bob.clone(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeletePrincipal"),
            HIDDEN,
            DeletePrincipalRequest {
                id: leaving,
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("SetPassword"),
            HIDDEN,
            SetPasswordRequest {
                principal_id: user.clone(),
                new_password: "correct horse battery staple".into(),
                ..Default::default()
            },
        ),
    ]);

    let (key, old_key) = (things.api_key(&bob).await, things.api_key(&bob).await);
    let old_s3_key = things.s3_key(&bob).await;
    things.s3_key(&bob).await;
    cases.extend([
        scene.changes(
            admin!("CreateApiKey"),
            HIDDEN,
            CreateApiKeyRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        scene.reads(admin!("GetApiKey"), HIDDEN, GetApiKeyRequest { id: key }),
        scene.reads(
            admin!("ListApiKeys"),
            HIDDEN,
            ListApiKeysRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeleteApiKey"),
            HIDDEN,
            DeleteApiKeyRequest {
                id: old_key,
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("CreateS3AccessKey"),
            HIDDEN,
            CreateS3AccessKeyRequest {
                principal_id: bob.clone(),
                project_id: scene.tenant.project.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("ListS3AccessKeys"),
            HIDDEN,
            ListS3AccessKeysRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeleteS3AccessKey"),
            HIDDEN,
            DeleteS3AccessKeyRequest {
                access_key_id: old_s3_key,
                ..Default::default()
            },
        ),
    ]);

    // Who signs in has a role.
    let guest = things
        .principal("guest", PrincipalKind::ServiceAccount)
        .await;
    things.binding(&guest, "ProjectViewer").await;
    things.session(&guest).await;
    let ending = things.session(&guest).await;
    cases.extend([
        Case::no_token(
            "iam.v1.SessionService/RefreshToken",
            &RefreshTokenRequest {
                refresh_token: "photon_session_wrong".into(),
            },
            "it takes the refresh token instead",
        ),
        scene.reads(
            "iam.v1.SessionService/ListSessions",
            HIDDEN,
            ListSessionsRequest {
                principal_id: guest,
                ..Default::default()
            },
        ),
        scene.changes(
            "iam.v1.SessionService/EndSession",
            HIDDEN,
            EndSessionRequest {
                id: ending,
                ..Default::default()
            },
        ),
    ]);

    let (kept, old) = (things.role("kept").await, things.role("old").await);
    cases.extend([
        scene.changes(admin!("CreateRole"), NAMED, scene.role("new")),
        scene.reads(
            admin!("GetRole"),
            HIDDEN,
            GetRoleRequest {
                id: kept.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            admin!("ListRoles"),
            NAMED,
            ListRolesRequest {
                org_id: org(),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("UpdateRole"),
            HIDDEN,
            UpdateRoleRequest {
                id: kept.clone(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeleteRole"),
            HIDDEN,
            DeleteRoleRequest {
                id: old,
                ..Default::default()
            },
        ),
    ]);

    let bound = things.binding(&bob, "ProjectViewer").await;
    let old_binding = things.binding(&bob, &kept).await;
    cases.extend([
        scene.changes(
            admin!("CreateBinding"),
            NAMED,
            scene.binding(&user, "ProjectViewer"),
        ),
        scene.reads(
            admin!("GetBinding"),
            HIDDEN,
            GetBindingRequest { id: bound.clone() },
        ),
        scene.reads(
            admin!("ListBindings"),
            NAMED,
            ListBindingsRequest {
                scope: format!("org/{}", org()),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("UpdateBinding"),
            HIDDEN,
            UpdateBindingRequest {
                id: bound,
                expires_at: Some(prost_types::Timestamp {
                    seconds: 4_000_000_000,
                    nanos: 0,
                }),
                ..Default::default()
            },
        ),
        scene.changes(
            admin!("DeleteBinding"),
            HIDDEN,
            DeleteBindingRequest {
                id: old_binding,
                ..Default::default()
            },
        ),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_iam_has_its_walls() {
    let cloud = TestCloud::start().await;
    let bearers = bearers(&cloud, &["prismnet-server"]).await;
    let cases = cases(&Scene::acme(&cloud)).await;
    let count = cases.len();
    let calls = walk(&cloud.channel("iam"), &cases, &bearers, EXCEPTIONS).await;
    println!("{calls} calls of {count} RPCs");
}
