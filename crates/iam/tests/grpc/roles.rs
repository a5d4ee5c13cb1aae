//! Roles: errors that point at the column, and nobody who gives what they don't have.

use std::time::{Duration, SystemTime};

use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{PASSWORD, permission, refused};

#[tokio::test]
async fn a_condition_that_can_not_be_is_refused_at_its_column() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    for (action, resource, condition, says) in [
        (
            "compute",
            "",
            "",
            "permissions[0].action 'compute' is not valid: expected 'SERVICE:TYPE:VERB' with '*' for any: column 8: ends after 'compute'",
        ),
        (
            "compute:inst*:get",
            "",
            "",
            "column 13: '*' is not allowed in 'inst*'",
        ),
        (
            "compute:*",
            "org/acme/project",
            "",
            "permissions[0].resource 'org/acme/project' is not valid",
        ),
        (
            "compute:*",
            "acme/*",
            "",
            "column 1: begins with neither 'org' nor 'system'",
        ),
        (
            "compute:*",
            "",
            "context.source == \"a\"",
            "permissions[0].condition 'context.source == \"a\"' is not valid: expected a Cedar expression that is true or false: column 1: ",
        ),
        (
            "compute:*",
            "",
            "resource.owner = principal.id",
            "column 1: '=' is not a valid operator in Cedar (try using '==' instead)",
        ),
        (
            "compute:*",
            "",
            "resource.owner == principal.id &&\n  resource.colour == \"red\"",
            "line 2, column 3: ",
        ),
        (
            "compute:*",
            "",
            "resource.owner",
            "column 1: unexpected type: expected Bool but saw String",
        ),
        (
            "compute:*",
            "",
            "true }; permit(principal, action, resource) when { true",
            "column 6: ",
        ),
        ("compute:*", "", "if true then", "column 13: "),
    ] {
        let made = admin
            .create_role("acme", "wrong", &[(action, resource, condition)])
            .await;
        let message = refused(made, Code::InvalidArgument);
        assert!(
            message.contains(says),
            "{action} {resource} {condition}: {message}"
        );
    }
    let message = refused(
        admin
            .create_role(
                "acme",
                "wrong",
                &[
                    ("compute:*", "", ""),
                    ("compute:*", "", "true && resource.wheels == 4"),
                ],
            )
            .await,
        Code::InvalidArgument,
    );
    let lines: Vec<&str> = message.lines().collect();
    assert!(
        lines[0].starts_with("permissions[1].condition"),
        "{message}"
    );
    assert_eq!(lines[1], "  true && resource.wheels == 4");
    assert_eq!(lines[2], format!("  {}^", " ".repeat("true && ".len())));
    refused(
        admin.create_role("acme", "empty", &[]).await,
        Code::InvalidArgument,
    );
    let many = vec![("compute:*", "", ""); 101];
    refused(
        admin.create_role("acme", "many", &many).await,
        Code::InvalidArgument,
    );
    // None of them was made.
    let roles = admin
        .admin()
        .list_roles(ListRolesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .roles;
    assert!(roles.iter().all(|role| role.built_in));
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "ops").await.unwrap();
    // Somebody who may give roles, make roles and keys, and start VMs of their own.
    admin
        .create_role(
            "acme",
            "clerk",
            &[
                ("iam:bindings:*", "", ""),
                ("iam:roles:*", "", ""),
                ("iam:apiKeys:*", "", ""),
                ("compute:instances:*", "", "resource.owner == principal.id"),
                ("compute:images:*", "org/acme/project/web/*", ""),
            ],
        )
        .await
        .unwrap();
    let tom = admin.create_user("acme", "tom").await.unwrap();
    admin.bind(&tom, "clerk", "org/acme").await.unwrap();
    let tom = iam
        .people
        .sign_in("acme", "", "tom", PASSWORD)
        .await
        .unwrap();
    let una = admin.create_service_account("acme", "una").await.unwrap();

    type Case<'a> = (&'a str, &'a [(&'a str, &'a str, &'a str)], &'a str, bool);
    let cases: [Case<'_>; 8] = [
        (
            "same-condition",
            &[(
                "compute:instances:start",
                "",
                "resource.owner == principal.id",
            )],
            "org/acme",
            true,
        ),
        (
            "no-condition",
            &[("compute:instances:start", "", "")],
            "org/acme",
            false,
        ),
        (
            "weaker-condition",
            &[("compute:instances:start", "", "true")],
            "org/acme",
            false,
        ),
        (
            "images-there",
            &[("compute:images:get", "", "")],
            "org/acme/project/web",
            true,
        ),
        (
            "images-elsewhere",
            &[("compute:images:get", "", "")],
            "org/acme/project/ops",
            false,
        ),
        (
            "images-everywhere",
            &[("compute:images:get", "", "")],
            "org/acme",
            false,
        ),
        (
            "one-of-two",
            &[("iam:roles:get", "", ""), ("network:vpcs:get", "", "")],
            "org/acme",
            false,
        ),
        ("everything", &[("*", "*", "")], "org/acme", false),
    ];
    for (name, permissions, scope, expected) in cases {
        let id = tom.create_role("acme", name, permissions).await.unwrap();
        let bound = tom.bind(&una, &id, scope).await;
        assert_eq!(bound.is_ok(), expected, "{name}: {bound:?}");
        if let Err(status) = bound {
            assert_eq!(status.code(), Code::PermissionDenied);
            assert!(
                status
                    .message()
                    .contains("which you may not do there yourself"),
                "{status}"
            );
        }
    }
    for built_in in ["OrgAdmin", "ProjectMember", "ProjectViewer"] {
        refused(
            tom.bind(&tom.principal_id, built_in, "org/acme").await,
            Code::PermissionDenied,
        );
    }

    // Nor by widening a role that is bound already.
    let narrow = GetRoleRequest {
        id: "same-condition".into(),
        ..Default::default()
    };
    let narrow = tom
        .admin()
        .get_role(narrow)
        .await
        .unwrap()
        .into_inner()
        .role
        .unwrap();
    let widen = |permissions: &[(&str, &str, &str)]| UpdateRoleRequest {
        id: narrow.id.clone(),
        permissions: Some(PermissionList {
            permissions: permissions.iter().map(permission).collect(),
        }),
        ..Default::default()
    };
    refused(
        tom.admin()
            .update_role(widen(&[("network:*", "", "")]))
            .await,
        Code::PermissionDenied,
    );
    tom.admin()
        .update_role(widen(&[("iam:roles:get", "", "")]))
        .await
        .unwrap();
    admin
        .admin()
        .update_role(widen(&[("network:*", "", "")]))
        .await
        .unwrap();

    // Nor by a key of somebody who may more.
    let key = CreateApiKeyRequest {
        principal_id: una.clone(),
        ..Default::default()
    };
    let message = refused(
        tom.admin().create_api_key(key.clone()).await,
        Code::PermissionDenied,
    );
    assert!(
        message.contains("its role same-condition at org/acme permits network:*"),
        "{message}"
    );
    admin.admin().create_api_key(key).await.unwrap();

    // Nor by giving for longer what one has for a while.
    let soon = SystemTime::now() + Duration::from_secs(3600);
    let vera = admin.create_user("acme", "vera").await.unwrap();
    let for_a_while = |principal: &str, end: Option<SystemTime>| CreateBindingRequest {
        principal_id: principal.into(),
        role_id: "clerk".into(),
        scope: "org/acme".into(),
        expires_at: end.map(Into::into),
        ..Default::default()
    };
    let hers = admin
        .admin()
        .create_binding(for_a_while(&vera, Some(soon)))
        .await
        .unwrap();
    let hers = hers.into_inner().binding.unwrap();
    let vera = iam
        .people
        .sign_in("acme", "", "vera", PASSWORD)
        .await
        .unwrap();
    refused(
        vera.admin().create_binding(for_a_while(&una, None)).await,
        Code::PermissionDenied,
    );
    let later = soon + Duration::from_secs(1);
    refused(
        vera.admin()
            .create_binding(for_a_while(&una, Some(later)))
            .await,
        Code::PermissionDenied,
    );
    vera.admin()
        .create_binding(for_a_while(&una, Some(soon)))
        .await
        .unwrap();
    let longer = |end: SystemTime| UpdateBindingRequest {
        id: hers.id.clone(),
        expires_at: Some(end.into()),
        ..Default::default()
    };
    refused(
        vera.admin().update_binding(longer(later)).await,
        Code::PermissionDenied,
    );
    admin.admin().update_binding(longer(later)).await.unwrap();
    let past = SystemTime::now() - Duration::from_secs(1);
    refused(
        admin.admin().update_binding(longer(past)).await,
        Code::InvalidArgument,
    );
}

