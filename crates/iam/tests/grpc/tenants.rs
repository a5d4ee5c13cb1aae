//! What the mission names: tenants, their walls, their roles.

use photon_api::chainfire::v1::{Event, Outcome};
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{PASSWORD, refused};

const CREATE_VM: &str = "compute:instances:create";

/// The path of a new tenant: operator, organization, project, user, role, sign-in, act.
#[tokio::test]
async fn test_tenant_setup_flow() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let who = operator.whoami().await.unwrap();
    assert_eq!(
        (who.org_id.as_str(), who.principal.unwrap().name.as_str()),
        ("", "operator")
    );
    assert_eq!(who.bindings[0].role_id, "SystemAdmin");

    let org = operator.create_org("acme").await.unwrap();
    assert_eq!(
        (org.id.as_str(), org.name.as_str(), org.revision),
        ("acme", "acme", 1)
    );
    let project = operator.create_project("acme", "web").await.unwrap();
    assert_eq!(
        (project.org_id.as_str(), project.id.as_str()),
        ("acme", "web")
    );
    let alice = operator.create_user("acme", "alice").await.unwrap();

    // Without a role there is no token, even with the right password.
    let reason = refused(
        iam.people
            .sign_in("acme", "web", "alice", PASSWORD)
            .await
            .map(drop),
        Code::PermissionDenied,
    );
    assert!(reason.contains("alice has no role there"), "{reason}");
    operator
        .bind(&alice, "ProjectAdmin", "org/acme/project/web")
        .await
        .unwrap();

    let signed_in = iam
        .people
        .sign_in("acme", "web", "alice", PASSWORD)
        .await
        .unwrap();
    let header = jsonwebtoken::decode_header(&signed_in.token).unwrap();
    assert_eq!(header.alg, jsonwebtoken::Algorithm::EdDSA);
    let jwks = iam
        .people
        .stranger()
        .tokens()
        .get_jwks(GetJwksRequest {})
        .await
        .unwrap()
        .into_inner();
    let keys = photon_service::claims::KeySet::parse(&jwks.jwks_json).unwrap();
    let claims = keys.verify(&signed_in.token).unwrap();
    assert_eq!(claims.principal_id.to_string(), alice);
    assert_eq!(claims.principal_name, "alice");
    assert_eq!(claims.scope().to_string(), "org/acme/project/web");

    assert!(
        signed_in
            .allowed(CREATE_VM, "org/acme/project/web/instances/*")
            .await
    );
    let project = GetProjectRequest {
        org_id: String::new(),
        id: "web".into(),
    };
    signed_in.admin().get_project(project).await.unwrap();
    refused(
        signed_in.create_project("acme", "other").await,
        Code::PermissionDenied,
    );
    refused(signed_in.create_org("mine").await, Code::PermissionDenied);

    // What she is told of herself.
    let who = signed_in.whoami().await.unwrap();
    assert_eq!(
        (who.org_id.as_str(), who.project_id.as_str()),
        ("acme", "web")
    );
    assert_eq!(who.bindings.len(), 1);
}

