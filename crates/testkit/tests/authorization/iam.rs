use photon_api::iam::v1::iam_admin_service_client::IamAdminServiceClient;
use photon_api::iam::v1::*;
use photon_testkit::walk::{Case, walk};
use photon_testkit::{Session, TestCloud};
use tonic::transport::Channel;

use crate::{HIDDEN, NAMED, bearers, changes, denied, events, reads, system};

/// RPCs that need no right. This list only shrinks.
const EXCEPTIONS: &[&str] = &[
    "iam.v1.DirectoryService/ListEndpoints",
    "iam.v1.IamTokenService/Bootstrap",
    "iam.v1.IamTokenService/GetJwks",
    "iam.v1.IamTokenService/WhoAmI",
];

/// Things of `acme` to call about; those that are deleted are not used by another case.
struct Things<'a> {
    cloud: &'a TestCloud,
    admin: IamAdminServiceClient<Channel>,
}

impl Things<'_> {
    fn by(&self) -> &Session {
        &self.cloud.acme.admin
    }

    async fn organization(&mut self, id: &str) {
        let request = CreateOrganizationRequest {
            id: id.into(),
            ..Default::default()
        };
        let request = self.cloud.operator.request(request);
        self.admin.create_organization(request).await.unwrap();
    }

    async fn project(&mut self, id: &str) {
        let request = CreateProjectRequest {
            org_id: "acme".into(),
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
            org_id: "acme".into(),
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

    async fn s3_key(&mut self, principal_id: &str) -> String {
        let request = CreateS3AccessKeyRequest {
            principal_id: principal_id.into(),
            project_id: "web".into(),
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
            .create_role(self.by().request(role(name)))
            .await
            .unwrap();
        made.into_inner().role.unwrap().id
    }

    async fn binding(&mut self, principal_id: &str, role_id: &str) -> String {
        let request = binding(principal_id, role_id);
        let made = self
            .admin
            .create_binding(self.by().request(request))
            .await
            .unwrap();
        made.into_inner().binding.unwrap().id
    }
}

fn role(name: &str) -> CreateRoleRequest {
    CreateRoleRequest {
        org_id: "acme".into(),
        name: name.into(),
        permissions: vec![Permission {
            action: "network:vpcs:get".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn binding(principal_id: &str, role_id: &str) -> CreateBindingRequest {
    CreateBindingRequest {
        principal_id: principal_id.into(),
        role_id: role_id.into(),
        scope: "org/acme/project/web".into(),
        ..Default::default()
    }
}

macro_rules! admin {
    ($method:literal) => {
        concat!("iam.v1.IamAdminService/", $method)
    };
}

async fn cases(cloud: &TestCloud) -> Vec<Case> {
    let mut things = Things {
        cloud,
        admin: cloud.admin(),
    };
    let acme = || "acme".to_owned();
    let mut cases: Vec<Case> = events(cloud).into();

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
        changes(
            cloud,
            "iam.v1.IamTokenService/IssueToken",
            HIDDEN,
            IssueTokenRequest {
                principal_id: impersonated,
                ..Default::default()
            },
        ),
        changes(
            cloud,
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
        system(
            cloud,
            "iam.v1.IamTokenService/RotateSigningKey",
            &cloud.operator,
            RotateSigningKeyRequest { revoke_old: false },
        ),
        system(
            cloud,
            "iam.v1.IamAuthzService/Authorize",
            &cloud.program("prismnet-server").await,
            AuthorizeRequest {
                token: cloud.acme.member.token.clone(),
                action: "network:vpcs:get".into(),
                resource: "org/acme/project/web/vpcs/v1".into(),
                ..Default::default()
            },
        ),
    ]);

    things.organization("initech").await;
    cases.extend([
        system(
            cloud,
            admin!("CreateOrganization"),
            &cloud.operator,
            CreateOrganizationRequest {
                id: "umbrella".into(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("GetOrganization"),
            HIDDEN,
            GetOrganizationRequest { id: acme() },
        ),
        // It names no tenant: everybody asks for what is its own.
        Case::guarded(
            admin!("ListOrganizations"),
            &ListOrganizationsRequest::default(),
            &cloud.acme.admin,
            vec![denied(
                "one of the tenant without a role",
                &cloud.acme.nobody,
            )],
        ),
        changes(
            cloud,
            admin!("UpdateOrganization"),
            HIDDEN,
            UpdateOrganizationRequest {
                id: acme(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        system(
            cloud,
            admin!("DeleteOrganization"),
            &cloud.operator,
            DeleteOrganizationRequest {
                id: "initech".into(),
                ..Default::default()
            },
        ),
    ]);

    things.project("old").await;
    cases.extend([
        changes(
            cloud,
            admin!("CreateProject"),
            NAMED,
            CreateProjectRequest {
                org_id: acme(),
                id: "db".into(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("GetProject"),
            HIDDEN,
            GetProjectRequest {
                org_id: acme(),
                id: "web".into(),
            },
        ),
        reads(
            cloud,
            admin!("ListProjects"),
            NAMED,
            ListProjectsRequest {
                org_id: acme(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("UpdateProject"),
            HIDDEN,
            UpdateProjectRequest {
                org_id: acme(),
                id: "web".into(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("DeleteProject"),
            HIDDEN,
            DeleteProjectRequest {
                org_id: acme(),
                id: "old".into(),
                ..Default::default()
            },
        ),
    ]);

    cases.extend([
        changes(
            cloud,
            admin!("CreatePrincipal"),
            NAMED,
            CreatePrincipalRequest {
                org_id: acme(),
                name: "carol".into(),
                kind: PrincipalKind::ServiceAccount.into(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("GetPrincipal"),
            HIDDEN,
            GetPrincipalRequest {
                id: bob.clone(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("ListPrincipals"),
            NAMED,
            ListPrincipalsRequest {
                org_id: acme(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("UpdatePrincipal"),
            HIDDEN,
            UpdatePrincipalRequest {
                id: bob.clone(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("DeletePrincipal"),
            HIDDEN,
            DeletePrincipalRequest {
                id: leaving,
                ..Default::default()
            },
        ),
        changes(
            cloud,
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
    cases.extend([
        changes(
            cloud,
            admin!("CreateApiKey"),
            HIDDEN,
            CreateApiKeyRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("GetApiKey"),
            HIDDEN,
            GetApiKeyRequest { id: key },
        ),
        reads(
            cloud,
            admin!("ListApiKeys"),
            HIDDEN,
            ListApiKeysRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("DeleteApiKey"),
            HIDDEN,
            DeleteApiKeyRequest {
                id: old_key,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("CreateS3AccessKey"),
            HIDDEN,
            CreateS3AccessKeyRequest {
                principal_id: bob.clone(),
                project_id: "web".into(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("ListS3AccessKeys"),
            HIDDEN,
            ListS3AccessKeysRequest {
                principal_id: bob.clone(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("DeleteS3AccessKey"),
            HIDDEN,
            DeleteS3AccessKeyRequest {
                access_key_id: old_s3_key,
                ..Default::default()
            },
        ),
    ]);

    let (kept, old) = (things.role("kept").await, things.role("old").await);
    cases.extend([
        changes(cloud, admin!("CreateRole"), NAMED, role("new")),
        reads(
            cloud,
            admin!("GetRole"),
            HIDDEN,
            GetRoleRequest {
                id: kept.clone(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            admin!("ListRoles"),
            NAMED,
            ListRolesRequest {
                org_id: acme(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("UpdateRole"),
            HIDDEN,
            UpdateRoleRequest {
                id: kept.clone(),
                description: Some("changed".into()),
                ..Default::default()
            },
        ),
        changes(
            cloud,
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
        changes(
            cloud,
            admin!("CreateBinding"),
            NAMED,
            binding(&user, "ProjectViewer"),
        ),
        reads(
            cloud,
            admin!("GetBinding"),
            HIDDEN,
            GetBindingRequest { id: bound.clone() },
        ),
        reads(
            cloud,
            admin!("ListBindings"),
            NAMED,
            ListBindingsRequest {
                scope: "org/acme".into(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            admin!("UpdateBinding"),
            HIDDEN,
            UpdateBindingRequest {
                id: bound,
                expires_at: Some(Default::default()),
                ..Default::default()
            },
        ),
        changes(
            cloud,
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
    let cases = cases(&cloud).await;
    let count = cases.len();
    let calls = walk(&cloud.iam.channel(), &cases, &bearers, EXCEPTIONS).await;
    println!("{calls} calls of {count} RPCs");
}