#[tokio::test]
async fn built_in_roles_stay_as_they_are() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    for caller in [&admin, &operator] {
        let update = UpdateRoleRequest {
            id: "ProjectViewer".into(),
            description: Some("mine".into()),
            ..Default::default()
        };
        let message = refused(
            caller.admin().update_role(update).await,
            Code::FailedPrecondition,
        );
        assert_eq!(
            message,
            "role 'ProjectViewer' is built in: make a custom role instead"
        );
        let delete = DeleteRoleRequest {
            id: "ProjectViewer".into(),
            ..Default::default()
        };
        refused(
            caller.admin().delete_role(delete).await,
            Code::FailedPrecondition,
        );
    }
    let pretend = admin
        .create_role("acme", "SystemAdmin", &[("compute:*", "", "")])
        .await;
    refused(pretend, Code::InvalidArgument);
}

#[tokio::test]
async fn nobody_has_a_role_twice_or_more_bindings_than_can_be_read_at_each_call() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let bob = admin.create_user("acme", "bob").await.unwrap();
    let scope = "org/acme/project/web";
    let first = admin.bind(&bob, "ProjectViewer", scope).await.unwrap();
    let message = refused(
        admin.bind(&bob, "ProjectViewer", scope).await,
        Code::AlreadyExists,
    );
    assert_eq!(
        message,
        format!(
            "binding 'ProjectViewer of 'bob' at {scope}: {}' already exists",
            first.id
        )
    );
    // Elsewhere it is another one.
    admin.bind(&bob, "ProjectViewer", "org/acme").await.unwrap();

    for n in 0..62 {
        let scope = format!("org/acme/project/p{n}");
        admin
            .create_project("acme", &format!("p{n}"))
            .await
            .unwrap();
        admin.bind(&bob, "ProjectViewer", &scope).await.unwrap();
    }
    let message = refused(
        admin.bind(&bob, "ProjectMember", scope).await,
        Code::ResourceExhausted,
    );
    assert!(
        message.starts_with("'bob' has its 64 bindings"),
        "{message}"
    );
}

