//! Credentials: shown once, kept so that a stolen store does not give them away.

use std::time::Duration;

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, PASSWORD, refused};

fn with_key(principal: &str, secret: &str) -> IssueTokenRequest {
    IssueTokenRequest {
        principal_id: principal.into(),
        org_id: "acme".into(),
        credential: Some(Credential::ApiKey(secret.into())),
        ..Default::default()
    }
}

async fn robot(admin: &Caller) -> String {
    let robot = admin.create_service_account("acme", "robot").await.unwrap();
    admin
        .bind(&robot, "ProjectMember", "org/acme")
        .await
        .unwrap();
    robot
}

#[tokio::test]
async fn an_api_key_is_shown_once_and_opens_for_its_principal_only() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let robot = robot(&admin).await;
    let create = CreateApiKeyRequest {
        principal_id: robot.clone(),
        description: "deploys".into(),
        request_id: "k-1".into(),
        ..Default::default()
    };
    let made = admin
        .admin()
        .create_api_key(create.clone())
        .await
        .unwrap()
        .into_inner();
    let id = made.api_key.clone().unwrap().id;
    assert!(made.secret.starts_with(&format!("photon_{id}_")));
    let again = admin
        .admin()
        .create_api_key(create)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.secret.as_str(), again.api_key), ("", made.api_key));

    iam.people
        .issue(with_key("robot", &made.secret))
        .await
        .unwrap();
    iam.people
        .issue(with_key("", &made.secret))
        .await
        .expect("the key tells whose it is");
    let mut wrong = made.secret.clone();
    wrong.replace_range(
        44..46,
        if &made.secret[44..46] == "AA" {
            "BB"
        } else {
            "AA"
        },
    );
    refused(
        iam.people.issue(with_key("robot", &wrong)).await.map(drop),
        Code::Unauthenticated,
    );
    refused(
        iam.people
            .issue(with_key("root", &made.secret))
            .await
            .map(drop),
        Code::Unauthenticated,
    );
    let message = refused(
        iam.people
            .issue(with_key("robot", "letmein"))
            .await
            .map(drop),
        Code::InvalidArgument,
    );
    assert!(!message.contains("letmein"), "{message}");

    let list = ListApiKeysRequest {
        principal_id: robot.clone(),
        ..Default::default()
    };
    let keys = admin
        .admin()
        .list_api_keys(list)
        .await
        .unwrap()
        .into_inner()
        .api_keys;
    assert_eq!(
        keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
        [id.as_str()]
    );
    let got = admin
        .admin()
        .get_api_key(GetApiKeyRequest { id: id.clone() })
        .await
        .unwrap();
    assert_eq!(got.into_inner().api_key.unwrap().description, "deploys");

    // One with an end has one, and no token outlives it.
    let short = CreateApiKeyRequest {
        principal_id: robot,
        ttl_seconds: 1,
        ..Default::default()
    };
    let short = admin
        .admin()
        .create_api_key(short)
        .await
        .unwrap()
        .into_inner()
        .secret;
    let token = iam.people.issue(with_key("robot", &short)).await.unwrap();
    photon_testkit::eventually("the key ends", || async {
        iam.people.issue(with_key("robot", &short)).await.is_err() && token.whoami().await.is_err()
    })
    .await;
}

#[tokio::test]
async fn s3_keys_belong_to_a_project_and_are_shown_once() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let robot = robot(&admin).await;
    let create = |project: &str| CreateS3AccessKeyRequest {
        principal_id: robot.clone(),
        project_id: project.into(),
        request_id: format!("s-{project}"),
        ..Default::default()
    };
    let made = admin
        .admin()
        .create_s3_access_key(create("web"))
        .await
        .unwrap()
        .into_inner();
    let key = made.key.unwrap();
    assert_eq!(
        (key.access_key_id.len(), made.secret_access_key.len()),
        (20, 40)
    );
    let again = admin
        .admin()
        .create_s3_access_key(create("web"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (again.secret_access_key, again.key.unwrap()),
        (String::new(), key.clone())
    );
    refused(
        admin.admin().create_s3_access_key(create("nope")).await,
        Code::NotFound,
    );
    let list = ListS3AccessKeysRequest {
        principal_id: robot.clone(),
        ..Default::default()
    };
    assert_eq!(
        admin
            .admin()
            .list_s3_access_keys(list.clone())
            .await
            .unwrap()
            .into_inner()
            .keys,
        std::slice::from_ref(&key)
    );
    let delete = DeleteS3AccessKeyRequest {
        access_key_id: key.access_key_id,
        ..Default::default()
    };
    let other = iam.people.tenant("globex", "web", "root", "OrgAdmin").await;
    refused(
        other.admin().delete_s3_access_key(delete.clone()).await,
        Code::NotFound,
    );
    admin
        .admin()
        .delete_s3_access_key(delete.clone())
        .await
        .unwrap();
    refused(
        admin.admin().delete_s3_access_key(delete).await,
        Code::NotFound,
    );
    assert!(
        admin
            .admin()
            .list_s3_access_keys(list)
            .await
            .unwrap()
            .into_inner()
            .keys
            .is_empty()
    );
}

