//! Sessions: what they go on with, and all that ends them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, Cloud, PASSWORD, eventually, refused};
use tonic::{Code, Status};

/// Somebody signed in, for whom the session goes on.
struct Going {
    caller: Caller,
    refresh_token: String,
    session: Session,
}

fn by_password(user: &str, project: &str) -> IssueTokenRequest {
    IssueTokenRequest {
        principal_id: user.into(),
        org_id: "acme".into(),
        project_id: project.into(),
        credential: Some(Credential::Password(PASSWORD.into())),
        session: Some(NewSession::default()),
        ..Default::default()
    }
}

async fn begin(iam: &Cloud, request: IssueTokenRequest) -> Result<Going, Status> {
    let stranger = iam.people.stranger();
    let issued = stranger.tokens().issue_token(request).await?.into_inner();
    Ok(Going {
        caller: stranger.with_token(&issued.token),
        refresh_token: issued.refresh_token,
        session: issued.session.expect("a session was asked for"),
    })
}

async fn refresh(iam: &Cloud, refresh_token: &str) -> Result<RefreshTokenResponse, Status> {
    let request = RefreshTokenRequest {
        refresh_token: refresh_token.to_owned(),
    };
    let answer = iam
        .people
        .stranger()
        .sessions()
        .refresh_token(request)
        .await;
    Ok(answer?.into_inner())
}

async fn list(by: &Caller, principal_id: &str) -> Result<Vec<Session>, Status> {
    let request = ListSessionsRequest {
        principal_id: principal_id.to_owned(),
        ..Default::default()
    };
    Ok(by
        .sessions()
        .list_sessions(request)
        .await?
        .into_inner()
        .sessions)
}

async fn end(by: &Caller, id: &str) -> Result<(), Status> {
    let request = EndSessionRequest {
        id: id.to_owned(),
        ..Default::default()
    };
    by.sessions().end_session(request).await.map(drop)
}

/// An administrator of `acme`, and the id of `alice`, a member of its project `web`.
async fn acme(iam: &Cloud) -> (Caller, String) {
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let alice = admin.create_user("acme", "alice").await.unwrap();
    let scope = "org/acme/project/web";
    admin.bind(&alice, "ProjectMember", scope).await.unwrap();
    (admin, alice)
}

#[tokio::test]
async fn a_session_goes_on_with_tokens_of_the_same_kind() {
    let iam = start_iam().await;
    let (admin, alice) = acme(&iam).await;
    let asked = IssueTokenRequest {
        ttl_seconds: 100,
        ..by_password("alice", "web")
    };
    let going = begin(&iam, asked).await.unwrap();
    let who = going.caller.whoami().await.unwrap();
    assert_eq!(who.session_id, going.session.id);
    assert!(
        going.session.client.contains("tonic"),
        "{:?}",
        going.session
    );

    let next = refresh(&iam, &going.refresh_token).await.unwrap();
    assert_ne!(next.refresh_token, going.refresh_token);
    let renewed = going.caller.with_token(&next.token);
    let who = renewed.whoami().await.unwrap();
    assert_eq!(
        (who.org_id.as_str(), who.project_id.as_str()),
        ("acme", "web")
    );
    let left = next.expires_at.unwrap().seconds - who.expires_at.unwrap().seconds;
    assert_eq!(left, 0);
    let life = next.expires_at.unwrap().seconds
        - next.session.clone().unwrap().last_used_at.unwrap().seconds;
    assert!((99..=101).contains(&life), "{life}");
    // A project's token stays a project's.
    let elsewhere = "org/acme/project/db/vpcs/v";
    assert!(
        renewed
            .allowed("network:vpcs:get", "org/acme/project/web/vpcs/v")
            .await
    );
    assert!(!renewed.allowed("network:vpcs:get", elsewhere).await);
    // The token of before is as good as it was.
    going.caller.whoami().await.unwrap();

    // Without a role there is none.
    let bindings = ListBindingsRequest {
        principal_id: alice,
        ..Default::default()
    };
    let bindings = admin.admin().list_bindings(bindings).await.unwrap();
    let id = bindings.into_inner().bindings[0].id.clone();
    let delete = DeleteBindingRequest {
        id,
        ..Default::default()
    };
    admin.admin().delete_binding(delete).await.unwrap();
    refused(
        refresh(&iam, &next.refresh_token).await,
        Code::PermissionDenied,
    );
}