/// Nothing of another tenant can be seen, changed or even known of.
#[tokio::test]
async fn test_cross_tenant_denial() {
    let iam = start_iam().await;
    let acme = iam.people.tenant("acme", "web", "alice", "OrgAdmin").await;
    let globex = iam.people.tenant("globex", "web", "bob", "OrgAdmin").await;
    let theirs = &globex.principal_id;

    // The policy engine refuses beyond the wall, and says that it was the wall.
    for resource in [
        "org/globex/project/web/instances/*",
        "org/globex/project/web/vpcs/6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e",
        "org/globex/roles/x",
        "org/globex",
        "org/globex/project/web",
        "system/nodes/host-1",
    ] {
        let answer = acme.may(CREATE_VM, resource).await.unwrap();
        assert!(
            !answer.allowed && answer.outside_tenant,
            "{resource}: {answer:?}"
        );
    }
    assert!(
        acme.allowed(CREATE_VM, "org/acme/project/web/instances/*")
            .await
    );

    // What exists there and what does not look the same.
    let get = |id: &str| GetPrincipalRequest {
        id: id.into(),
        org_id: String::new(),
    };
    let nobody = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
    let absent = refused(
        acme.admin().get_principal(get(nobody)).await,
        Code::NotFound,
    );
    let hidden = refused(
        acme.admin().get_principal(get(theirs)).await,
        Code::NotFound,
    );
    assert_eq!(hidden.replace(theirs, nobody), absent);
    let by_name = GetPrincipalRequest {
        id: "bob".into(),
        org_id: "globex".into(),
    };
    refused(acme.admin().get_principal(by_name).await, Code::NotFound);
    let org = GetOrganizationRequest {
        id: "globex".into(),
    };
    let hidden = refused(acme.admin().get_organization(org).await, Code::NotFound);
    let org = GetOrganizationRequest {
        id: "initech".into(),
    };
    let absent = refused(acme.admin().get_organization(org).await, Code::NotFound);
    assert_eq!(hidden.replace("globex", "initech"), absent);

    // Nor can it be changed, deleted, or given anything.
    let id = theirs.clone();
    let delete = DeletePrincipalRequest {
        id: id.clone(),
        ..Default::default()
    };
    refused(acme.admin().delete_principal(delete).await, Code::NotFound);
    let disable = UpdatePrincipalRequest {
        id: id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    refused(acme.admin().update_principal(disable).await, Code::NotFound);
    let password = SetPasswordRequest {
        principal_id: id.clone(),
        new_password: "another good password".into(),
        ..Default::default()
    };
    refused(acme.admin().set_password(password).await, Code::NotFound);
    let key = CreateApiKeyRequest {
        principal_id: id.clone(),
        ..Default::default()
    };
    refused(acme.admin().create_api_key(key).await, Code::NotFound);
    refused(
        acme.create_project("globex", "mine").await,
        Code::PermissionDenied,
    );
    refused(
        acme.create_user("globex", "mallory").await,
        Code::PermissionDenied,
    );
    refused(
        acme.bind(&acme.principal_id, "OrgAdmin", "org/globex")
            .await,
        Code::PermissionDenied,
    );
    refused(
        acme.bind(&acme.principal_id, "SystemAdmin", "system").await,
        Code::PermissionDenied,
    );
    // A principal of another tenant can't be bound, in one's own organization either.
    refused(
        acme.bind(theirs, "ProjectViewer", "org/acme").await,
        Code::NotFound,
    );
    let binding = globex.whoami().await.unwrap().bindings[0].id.clone();
    let unbind = DeleteBindingRequest {
        id: binding,
        ..Default::default()
    };
    refused(acme.admin().delete_binding(unbind).await, Code::NotFound);
    let revoke = RevokeTokenRequest {
        principal_id: id,
        ..Default::default()
    };
    refused(acme.tokens().revoke_token(revoke).await, Code::NotFound);
    let revoke = RevokeTokenRequest {
        token: globex.token.clone(),
        ..Default::default()
    };
    refused(acme.tokens().revoke_token(revoke).await, Code::NotFound);

    // Lists hold one's own only.
    let orgs = acme
        .admin()
        .list_organizations(ListOrganizationsRequest::default())
        .await;
    let orgs = orgs.unwrap().into_inner().organizations;
    assert_eq!(
        orgs.iter().map(|org| org.id.as_str()).collect::<Vec<_>>(),
        ["acme"]
    );
    let list = ListPrincipalsRequest {
        org_id: "globex".into(),
        ..Default::default()
    };
    refused(
        acme.admin().list_principals(list).await,
        Code::PermissionDenied,
    );
    let people = acme
        .admin()
        .list_principals(ListPrincipalsRequest::default())
        .await;
    assert_eq!(people.unwrap().into_inner().principals.len(), 1);

    // Each of these is in the chain of whoever tried, and none in that of the other tenant.
    let events = acme.events().await;
    for action in [
        "iam:principals:get",
        "iam:principals:delete",
        "iam:principals:update",
        "iam:apiKeys:create",
        "iam:projects:create",
        "iam:bindings:create",
        "iam:bindings:delete",
        "iam:tokens:revoke",
        "iam:principals:list",
    ] {
        let denied = |event: &&Event| event.action == action && event.outcome() == Outcome::Denied;
        assert!(
            events.iter().find(denied).is_some(),
            "no refused {action} is recorded"
        );
    }
    let theirs = globex.events().await;
    assert!(theirs.iter().all(|event| event.principal_name != "alice"));

    // A token for the other organization is not to be had.
    refused(
        iam.people
            .sign_in("globex", "", "alice", PASSWORD)
            .await
            .map(drop),
        Code::Unauthenticated,
    );
    let by_id = iam
        .people
        .sign_in("globex", "", &acme.principal_id, PASSWORD)
        .await
        .map(drop);
    let reason = refused(by_id, Code::PermissionDenied);
    assert!(reason.contains("does not belong"), "{reason}");
    globex.whoami().await.unwrap();

    // An operator is walled in by a token for one organization.
    let password = iam.people.credential("operator-password");
    let inside = iam
        .people
        .sign_in("acme", "", "operator", &password)
        .await
        .unwrap();
    assert!(
        inside
            .allowed(CREATE_VM, "org/acme/project/web/instances/*")
            .await
    );
    assert!(
        inside
            .may(CREATE_VM, "org/globex/project/web/instances/*")
            .await
            .unwrap()
            .outside_tenant
    );
    refused(inside.create_org("initech").await, Code::PermissionDenied);
}

/// A role in one project is a role in no other.
#[tokio::test]
async fn test_rbac_project_scope() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "ops").await.unwrap();
    let carol = admin.create_user("acme", "carol").await.unwrap();
    admin
        .bind(&carol, "ProjectMember", "org/acme/project/web")
        .await
        .unwrap();

    let carol = iam
        .people
        .sign_in("acme", "web", "carol", PASSWORD)
        .await
        .unwrap();
    assert!(
        carol
            .allowed(CREATE_VM, "org/acme/project/web/instances/*")
            .await
    );
    assert!(
        carol
            .allowed("network:vpcs:delete", "org/acme/project/web/vpcs/x")
            .await
    );
    let no = carol
        .may(CREATE_VM, "org/acme/project/ops/instances/*")
        .await
        .unwrap();
    assert!(!no.allowed && !no.outside_tenant);
    assert_eq!(no.reason, "the token is for project web, not ops");
    assert!(!carol.allowed(CREATE_VM, "org/acme/instances/*").await);
    assert!(
        !carol
            .allowed("iam:bindings:create", "org/acme/project/web/bindings/*")
            .await
    );

    // With a token for the whole organization it is the role that says no.
    let carol = iam
        .people
        .sign_in("acme", "", "carol", PASSWORD)
        .await
        .unwrap();
    assert!(
        carol
            .allowed(CREATE_VM, "org/acme/project/web/instances/*")
            .await
    );
    let no = carol
        .may(CREATE_VM, "org/acme/project/ops/instances/*")
        .await
        .unwrap();
    assert_eq!(
        no.reason,
        format!("no role of carol permits {CREATE_VM} in org/acme/project/ops")
    );
    // There is no token for a project in which she has no role, nor for one that is not there.
    refused(
        iam.people
            .sign_in("acme", "ops", "carol", PASSWORD)
            .await
            .map(drop),
        Code::PermissionDenied,
    );
    let reason = refused(
        iam.people
            .sign_in("acme", "nope", "carol", PASSWORD)
            .await
            .map(drop),
        Code::PermissionDenied,
    );
    assert!(
        reason.contains("there is no org/acme/project/nope"),
        "{reason}"
    );

    // An administrator of the project gives roles in it, and none beyond.
    let dave = admin.create_user("acme", "dave").await.unwrap();
    admin
        .bind(&dave, "ProjectAdmin", "org/acme/project/web")
        .await
        .unwrap();
    let dave = iam
        .people
        .sign_in("acme", "web", "dave", PASSWORD)
        .await
        .unwrap();
    let erin = admin.create_user("acme", "erin").await.unwrap();
    dave.bind(&erin, "ProjectMember", "org/acme/project/web")
        .await
        .unwrap();
    refused(
        dave.bind(&erin, "ProjectMember", "org/acme/project/ops")
            .await,
        Code::PermissionDenied,
    );
    refused(
        dave.bind(&erin, "ProjectMember", "org/acme").await,
        Code::PermissionDenied,
    );
    let reason = refused(
        dave.bind(&erin, "OrgAdmin", "org/acme/project/web").await,
        Code::PermissionDenied,
    );
    assert!(
        reason.contains("which you may not do there yourself"),
        "{reason}"
    );
}