#[tokio::test]
async fn conditions_of_all_roles_of_somebody_are_bounded_also_where_a_role_grows() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let bob = admin.create_user("acme", "bob").await.unwrap();
    let long = format!("resource.id == \"{}\"", "x".repeat(1900));
    let permission = ("network:vpcs:get", "", long.as_str());
    let heavy = admin.create_role("acme", "heavy", &[permission; 30]).await;
    let light = admin.create_role("acme", "light", &[permission; 1]).await;
    let (heavy, light) = (heavy.unwrap(), light.unwrap());
    let scope = "org/acme/project/web";
    admin.bind(&bob, &heavy, scope).await.unwrap();
    admin.bind(&bob, &light, scope).await.unwrap();
    let expected = "bytes of conditions in all its roles: at most 65536";
    let message = refused(
        admin.bind(&bob, &heavy, "org/acme").await,
        Code::ResourceExhausted,
    );
    assert!(message.contains(expected), "{message}");
    let grown = UpdateRoleRequest {
        id: light,
        permissions: Some(PermissionList {
            permissions: vec![photon_testkit::permission(&permission); 10],
        }),
        ..Default::default()
    };
    let message = refused(
        admin.admin().update_role(grown).await,
        Code::ResourceExhausted,
    );
    assert!(message.contains(expected), "{message}");
}
