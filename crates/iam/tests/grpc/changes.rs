//! What every change keeps: one effect per request_id, no lost update, complete deletion, pages.

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{PASSWORD, refused};

fn user(name: &str, request_id: &str) -> CreatePrincipalRequest {
    CreatePrincipalRequest {
        org_id: "acme".into(),
        name: name.into(),
        kind: PrincipalKind::User as i32,
        request_id: request_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn one_request_id_is_one_principal_however_often_and_at_the_same_time() {
    let mut iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let calls = (0..16).map(|_| {
        let mut client = admin.admin();
        async move { client.create_principal(user("mike", "r-1")).await }
    });
    let mut ids: Vec<String> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|done| done.unwrap().into_inner().principal.unwrap().id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    iam.restart("iam").await;
    let admin = iam.people.stranger().with_token(&admin.token);
    let again = admin
        .admin()
        .create_principal(user("mike", "r-1"))
        .await
        .unwrap();
    assert_eq!(
        again.into_inner().principal.unwrap().id,
        ids[0],
        "after a restart as well"
    );
    let other = admin.admin().create_principal(user("nora", "r-1")).await;
    let message = refused(other, Code::InvalidArgument);
    assert!(
        message.contains("it was used for another request"),
        "{message}"
    );
    // Without one, a second call is another one.
    let taken = admin.admin().create_principal(user("mike", "")).await;
    assert_eq!(
        refused(taken, Code::AlreadyExists),
        "principal 'mike' already exists"
    );
}

#[tokio::test]
async fn a_name_is_taken_once_per_organization() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    iam.people.tenant("globex", "web", "root", "OrgAdmin").await;
    let calls = (0..8).map(|_| {
        let mut client = admin.admin();
        async move { client.create_principal(user("oscar", "")).await.is_ok() }
    });
    let made = futures::future::join_all(calls).await;
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    // A name that was given up can be taken again.
    let oscar = GetPrincipalRequest {
        id: "oscar".into(),
        org_id: "acme".into(),
    };
    let oscar = admin
        .admin()
        .get_principal(oscar)
        .await
        .unwrap()
        .into_inner()
        .principal
        .unwrap();
    let rename = UpdatePrincipalRequest {
        id: oscar.id.clone(),
        name: Some("peggy".into()),
        ..Default::default()
    };
    admin.admin().update_principal(rename).await.unwrap();
    admin
        .admin()
        .create_principal(user("oscar", ""))
        .await
        .unwrap();
    let rename = UpdatePrincipalRequest {
        id: oscar.id,
        name: Some("oscar".into()),
        ..Default::default()
    };
    refused(
        admin.admin().update_principal(rename).await,
        Code::AlreadyExists,
    );
}

#[tokio::test]
async fn nobody_overwrites_what_they_have_not_seen() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let update = |description: &str, expected_revision| UpdateProjectRequest {
        org_id: "acme".into(),
        id: "web".into(),
        description: Some(description.into()),
        expected_revision,
        ..Default::default()
    };
    let first = admin
        .admin()
        .update_project(update("first", 1))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.project.unwrap().revision, 2);
    let message = refused(
        admin.admin().update_project(update("second", 1)).await,
        Code::Aborted,
    );
    assert_eq!(
        message,
        "project 'web' is at revision 2, not 1: read it again and repeat the change"
    );
    let calls = (0..8).map(|at| {
        let (mut client, request) = (admin.admin(), update(&format!("n{at}"), 2));
        async move { client.update_project(request).await.is_ok() }
    });
    let done = futures::future::join_all(calls).await;
    assert_eq!(done.iter().filter(|done| **done).count(), 1);
}

#[tokio::test]
async fn an_organization_goes_only_when_it_is_empty_and_leaves_nothing() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    let delete = DeleteOrganizationRequest {
        id: "acme".into(),
        ..Default::default()
    };
    let message = refused(
        operator.admin().delete_organization(delete.clone()).await,
        Code::FailedPrecondition,
    );
    assert_eq!(
        message,
        "organization 'acme' still has projects: delete them first"
    );
    let member = admin.create_user("acme", "quentin").await.unwrap();
    let bound = admin
        .bind(&member, "ProjectViewer", "org/acme/project/web")
        .await
        .unwrap();
    let project = DeleteProjectRequest {
        id: "web".into(),
        ..Default::default()
    };
    admin.admin().delete_project(project).await.unwrap();
    refused(
        admin
            .admin()
            .get_binding(GetBindingRequest { id: bound.id })
            .await,
        Code::NotFound,
    );
    let message = refused(
        operator.admin().delete_organization(delete.clone()).await,
        Code::FailedPrecondition,
    );
    assert_eq!(
        message,
        "organization 'acme' still has principals: delete them first"
    );
    refused(
        admin
            .admin()
            .delete_principal(DeletePrincipalRequest {
                id: admin.principal_id.clone(),
                ..Default::default()
            })
            .await,
        Code::FailedPrecondition,
    );
    for id in [member, admin.principal_id.clone()] {
        let delete = DeletePrincipalRequest {
            id,
            ..Default::default()
        };
        operator.admin().delete_principal(delete).await.unwrap();
    }
    let role = operator
        .create_role("acme", "left-over", &[("compute:*", "", "")])
        .await
        .unwrap();
    let bound = operator
        .bind(&operator.principal_id, &role, "org/acme")
        .await
        .unwrap();
    operator.admin().delete_organization(delete).await.unwrap();
    refused(
        operator
            .admin()
            .get_role(GetRoleRequest {
                id: role,
                ..Default::default()
            })
            .await,
        Code::NotFound,
    );
    refused(
        operator
            .admin()
            .get_binding(GetBindingRequest { id: bound.id })
            .await,
        Code::NotFound,
    );
    // Nobody gets what is left under that name elsewhere: in the event log, on other servers.
    let message = refused(operator.create_org("acme").await, Code::AlreadyExists);
    assert_eq!(
        message,
        "organization 'acme' was deleted, and an id is never given again: choose another"
    );
}