#[tokio::test]
async fn what_is_shown_once_is_in_no_store_and_no_list() {
    let iam = start_iam().await;
    acme(&iam).await;
    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let listed = list(&going.caller, "").await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&going.session));
    // As it is given, as bytes, and as records hold bytes: each of its two halves.
    let text = going.refresh_token.as_bytes();
    let secret = &text[text.len() - 86..];
    let both = BASE64.decode(secret).unwrap();
    let mut forms = vec![secret.to_vec()];
    for half in both.chunks(32) {
        forms.push(half.to_vec());
        forms.push(serde_json::to_vec(half).unwrap());
    }
    let mut read = 0;
    for file in std::fs::read_dir(iam.place().state_dir("iam")).unwrap() {
        let path = file.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        read += bytes.len();
        for form in &forms {
            let found = bytes.windows(form.len()).any(|it| it == form);
            assert!(!found, "{}", path.display());
        }
    }
    assert!(read > 10_000, "the store was not found");
    // Nobody is asked for one that did not want it.
    let plain = IssueTokenRequest {
        session: None,
        ..by_password("alice", "web")
    };
    let issued = iam.people.stranger().tokens().issue_token(plain).await;
    let issued = issued.unwrap().into_inner();
    assert_eq!((issued.refresh_token.as_str(), issued.session), ("", None));
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_so_is_one_to_two_at_once() {
    let iam = start_iam().await;
    acme(&iam).await;
    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let asked = (0..8).map(|_| refresh(&iam, &going.refresh_token));
    let mut answers = Vec::new();
    for answer in futures::future::join_all(asked).await {
        answers.push(answer.unwrap().refresh_token);
    }
    answers.push(
        refresh(&iam, &going.refresh_token)
            .await
            .unwrap()
            .refresh_token,
    );
    assert!(answers.iter().all(|it| *it == answers[0]), "they differ");
    refresh(&iam, &answers[0]).await.unwrap();
}

#[tokio::test]
async fn one_that_was_used_before_ends_the_session_and_is_an_event() {
    let iam = start_iam().await;
    let (admin, _) = acme(&iam).await;
    let going = begin(&iam, by_password("alice", "")).await.unwrap();
    let first = refresh(&iam, &going.refresh_token).await.unwrap();
    let second = refresh(&iam, &first.refresh_token).await.unwrap();
    let message = refused(
        refresh(&iam, &going.refresh_token).await,
        Code::Unauthenticated,
    );
    assert!(message.contains("second time"), "{message}");
    // Whoever has which: none is good any more, nor is a token that was got with one.
    refused(
        refresh(&iam, &second.refresh_token).await,
        Code::Unauthenticated,
    );
    let token = going.caller.with_token(&second.token);
    refused(token.whoami().await, Code::Unauthenticated);
    let events = admin.events().await;
    let ended = events
        .iter()
        .find(|event| event.action == "iam:sessions:end");
    let ended = ended.expect("an event");
    assert!(ended.reason.contains("second time"), "{ended:?}");
    assert!(ended.resource.ends_with(&going.session.id), "{ended:?}");
    for action in ["iam:sessions:create", "iam:sessions:refresh"] {
        assert!(
            events.iter().any(|event| event.action == action),
            "{action}"
        );
    }
}

#[tokio::test]
async fn one_that_was_made_up_ends_nothing_and_is_slowed() {
    let iam = start_iam().await;
    acme(&iam).await;
    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let made_up = format!("photon_session_{}_{}", going.session.id, "A".repeat(86));
    let mut slowed = false;
    for _ in 0..12 {
        let status = refresh(&iam, &made_up).await.unwrap_err();
        slowed |= status.code() == Code::ResourceExhausted;
    }
    assert!(slowed);
    let malformed = refresh(&iam, "photon_session_x").await;
    let message = refused(malformed, Code::InvalidArgument);
    assert!(
        message.contains("refresh_token") && !message.contains("session_x"),
        "{message}"
    );
    // Its own tokens are as good as before.
    going.caller.whoami().await.unwrap();
}

