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
        Code::PermissionDenied,
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
        let secret_part = key.rsplit('_').next().unwrap();
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