#[tokio::test]
async fn the_id_of_a_deleted_project_is_never_given_again() {
    let mut iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let other = iam.people.tenant("globex", "lab", "bob", "OrgAdmin").await;
    let project = DeleteProjectRequest {
        id: "web".into(),
        request_id: "end-of-web".into(),
        ..Default::default()
    };
    admin.admin().delete_project(project.clone()).await.unwrap();
    let expected = "project 'web' was deleted, and an id is never given again: choose another";
    let create = || admin.create_project("acme", "web");
    assert_eq!(refused(create().await, Code::AlreadyExists), expected);

    // It outlives the server, and does not count as a project: the deletion is answered again as it was.
    iam.restart("iam").await;
    assert_eq!(refused(create().await, Code::AlreadyExists), expected);
    admin.admin().delete_project(project).await.unwrap();
    let mut client = admin.admin();
    let listed = client.list_projects(ListProjectsRequest::default()).await;
    assert!(listed.unwrap().into_inner().projects.is_empty());
    // Another tenant's project may be called so.
    other.create_project("globex", "web").await.unwrap();
}

#[tokio::test]
async fn lists_come_in_pages_and_filtered() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "p0", "root", "OrgAdmin").await;
    for at in 1..7 {
        admin
            .create_project("acme", &format!("p{at}"))
            .await
            .unwrap();
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = ListProjectsRequest {
            page_size: 3,
            page_token,
            ..Default::default()
        };
        let page = admin
            .admin()
            .list_projects(list)
            .await
            .unwrap()
            .into_inner();
        assert!(page.projects.len() <= 3);
        seen.extend(page.projects.into_iter().map(|project| project.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4", "p5", "p6"]);
    let list = ListProjectsRequest {
        page_size: 3,
        ..Default::default()
    };
    let page_token = admin
        .admin()
        .list_projects(list)
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let misused = ListPrincipalsRequest {
        page_token,
        ..Default::default()
    };
    refused(
        admin.admin().list_principals(misused).await,
        Code::InvalidArgument,
    );

    let robot = admin.create_service_account("acme", "robot").await.unwrap();
    let only = ListPrincipalsRequest {
        kind: PrincipalKind::ServiceAccount as i32,
        ..Default::default()
    };
    let only = admin
        .admin()
        .list_principals(only)
        .await
        .unwrap()
        .into_inner()
        .principals;
    assert_eq!(
        only.iter().map(|it| it.id.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&robot)
    );
    admin
        .bind(&robot, "ProjectViewer", "org/acme/project/p1")
        .await
        .unwrap();
    admin
        .bind(&robot, "ProjectViewer", "org/acme/project/p2")
        .await
        .unwrap();
    for (principal_id, scope, expected) in [
        ("", "", 3),
        (robot.as_str(), "", 2),
        ("robot", "org/acme/project/p1", 1),
        ("", "org/acme/project/p2", 1),
        ("", "org/acme/project/p3", 0),
    ] {
        let list = ListBindingsRequest {
            principal_id: principal_id.into(),
            scope: scope.into(),
            ..Default::default()
        };
        let found = admin
            .admin()
            .list_bindings(list)
            .await
            .unwrap()
            .into_inner()
            .bindings
            .len();
        assert_eq!(found, expected, "{principal_id} {scope}");
    }
    let roles = admin
        .admin()
        .list_roles(ListRolesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .roles;
    assert_eq!(roles[0].id, "SystemAdmin");
    assert!(roles.iter().all(|role| role.built_in));
}

#[tokio::test]
async fn every_change_and_every_refusal_is_in_a_chain_that_verifies() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_user("acme", "rita").await.unwrap();
    refused(admin.create_org("mine").await, Code::PermissionDenied);
    let mut client = EventServiceClient::new(iam.channel("iam"));
    let list = photon_program::with_token(ListEventsRequest::default(), &admin.token, "").unwrap();
    let events = client.list_events(list).await.unwrap().into_inner().events;
    let actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    for action in [
        "iam:organizations:create",
        "iam:projects:create",
        "iam:principals:create",
        "iam:bindings:create",
        "iam:tokens:create",
    ] {
        assert!(actions.contains(&action), "{action} is not in {actions:?}");
    }
    let verify =
        photon_program::with_token(VerifyChainRequest::default(), &admin.token, "").unwrap();
    let report = client.verify_chain(verify).await.unwrap().into_inner();
    assert!(report.intact, "{report:?}");
    let made = events
        .iter()
        .find(|event| event.resource.contains("/principals/"))
        .unwrap();
    assert!(!made.after_digest.is_empty());
    assert!(!format!("{events:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_repeated_deletion_is_answered_like_the_first() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let request_id = "d-1".to_owned();
    let robot = admin.create_service_account("acme", "robot").await.unwrap();
    let role = admin
        .create_role("acme", "starter", &[("compute:*", "", "")])
        .await
        .unwrap();
    let binding = admin.bind(&robot, &role, "org/acme").await.unwrap().id;
    let key = CreateApiKeyRequest {
        principal_id: robot.clone(),
        ..Default::default()
    };
    let key = admin
        .admin()
        .create_api_key(key)
        .await
        .unwrap()
        .into_inner()
        .api_key
        .unwrap()
        .id;
    let s3 = CreateS3AccessKeyRequest {
        principal_id: robot.clone(),
        project_id: "web".into(),
        ..Default::default()
    };
    let s3 = admin
        .admin()
        .create_s3_access_key(s3)
        .await
        .unwrap()
        .into_inner()
        .key
        .unwrap();
    macro_rules! twice {
        ($method:ident, $request:expr) => {
            for _ in 0..2 {
                admin
                    .admin()
                    .$method($request)
                    .await
                    .expect(stringify!($method));
            }
            let mut another = $request;
            another.request_id = "d-2".into();
            refused(admin.admin().$method(another).await, Code::NotFound);
        };
    }
    let access_key_id = s3.access_key_id;
    twice!(
        delete_binding,
        DeleteBindingRequest {
            id: binding.clone(),
            request_id: request_id.clone() + "b"
        }
    );
    twice!(
        delete_role,
        DeleteRoleRequest {
            id: role.clone(),
            request_id: request_id.clone() + "r"
        }
    );
    twice!(
        delete_api_key,
        DeleteApiKeyRequest {
            id: key.clone(),
            request_id: request_id.clone() + "k"
        }
    );
    twice!(
        delete_s3_access_key,
        DeleteS3AccessKeyRequest {
            access_key_id: access_key_id.clone(),
            request_id: request_id.clone() + "s",
        }
    );
    twice!(
        delete_principal,
        DeletePrincipalRequest {
            id: robot.clone(),
            request_id: request_id.clone() + "p"
        }
    );
    twice!(
        delete_project,
        DeleteProjectRequest {
            org_id: "acme".into(),
            id: "web".into(),
            request_id: request_id.clone() + "j",
        }
    );
}

#[tokio::test]
async fn a_binding_and_the_deletion_of_what_it_binds_do_not_both_happen() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    for round in 0..6 {
        let robot = admin
            .create_service_account("acme", &format!("robot-{round}"))
            .await
            .unwrap();
        let name = format!("role-{round}");
        let role = admin
            .create_role("acme", &name, &[("compute:*", "", "")])
            .await
            .unwrap();
        let (mut client, delete) = (
            admin.admin(),
            DeleteRoleRequest {
                id: role.clone(),
                ..Default::default()
            },
        );
        let (bound, deleted) = futures::join!(
            admin.bind(&robot, &role, "org/acme"),
            client.delete_role(delete)
        );
        assert!(bound.is_ok() != deleted.is_ok(), "{bound:?} {deleted:?}");
        let (mut client, delete) = (
            admin.admin(),
            DeletePrincipalRequest {
                id: robot.clone(),
                ..Default::default()
            },
        );
        let (bound, deleted) = futures::join!(
            admin.bind(&robot, "ProjectViewer", "org/acme"),
            client.delete_principal(delete)
        );
        deleted.unwrap();
        if let Ok(bound) = bound {
            refused(
                admin
                    .admin()
                    .get_binding(GetBindingRequest { id: bound.id })
                    .await,
                Code::NotFound,
            );
        }
    }
}

/// Which tenant a request is about may be left to the token.
#[tokio::test]
async fn an_id_of_a_call_says_nothing_of_a_call_in_another_tenant() {
    let iam = start_iam().await;
    iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    iam.people.tenant("globex", "web", "bob", "OrgAdmin").await;
    let password = iam.people.credential("operator-password");
    for org in ["acme", "globex", "globex"] {
        let operator = iam.people.sign_in(org, "", "operator", &password).await;
        let request = CreateProjectRequest {
            id: "lab".into(),
            request_id: "the-same".into(),
            ..Default::default()
        };
        let made = operator.unwrap().admin().create_project(request).await;
        assert_eq!(made.unwrap().into_inner().project.unwrap().org_id, org);
    }
}
