//! The first operator, and the programs' own identities.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use tonic::Code;

use photon_testcloud::iam::{blank, start as start_iam};
use photon_testkit::{Cloud, PASSWORD, refused};

fn request(token: &str) -> BootstrapRequest {
    BootstrapRequest {
        one_time_token: token.into(),
        name: "admin".into(),
        password: PASSWORD.into(),
    }
}

#[tokio::test]
async fn the_one_time_token_makes_one_operator_once() {
    let mut iam = Cloud::start([blank("host-1", |_, _| ())]).await;
    // It serves when it has made what it needs.
    let mut first = iam.people.stranger().tokens();
    first.get_jwks(GetJwksRequest {}).await.unwrap();
    let file = iam.place().state_dir("iam").join("bootstrap-token");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let token = std::fs::read_to_string(&file).unwrap();
    assert!(token.len() >= 43, "256 bits");
    // It is the same after a restart.
    iam.restart("iam").await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), token);

    let bootstrap = |request: BootstrapRequest| {
        let mut client = iam.people.stranger().tokens();
        async move {
            client
                .bootstrap(request)
                .await
                .map(|done| done.into_inner().principal.unwrap())
        }
    };
    for wrong in ["", "letmein", &token[1..]] {
        refused(bootstrap(request(wrong)).await, Code::Unauthenticated);
    }
    let short = BootstrapRequest {
        password: "short".into(),
        ..request(&token)
    };
    let message = refused(bootstrap(short).await, Code::InvalidArgument);
    assert!(message.contains("at least 12"), "{message}");

    // Of several at the same time one is the first.
    let all = futures::future::join_all((0..4).map(|_| bootstrap(request(&token)))).await;
    let (made, refusals): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1, "{refusals:?}");
    assert_eq!(made[0].as_ref().unwrap().name, "admin");
    assert!(!file.exists(), "the token is used up");
    let message = refused(bootstrap(request(&token)).await, Code::FailedPrecondition);
    assert_eq!(message, "there is an operator already: sign in as one");

    let admin = iam.people.sign_in("", "", "admin", PASSWORD).await.unwrap();
    admin.create_org("acme").await.unwrap();
    iam.restart("iam").await;
    assert!(!file.exists());
    refused(
        iam.people
            .stranger()
            .tokens()
            .bootstrap(request(&token))
            .await,
        Code::FailedPrecondition,
    );
}

#[tokio::test]
async fn credentials_make_the_operator_and_the_programs_and_nothing_twice() {
    let mut iam = start_iam().await;
    assert!(
        !iam.place()
            .state_dir("iam")
            .join("bootstrap-token")
            .exists()
    );
    let operator = iam.people.operator().await;
    let list = |caller: photon_testkit::Caller| async move {
        let list = ListPrincipalsRequest::default();
        let list = caller
            .admin()
            .list_principals(list)
            .await
            .unwrap()
            .into_inner();
        list.principals
            .into_iter()
            .map(|it| (it.name, it.id))
            .collect::<Vec<_>>()
    };
    let before = list(operator.clone()).await;
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    let programs = [
        "flashdns-agent@host-1",
        "flashdns-server",
        "photon-provisioner",
        "plasmavmc-agent@host-1",
        "plasmavmc-server",
        "prismnet-agent@host-1",
        "prismnet-server",
    ];
    assert_eq!(
        names,
        [
            programs[0],
            programs[1],
            "operator",
            programs[2],
            programs[3],
            programs[4],
            programs[5],
            programs[6],
        ]
    );

    // A password that was changed since is not set back, and one that was leaked does not come back.
    let password = SetPasswordRequest {
        principal_id: operator.principal_id.clone(),
        current_password: iam.people.credential("operator-password"),
        new_password: PASSWORD.into(),
        ..Default::default()
    };
    operator.admin().set_password(password).await.unwrap();
    let old_key = iam.people.credential("prismnet-server.key");
    std::fs::remove_file(iam.place().dir().join("credentials/prismnet-server.key")).unwrap();
    iam::app::bootstrap::make_credentials(&iam.place().dir().join("credentials")).unwrap();
    iam.restart("iam").await;
    refused(
        iam.people
            .sign_in(
                "",
                "",
                "operator",
                &iam.people.credential("operator-password"),
            )
            .await
            .map(drop),
        Code::Unauthenticated,
    );
    let operator = iam
        .people
        .sign_in("", "", "operator", PASSWORD)
        .await
        .unwrap();
    assert_eq!(list(operator).await, before);

    // A new file takes the old key's place.
    let with = |secret: &str| IssueTokenRequest {
        principal_id: "prismnet-server".into(),
        credential: Some(Credential::ApiKey(secret.into())),
        ..Default::default()
    };
    refused(
        iam.people.issue(with(&old_key)).await.map(drop),
        Code::Unauthenticated,
    );
    iam.people
        .issue(with(&iam.people.credential("prismnet-server.key")))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_store_of_a_running_iam_is_backed_up_by_its_program() {
    let iam = start_iam().await;
    iam.people
        .operator()
        .await
        .create_org("acme")
        .await
        .unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iam-server"));
        let output = command
            .args(arguments)
            .arg("--state-dir")
            .arg(iam.place().state_dir("iam"))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let copy = iam.place().dir().join("iam.sqlite").display().to_string();
    let (done, said) = run(&["backup", "--to", &copy]);
    // Without it, what is sealed in the store is lost; in it, a stolen backup would open it.
    assert!(done && said.contains("iam/server-key"), "{said}");
    let (done, said) = run(&["verify", "--store", &copy]);
    assert!(done, "{said}");
    let (done, said) = run(&["restore", "--from", &copy]);
    assert!(!done && said.contains("stop the server first"), "{said}");
}

#[test]
fn the_subcommand_makes_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = dir.path().join("credentials");
    let run = || {
        let command = Command::new(env!("CARGO_BIN_EXE_iam-server"))
            .args(["bootstrap", "--credentials-dir"])
            .arg(&credentials)
            .output()
            .unwrap();
        assert!(command.status.success(), "{command:?}");
        String::from_utf8(command.stdout).unwrap()
    };
    let said = run();
    let password = std::fs::read_to_string(credentials.join("operator-password")).unwrap();
    assert!(
        said.contains("operator-password") && !said.contains(&password),
        "{said}"
    );
    assert!(run().contains("everything is there"));
    assert_eq!(
        std::fs::read_to_string(credentials.join("operator-password")).unwrap(),
        password
    );
    assert_eq!(
        std::fs::metadata(&credentials).unwrap().mode() & 0o7777,
        0o700
    );
}