#[tokio::test]
async fn a_stolen_store_gives_no_credential_away() {
    let mut iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let robot = robot(&admin).await;
    let key = CreateApiKeyRequest {
        principal_id: robot.clone(),
        request_id: "k".into(),
        ..Default::default()
    };
    let key = admin
        .admin()
        .create_api_key(key)
        .await
        .unwrap()
        .into_inner()
        .secret;
    let s3 = CreateS3AccessKeyRequest {
        principal_id: robot,
        project_id: "web".into(),
        request_id: "s".into(),
        ..Default::default()
    };
    let s3 = admin
        .admin()
        .create_s3_access_key(s3)
        .await
        .unwrap()
        .into_inner()
        .secret_access_key;
    let operator_password = iam.people.credential("operator-password");
    admin
        .tokens()
        .revoke_token(RevokeTokenRequest::default())
        .await
        .unwrap();
    iam.stop("iam").await;
    let mut looked_at = 0;
    for file in std::fs::read_dir(iam.place().state_dir("iam")).unwrap() {
        let path = file.unwrap().path();
        let content = std::fs::read(&path).unwrap();
        looked_at += content.len();
        // It may have underscores itself.
        let secret_part = key.splitn(3, '_').last().unwrap();
        for secret in [
            PASSWORD,
            &key,
            secret_part,
            &s3,
            &operator_password,
            &admin.token,
        ] {
            let found = content
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {}", path.display());
        }
    }
    assert!(looked_at > 10_000, "the store was looked at");
    use std::os::unix::fs::MetadataExt;
    for name in ["server-key", "flaredb.sqlite"] {
        let mode = std::fs::metadata(iam.place().state_dir("iam").join(name))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[tokio::test]
async fn passwords_change_with_the_old_one_or_by_an_administrator() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let sam = admin.create_user("acme", "sam").await.unwrap();
    admin.bind(&sam, "ProjectMember", "org/acme").await.unwrap();
    let caller = iam
        .people
        .sign_in("acme", "", "sam", PASSWORD)
        .await
        .unwrap();
    let set = |current: &str, new: &str| SetPasswordRequest {
        principal_id: sam.clone(),
        current_password: current.into(),
        new_password: new.into(),
        request_id: String::new(),
    };
    let message = refused(
        caller.admin().set_password(set("", "a new password")).await,
        Code::InvalidArgument,
    );
    assert!(message.starts_with("current_password"), "{message}");
    refused(
        caller.admin().set_password(set(PASSWORD, "short")).await,
        Code::InvalidArgument,
    );
    caller
        .admin()
        .set_password(set(PASSWORD, "a new password"))
        .await
        .unwrap();
    // Whoever had a token of before has none any more.
    refused(caller.whoami().await, Code::Unauthenticated);
    refused(
        iam.people
            .sign_in("acme", "", "sam", PASSWORD)
            .await
            .map(drop),
        Code::Unauthenticated,
    );
    iam.people
        .sign_in("acme", "", "sam", "a new password")
        .await
        .unwrap();
    admin
        .admin()
        .set_password(set("", "yet another one"))
        .await
        .unwrap();
    let caller = iam
        .people
        .sign_in("acme", "", "sam", "yet another one")
        .await
        .unwrap();
    let others = SetPasswordRequest {
        principal_id: admin.principal_id.clone(),
        new_password: "mine mine mine".into(),
        ..Default::default()
    };
    refused(
        caller.admin().set_password(others).await,
        Code::PermissionDenied,
    );
    let robot = robot(&admin).await;
    let program = SetPasswordRequest {
        principal_id: robot,
        new_password: "a long password".into(),
        ..Default::default()
    };
    refused(
        admin.admin().set_password(program).await,
        Code::FailedPrecondition,
    );
}

#[tokio::test]
async fn a_decision_over_grpc_is_quick() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = std::time::Instant::now();
        assert!(
            admin
                .allowed(
                    "compute:instances:create",
                    "org/acme/project/web/instances/*"
                )
                .await
        );
        times.push(start.elapsed());
    }
    times.sort();
    // Unoptimized and on a busy machine; the benchmark measures what is promised (p99 under 1 ms).
    assert!(times[100] < Duration::from_millis(25), "{:?}", times[100]);
}