/// System over organization over project: roles inherit downward, never upward or sideways.
#[tokio::test]
async fn test_hierarchical_scope_inheritance() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "ops").await.unwrap();
    iam.people.tenant("globex", "web", "bob", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    let auditor = operator.create_user("", "auditor").await.unwrap();
    operator
        .bind(&auditor, "ProjectViewer", "system")
        .await
        .unwrap();
    let watcher = admin.create_user("acme", "watcher").await.unwrap();
    admin
        .bind(&watcher, "ProjectViewer", "org/acme")
        .await
        .unwrap();

    let everywhere = [
        "org/acme/project/web/instances/i",
        "org/acme/project/ops/instances/i",
        "org/acme/images/i",
        "org/globex/project/web/instances/i",
        "system/nodes/host-1",
    ];
    let operator_reach = [true; 5];
    let auditor = iam
        .people
        .sign_in("", "", "auditor", PASSWORD)
        .await
        .unwrap();
    let watcher = iam
        .people
        .sign_in("acme", "", "watcher", PASSWORD)
        .await
        .unwrap();
    let watcher_reach = [true, true, true, false, false];
    for (caller, reach) in [
        (&operator, operator_reach),
        (&auditor, operator_reach),
        (&watcher, watcher_reach),
    ] {
        for (resource, expected) in everywhere.iter().zip(reach) {
            assert_eq!(
                caller.allowed("compute:instances:get", resource).await,
                expected,
                "{resource}"
            );
        }
    }
    for caller in [&auditor, &watcher] {
        assert!(
            !caller
                .allowed("compute:instances:delete", everywhere[0])
                .await
        );
    }

    // A new project is below the organization from the beginning; what is made in one that is not there is not.
    assert!(
        !admin
            .allowed(CREATE_VM, "org/acme/project/lab/instances/*")
            .await
    );
    admin.create_project("acme", "lab").await.unwrap();
    assert!(
        admin
            .allowed(CREATE_VM, "org/acme/project/lab/instances/*")
            .await
    );
    assert!(
        watcher
            .allowed("compute:instances:list", "org/acme/project/lab/instances/*")
            .await
    );

    // The role above ends, and with it what was inherited: at once.
    let bindings = ListBindingsRequest {
        principal_id: watcher.principal_id.clone(),
        ..Default::default()
    };
    let bindings = admin
        .admin()
        .list_bindings(bindings)
        .await
        .unwrap()
        .into_inner()
        .bindings;
    let delete = DeleteBindingRequest {
        id: bindings[0].id.clone(),
        ..Default::default()
    };
    admin.admin().delete_binding(delete).await.unwrap();
    assert!(
        !watcher
            .allowed("compute:instances:get", everywhere[0])
            .await
    );
}