#[tokio::test]
async fn a_session_ends_with_all_that_it_depends_on() {
    let iam = start_iam().await;
    let (admin, alice) = acme(&iam).await;
    let gone = async |going: Going, why: &str| {
        let refreshed = refresh(&iam, &going.refresh_token).await.map(drop);
        assert_eq!(
            refreshed.unwrap_err().code(),
            Code::Unauthenticated,
            "{why}"
        );
        let code = going.caller.whoami().await.unwrap_err().code();
        assert_eq!(code, Code::Unauthenticated, "{why}");
    };

    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    end(&going.caller, "").await.unwrap();
    gone(going, "it was ended").await;

    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let revoke = RevokeTokenRequest {
        principal_id: alice.clone(),
        ..Default::default()
    };
    admin.tokens().revoke_token(revoke).await.unwrap();
    assert!(list(&admin, &alice).await.unwrap().is_empty());
    gone(going, "all tokens were revoked").await;

    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let password = SetPasswordRequest {
        principal_id: alice.clone(),
        new_password: PASSWORD.into(),
        ..Default::default()
    };
    admin.admin().set_password(password).await.unwrap();
    gone(going, "the password was changed").await;

    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let disable = |disabled| UpdatePrincipalRequest {
        id: alice.clone(),
        disabled: Some(disabled),
        ..Default::default()
    };
    admin.admin().update_principal(disable(true)).await.unwrap();
    admin
        .admin()
        .update_principal(disable(false))
        .await
        .unwrap();
    gone(going, "the principal was disabled for a while").await;

    let robot = admin.create_service_account("acme", "robot").await.unwrap();
    let scope = "org/acme/project/web";
    admin.bind(&robot, "ProjectMember", scope).await.unwrap();
    let key = CreateApiKeyRequest {
        principal_id: robot.clone(),
        ..Default::default()
    };
    let key = admin
        .admin()
        .create_api_key(key)
        .await
        .unwrap()
        .into_inner();
    let by_key = IssueTokenRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        credential: Some(Credential::ApiKey(key.secret)),
        session: Some(NewSession {
            client: "nightly build".into(),
        }),
        ..Default::default()
    };
    let going = begin(&iam, by_key).await.unwrap();
    assert_eq!(going.session.client, "nightly build");
    refresh(&iam, &going.refresh_token).await.unwrap();
    let delete = DeleteApiKeyRequest {
        id: key.api_key.unwrap().id,
        ..Default::default()
    };
    admin.admin().delete_api_key(delete).await.unwrap();
    assert!(list(&admin, &robot).await.unwrap().is_empty());
    gone(going, "the key was deleted").await;

    let going = begin(&iam, by_password("alice", "web")).await.unwrap();
    let delete = DeletePrincipalRequest {
        id: alice,
        ..Default::default()
    };
    admin.admin().delete_principal(delete).await.unwrap();
    gone(going, "the principal was deleted").await;

    let going = begin(&iam, by_password("root", "")).await.unwrap();
    let rotate = RotateSigningKeyRequest { revoke_old: true };
    let operator = iam.people.operator().await;
    operator.tokens().rotate_signing_key(rotate).await.unwrap();
    gone(going, "all tokens of all were revoked").await;
}

#[tokio::test]
async fn everybody_ends_their_own_and_administrators_those_of_their_organization() {
    let iam = start_iam().await;
    let (admin, alice) = acme(&iam).await;
    let other = iam.people.tenant("globex", "web", "boss", "OrgAdmin").await;
    let bob = admin.create_user("acme", "bob").await.unwrap();
    admin
        .bind(&bob, "ProjectMember", "org/acme/project/web")
        .await
        .unwrap();
    let first = begin(&iam, by_password("alice", "web")).await.unwrap();
    let second = begin(&iam, by_password("alice", "")).await.unwrap();
    let bob = begin(&iam, by_password("bob", "")).await.unwrap();

    // Of a project's token the sessions for the project, of others all.
    assert_eq!(
        list(&first.caller, "").await.unwrap(),
        std::slice::from_ref(&first.session)
    );
    assert_eq!(list(&second.caller, "").await.unwrap().len(), 2);
    assert_eq!(list(&admin, &alice).await.unwrap().len(), 2);
    refused(list(&bob.caller, &alice).await, Code::PermissionDenied);
    refused(list(&other, &alice).await, Code::NotFound);

    let id = second.session.id.as_str();
    refused(end(&other, id).await, Code::NotFound);
    refused(end(&bob.caller, id).await, Code::PermissionDenied);
    refused(end(&first.caller, id).await, Code::PermissionDenied);
    end(&admin, id).await.unwrap();
    refused(second.caller.whoami().await, Code::Unauthenticated);
    first.caller.whoami().await.unwrap();

    let third = begin(&iam, by_password("alice", "")).await.unwrap();
    let all = EndSessionRequest {
        principal_id: alice.clone(),
        ..Default::default()
    };
    third.caller.sessions().end_session(all).await.unwrap();
    for ended in [&first, &third] {
        refused(ended.caller.whoami().await, Code::Unauthenticated);
    }
    bob.caller.whoami().await.unwrap();
    refused(end(&admin, "").await, Code::InvalidArgument);
}