#[tokio::test]
async fn an_api_key_ends_by_itself_and_never_after_more_than_a_year() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let made = async |ttl_seconds: u64| {
        let request = CreateApiKeyRequest {
            principal_id: operator.principal_id.clone(),
            ttl_seconds,
            ..Default::default()
        };
        let made = operator.admin().create_api_key(request).await?.into_inner();
        let key = made.api_key.expect("what was made");
        let seconds = |time: Option<prost_types::Timestamp>| time.expect("a time").seconds;
        Ok::<_, tonic::Status>(seconds(key.expires_at) - seconds(key.created_at))
    };
    const DAY: i64 = 24 * 3600;
    assert_eq!(made(0).await.unwrap(), 90 * DAY);
    assert_eq!(made(365 * 24 * 3600).await.unwrap(), 365 * DAY);
    let message = refused(made(365 * 24 * 3600 + 1).await, Code::InvalidArgument);
    assert!(message.contains("at most 31536000 (a year)"), "{message}");
}

#[tokio::test]
async fn a_member_makes_keys_for_itself_that_are_for_its_project_alone() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "db").await.unwrap();
    let role = ("ProjectMember", "org/acme/project/web");
    let member = iam.people.user("acme", "web", "carol", role).await;
    let elsewhere = "org/acme/project/db";
    let carol = &member.principal_id;
    admin.bind(carol, "ProjectMember", elsewhere).await.unwrap();
    let secret = member.create_api_key(carol).await.unwrap();
    // Nobody else's, and not one for all of the organization.
    refused(
        member.create_api_key(&admin.principal_id).await,
        Code::PermissionDenied,
    );
    let whole = iam.people.sign_in("acme", "", "carol", PASSWORD).await;
    refused(
        whole.unwrap().create_api_key(carol).await,
        Code::PermissionDenied,
    );

    let sign_in = async |org: &str, project: &str| {
        iam.people
            .issue(IssueTokenRequest {
                org_id: org.into(),
                project_id: project.into(),
                credential: Some(Credential::ApiKey(secret.clone())),
                ..Default::default()
            })
            .await
    };
    for (org, project) in [("", ""), ("acme", ""), ("acme", "web")] {
        let signed_in = sign_in(org, project).await.unwrap();
        let who = signed_in.whoami().await.unwrap();
        assert_eq!((&*who.org_id, &*who.project_id), ("acme", "web"));
    }
    let message = refused(
        sign_in("acme", "db").await.map(drop),
        Code::PermissionDenied,
    );
    assert!(
        message.contains("the API key is for project web of organization acme"),
        "{message}"
    );

    // It sees and deletes its own.
    let list = ListApiKeysRequest {
        principal_id: carol.clone(),
        ..Default::default()
    };
    let keys = member.admin().list_api_keys(list.clone()).await.unwrap();
    let keys = keys.into_inner().api_keys;
    assert_eq!((keys.len(), keys[0].project_id.as_str()), (1, "web"));
    let there = iam.people.sign_in("acme", "db", "carol", PASSWORD).await;
    let others = there.unwrap().admin().list_api_keys(list).await.unwrap();
    assert_eq!(others.into_inner().api_keys, []);
    let delete = DeleteApiKeyRequest {
        id: keys[0].id.clone(),
        ..Default::default()
    };
    member.admin().delete_api_key(delete).await.unwrap();
    refused(
        sign_in("acme", "web").await.map(drop),
        Code::Unauthenticated,
    );
}

#[tokio::test]
async fn a_projects_administrator_gives_roles_keys_and_looks_at_its_events() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let scope = "org/acme/project/web";
    let role = ("ProjectAdmin", scope);
    let dave = iam.people.user("acme", "web", "dave", role).await;
    admin.create_user("acme", "erin").await.unwrap();
    for role in ["ProjectAdmin", "ProjectMember", "ProjectViewer"] {
        // By name: who is in the organization it need not see.
        dave.bind("erin", role, scope).await.unwrap();
    }
    let s3_key = CreateS3AccessKeyRequest {
        principal_id: dave.principal_id.clone(),
        project_id: "web".into(),
        ..Default::default()
    };
    dave.admin().create_s3_access_key(s3_key).await.unwrap();
    let list = ListS3AccessKeysRequest {
        principal_id: dave.principal_id.clone(),
        ..Default::default()
    };
    let keys = dave.admin().list_s3_access_keys(list).await.unwrap();
    assert_eq!(keys.into_inner().keys.len(), 1);
    let events = dave.events().await;
    assert!(
        events
            .iter()
            .any(|event| event.action == "iam:s3Keys:create")
    );
}