/// A role of one's own: exact actions, exact resources, conditions.
#[tokio::test]
async fn test_custom_role_fine_grained_permissions() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let own_key = r#"resource.owner == principal.id"#;
    let from_office = r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#;
    let role = admin
        .create_role(
            "acme",
            "vm-starter",
            &[
                ("compute:instances:get", "", ""),
                (
                    "compute:instances:start",
                    "org/acme/project/web/instances/*",
                    "",
                ),
                ("compute:instances:delete", "", own_key),
                (
                    "compute:images:*",
                    "org/acme/project/web/images/golden",
                    from_office,
                ),
            ],
        )
        .await
        .unwrap();
    let frank = admin.create_user("acme", "frank").await.unwrap();
    admin
        .bind(&frank, "vm-starter", "org/acme/project/web")
        .await
        .unwrap();
    let frank = iam
        .people
        .sign_in("acme", "web", "frank", PASSWORD)
        .await
        .unwrap();

    let vm = "org/acme/project/web/instances/i-1";
    assert!(frank.allowed("compute:instances:get", vm).await);
    assert!(frank.allowed("compute:instances:start", vm).await);
    assert!(!frank.allowed("compute:instances:stop", vm).await);
    assert!(
        !frank
            .allowed("network:vpcs:get", "org/acme/project/web/vpcs/v")
            .await
    );
    let delete = "compute:instances:delete";
    let me = frank.principal_id.clone();
    assert!(
        frank
            .may_with(delete, vm, &[("owner", &me)])
            .await
            .unwrap()
            .allowed
    );
    let no = frank
        .may_with(delete, vm, &[("owner", "somebody")])
        .await
        .unwrap();
    assert!(
        !no.allowed && no.reason.contains("condition of role vm-starter"),
        "{}",
        no.reason
    );
    assert!(
        !frank.allowed(delete, vm).await,
        "an owner that is not told is nobody"
    );
    let golden = "org/acme/project/web/images/golden";
    let office = [("source_ip", "10.3.2.1")];
    assert!(
        frank
            .may_with("compute:images:get", golden, &office)
            .await
            .unwrap()
            .allowed
    );
    assert!(
        !frank
            .may_with("compute:images:get", golden, &[("source_ip", "192.0.2.7")])
            .await
            .unwrap()
            .allowed
    );
    let other = "org/acme/project/web/images/other";
    assert!(
        !frank
            .may_with("compute:images:get", other, &office)
            .await
            .unwrap()
            .allowed
    );

    // A changed role changes what everybody bound to it may, at once; one that is used can't be deleted.
    let update = UpdateRoleRequest {
        id: role.clone(),
        permissions: Some(PermissionList {
            permissions: vec![photon_testkit::permission(&(
                "compute:instances:stop",
                "",
                "",
            ))],
        }),
        ..Default::default()
    };
    admin.admin().update_role(update).await.unwrap();
    assert!(frank.allowed("compute:instances:stop", vm).await);
    assert!(!frank.allowed("compute:instances:get", vm).await);
    let delete = DeleteRoleRequest {
        id: role,
        ..Default::default()
    };
    let reason = refused(
        admin.admin().delete_role(delete).await,
        Code::FailedPrecondition,
    );
    assert_eq!(
        reason,
        "role 'vm-starter' is used by 1 bindings: delete them first"
    );
}

