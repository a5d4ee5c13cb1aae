//! What is deleted with more that belongs to it than one commit has room for.

use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, refused};

/// More than any engine takes into one commit, whatever the keys of each.
const MANY: usize = 130;

fn role(org: &str, name: &str) -> CreateRoleRequest {
    CreateRoleRequest {
        org_id: org.into(),
        name: name.into(),
        permissions: vec![Permission {
            action: "network:vpcs:get".into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn delete_organization(caller: &Caller) -> Result<(), tonic::Status> {
    let request = DeleteOrganizationRequest {
        id: "acme".into(),
        request_id: "end-of-acme".into(),
    };
    caller.admin().delete_organization(request).await.map(drop)
}

/// The bindings at or below a scope.
async fn bindings(caller: &Caller, scope: &str) -> usize {
    let request = ListBindingsRequest {
        scope: scope.into(),
        page_size: 1000,
        ..Default::default()
    };
    let listed = caller.admin().list_bindings(request).await.unwrap();
    listed.into_inner().bindings.len()
}

#[tokio::test]
async fn an_organization_with_many_roles_and_bindings_is_deleted() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    operator.create_org("acme").await.unwrap();
    operator.create_project("acme", "web").await.unwrap();
    for n in 0..MANY {
        let request = role("acme", &format!("r{n}"));
        operator.admin().create_role(request).await.unwrap();
    }
    // Of the system, so that they outlive the organization.
    for n in 0..20 {
        let made = operator.create_service_account("", &format!("s{n}")).await;
        let id = made.unwrap();
        operator.bind(&id, "OrgAdmin", "org/acme").await.unwrap();
        let project = "org/acme/project/web";
        operator.bind(&id, "ProjectViewer", project).await.unwrap();
    }
    // While it can't be deleted, nothing of it goes.
    refused(
        delete_organization(&operator).await,
        Code::FailedPrecondition,
    );
    assert_eq!(bindings(&operator, "org/acme").await, 40);

    let request = DeleteProjectRequest {
        org_id: "acme".into(),
        id: "web".into(),
        ..Default::default()
    };
    operator.admin().delete_project(request).await.unwrap();
    assert_eq!(bindings(&operator, "org/acme").await, 20);
    delete_organization(&operator).await.unwrap();
    assert_eq!(bindings(&operator, "org/acme").await, 0);
    // Nothing of it is left, and nobody gets its name. Again, as the first time, its deletion is answered.
    let request = ListRolesRequest {
        org_id: "acme".into(),
        page_size: 1000,
        ..Default::default()
    };
    let roles = operator.admin().list_roles(request).await.unwrap();
    let roles = roles.into_inner().roles;
    assert!(roles.iter().all(|role| role.built_in), "{roles:?}");
    delete_organization(&operator).await.unwrap();
    refused(operator.create_org("acme").await, Code::AlreadyExists);
}

#[tokio::test]
async fn a_principal_with_many_bindings_and_keys_is_deleted() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "admin", "OrgAdmin").await;
    let id = admin.create_service_account("acme", "robot").await;
    let id = id.unwrap();
    let scope = "org/acme/project/web";
    for n in 0..40 {
        let request = role("acme", &format!("r{n}"));
        let made = admin.admin().create_role(request).await.unwrap();
        let role = made.into_inner().role.unwrap();
        admin.bind(&id, &role.id, scope).await.unwrap();
    }
    let mut keys = Vec::new();
    for _ in 0..20 {
        let request = CreateApiKeyRequest {
            principal_id: id.clone(),
            ..Default::default()
        };
        let made = admin.admin().create_api_key(request).await.unwrap();
        keys.push(made.into_inner().api_key.unwrap().id);
        let request = CreateS3AccessKeyRequest {
            principal_id: id.clone(),
            project_id: "web".into(),
            ..Default::default()
        };
        admin.admin().create_s3_access_key(request).await.unwrap();
    }
    let request = DeletePrincipalRequest {
        id: id.clone(),
        ..Default::default()
    };
    admin.admin().delete_principal(request).await.unwrap();
    assert_eq!(bindings(&admin, scope).await, 0);
    for key in keys {
        let request = GetApiKeyRequest { id: key };
        let found = admin.admin().get_api_key(request).await;
        refused(found, Code::NotFound);
    }
    // The log has the pages, and then the principal.
    let events = admin.events().await;
    let told: Vec<&str> = events
        .iter()
        .map(|event| event.action.as_str())
        .filter(|action| action.ends_with(":delete"))
        .collect();
    let mut expected = vec!["iam:bindings:delete"; 3];
    expected.extend(["iam:apiKeys:delete", "iam:s3Keys:delete"]);
    expected.push("iam:principals:delete");
    assert_eq!(told, expected);
}

/// S3 keys are found by their ids; those of a project go with it, or would count again for who gets its name.
#[tokio::test]
async fn a_projects_s3_keys_go_with_it() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "admin", "OrgAdmin").await;
    admin.create_project("acme", "shop").await.unwrap();
    let id = admin.create_service_account("acme", "robot").await;
    let id = id.unwrap();
    for (project, count) in [("web", 15), ("shop", 1)] {
        for _ in 0..count {
            let request = CreateS3AccessKeyRequest {
                principal_id: id.clone(),
                project_id: project.into(),
                ..Default::default()
            };
            admin.admin().create_s3_access_key(request).await.unwrap();
        }
    }
    let request = DeleteProjectRequest {
        org_id: "acme".into(),
        id: "web".into(),
        ..Default::default()
    };
    admin.admin().delete_project(request).await.unwrap();
    let request = ListS3AccessKeysRequest {
        principal_id: id,
        page_size: 1000,
        ..Default::default()
    };
    let left = admin.admin().list_s3_access_keys(request).await.unwrap();
    let left = left.into_inner().keys;
    let projects: Vec<_> = left.iter().map(|key| key.project_id.as_str()).collect();
    assert_eq!(projects, ["shop"]);
}