#[tokio::test]
async fn a_sign_in_too_many_ends_the_session_that_was_not_used_for_longest() {
    let iam = start_iam().await;
    let (admin, alice) = acme(&iam).await;
    let key = iam.people.member("acme", "web", "ProjectMember").await;
    let secret = admin.create_api_key(&key.principal_id).await.unwrap();
    let by_key = || IssueTokenRequest {
        credential: Some(Credential::ApiKey(secret.clone())),
        session: Some(NewSession::default()),
        ..Default::default()
    };
    let first = begin(&iam, by_key()).await.unwrap();
    let second = begin(&iam, by_key()).await.unwrap();
    refresh(&iam, &first.refresh_token).await.unwrap();
    for _ in 0..19 {
        begin(&iam, by_key()).await.unwrap();
    }
    assert_eq!(list(&admin, &key.principal_id).await.unwrap().len(), 20);
    refused(
        refresh(&iam, &second.refresh_token).await,
        Code::Unauthenticated,
    );
    first.caller.whoami().await.unwrap();
    assert!(list(&admin, &alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_acts_as_somebody_else_begins_none() {
    let iam = start_iam().await;
    let (_, alice) = acme(&iam).await;
    let operator = iam.people.operator().await;
    let request = IssueTokenRequest {
        principal_id: alice,
        session: Some(NewSession::default()),
        ..Default::default()
    };
    let issued = operator.tokens().issue_token(request).await;
    let message = refused(issued, Code::InvalidArgument);
    assert!(message.contains("session"), "{message}");
    let hidden = IssueTokenRequest {
        session: Some(NewSession {
            client: "photon\u{202e}".into(),
        }),
        ..by_password("alice", "web")
    };
    let message = refused(begin(&iam, hidden).await.map(drop), Code::InvalidArgument);
    assert!(message.contains("session.client"), "{message}");
}

#[tokio::test]
async fn a_session_that_is_not_used_or_too_old_goes_by_itself_with_an_event() {
    let part = photon_testcloud::iam::with("host-1", |_, settings| {
        settings.component.session_idle_seconds = Some(6);
        settings.component.session_max_seconds = Some(15);
    });
    let iam = Cloud::start([part]).await;
    let (admin, alice) = acme(&iam).await;
    let idle = begin(&iam, by_password("alice", "web")).await.unwrap();
    let used = begin(&iam, by_password("alice", "web")).await.unwrap();
    let ended = async || -> Vec<String> {
        let events = admin.events().await;
        let ended = events
            .into_iter()
            .filter(|it| it.action == "iam:sessions:end");
        ended
            .map(|it| format!("{} {}", it.resource, it.reason))
            .collect()
    };
    let mut current = used.refresh_token.clone();
    while !ended().await.join("\n").contains(&idle.session.id) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        current = refresh(&iam, &current).await.unwrap().refresh_token;
    }
    refused(
        refresh(&iam, &idle.refresh_token).await,
        Code::Unauthenticated,
    );
    let went = ended().await.join("\n");
    assert!(
        went.contains(&idle.session.id) && went.contains("not used"),
        "{went}"
    );
    assert!(!went.contains(&used.session.id), "{went}");
    // However it is used.
    let refused_at_last = loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match refresh(&iam, &current).await {
            Ok(next) => current = next.refresh_token,
            Err(status) => break status,
        }
    };
    assert_eq!(refused_at_last.code(), Code::Unauthenticated);
    eventually("its end is an event", async || {
        let went = ended().await.join("\n");
        went.contains(&used.session.id) && went.contains("reached its end")
    })
    .await;
    refused(refresh(&iam, &current).await, Code::Unauthenticated);
    assert!(list(&admin, &alice).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_call_goes_on_after_its_tokens_end_as_long_as_the_session_lasts() {
    let iam = start_iam().await;
    let (admin, _) = acme(&iam).await;
    let service = iam.people.program("prismnet-server", None, 0).await;
    let service = iam.people.stranger().with_token(&service.token);
    let short = |session: Option<NewSession>| IssueTokenRequest {
        ttl_seconds: 1,
        session,
        ..by_password("alice", "web")
    };
    let going = begin(&iam, short(Some(NewSession::default())))
        .await
        .unwrap();
    let plain = iam.people.issue(short(None)).await.unwrap();
    let ask = async |by: &Caller, token: &str, ongoing| {
        let watched = Described {
            resource: "org/acme/project/web/vpcs/*".into(),
            ..Default::default()
        };
        let request = AuthorizeEachRequest {
            token: token.to_owned(),
            action: "network:vpcs:watch".into(),
            resources: vec![watched],
            ongoing,
        };
        by.authz()
            .authorize_each(request)
            .await
            .map(|it| it.into_inner().allowed == [true])
    };
    let (with, without) = (going.caller.token.clone(), plain.token.clone());
    eventually("both tokens end", async || {
        let ended = async |token| ask(&service, token, false).await.is_err();
        ended(&with).await && ended(&without).await
    })
    .await;
    assert!(ask(&service, &with, true).await.unwrap());
    refused(ask(&service, &without, true).await, Code::Unauthenticated);
    // It is good for nothing else, and for nobody else.
    refused(ask(&going.caller, &with, true).await, Code::Unauthenticated);
    refused(ask(&admin, &with, true).await, Code::PermissionDenied);
    refused(going.caller.whoami().await, Code::Unauthenticated);
    end(&admin, &going.session.id).await.unwrap();
    refused(ask(&service, &with, true).await, Code::Unauthenticated);
}