/// Several roles add up; each goes alone.
#[tokio::test]
async fn test_multiple_role_bindings() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "ops").await.unwrap();
    let grace = admin.create_user("acme", "grace").await.unwrap();
    let viewer = admin
        .bind(&grace, "ProjectViewer", "org/acme")
        .await
        .unwrap();
    let member = admin
        .bind(&grace, "ProjectMember", "org/acme/project/web")
        .await
        .unwrap();
    let grace = iam
        .people
        .sign_in("acme", "", "grace", PASSWORD)
        .await
        .unwrap();

    let (web, ops) = (
        "org/acme/project/web/instances/i",
        "org/acme/project/ops/instances/i",
    );
    let answer = grace.may("compute:instances:get", web).await.unwrap();
    let mut decided = answer.binding_ids.clone();
    decided.sort();
    let mut both = vec![viewer.id.clone(), member.id.clone()];
    both.sort();
    assert_eq!(decided, both, "both permit it");
    assert_eq!(
        grace
            .may("compute:instances:delete", web)
            .await
            .unwrap()
            .binding_ids,
        std::slice::from_ref(&member.id)
    );
    assert!(grace.allowed("compute:instances:get", ops).await);
    assert!(!grace.allowed("compute:instances:delete", ops).await);

    let delete = |id: &str| DeleteBindingRequest {
        id: id.into(),
        ..Default::default()
    };
    admin
        .admin()
        .delete_binding(delete(&member.id))
        .await
        .unwrap();
    assert!(!grace.allowed("compute:instances:delete", web).await);
    assert!(grace.allowed("compute:instances:get", web).await);
    admin
        .admin()
        .delete_binding(delete(&viewer.id))
        .await
        .unwrap();
    assert!(!grace.allowed("compute:instances:get", web).await);
    refused(
        iam.people
            .sign_in("acme", "", "grace", PASSWORD)
            .await
            .map(drop),
        Code::PermissionDenied,
    );

    // A binding with an end stops by itself.
    let soon = std::time::SystemTime::now() + std::time::Duration::from_millis(800);
    let request = CreateBindingRequest {
        principal_id: grace.principal_id.clone(),
        role_id: "ProjectMember".into(),
        scope: "org/acme/project/web".into(),
        expires_at: Some(soon.into()),
        ..Default::default()
    };
    admin.admin().create_binding(request).await.unwrap();
    assert!(grace.allowed("compute:instances:delete", web).await);
    photon_testkit::eventually("the binding ends", || async {
        !grace.allowed("compute:instances:delete", web).await
    })
    .await;
}

/// A name that is mistyped is not taken for a project in which nothing is.
#[tokio::test]
async fn a_list_of_a_project_that_is_not_there_says_so() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    const LIST: &str = "compute:instances:list";
    let there = "org/acme/project/web/instances/*";
    assert!(admin.allowed(LIST, there).await);
    let absent = "org/acme/project/wbe/instances/*";
    let answer = admin.may(LIST, absent).await.unwrap();
    assert!(!answer.allowed);
    assert_eq!(answer.reason, "there is no org/acme/project/wbe");
    // Who may list nothing learns nothing.
    let role = ("ProjectViewer", "org/acme/project/web");
    let viewer = iam.people.user("acme", "", "viewer", role).await;
    let answer = viewer.may(LIST, absent).await.unwrap();
    assert!(answer.reason.contains("no role of viewer"), "{answer:?}");
}
