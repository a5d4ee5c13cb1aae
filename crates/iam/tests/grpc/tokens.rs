//! Tokens that must not work, and how soon they stop working.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use serde_json::{Value, json};
use tonic::Code;

use photon_testcloud::iam::start as start_iam;
use photon_testkit::{Caller, Cloud, PASSWORD, eventually, refused};

/// The three parts of a token, the first two read.
fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json =
        || serde_json::from_slice(&BASE64.decode(parts.next().unwrap()).unwrap()).unwrap();
    let (header, claims) = (json(), json());
    (header, claims, parts.next().unwrap().to_owned())
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims.to_string())
    )
}

/// A key that is not IAM's: PKCS #8 of a fixed seed (RFC 8410).
fn foreign_key() -> EncodingKey {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend([7; 32]);
    EncodingKey::from_ed_der(&der)
}

async fn jwks(iam: &Cloud) -> Value {
    let jwks = iam
        .people
        .stranger()
        .tokens()
        .get_jwks(GetJwksRequest {})
        .await
        .unwrap();
    serde_json::from_str(&jwks.into_inner().jwks_json).unwrap()
}

#[tokio::test]
async fn a_forged_token_is_refused_whatever_it_pretends() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let (header, claims, signature) = parts(&operator.token);
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let key = jwks(&iam).await["keys"][0].clone();
    let public = BASE64.decode(key["x"].as_str().unwrap()).unwrap();
    let kid = header["kid"].clone();
    let hmac = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = kid.as_str().map(Into::into);
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap()
    };
    let foreign = |kid: Option<&str>, claims: &Value| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(Into::into);
        jsonwebtoken::encode(&header, claims, &foreign_key()).unwrap()
    };
    let embedded = {
        let mut header = header.clone();
        header["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": BASE64.encode([1u8; 32])});
        format!("{}.{signature}", unsigned(&header, &claims))
    };
    let forgeries = [
        (
            "alg none, no signature",
            format!(
                "{}.",
                unsigned(&json!({"alg": "none", "kid": kid}), &claims)
            ),
        ),
        (
            "alg none, the old signature",
            format!(
                "{}.{signature}",
                unsigned(&json!({"alg": "none", "kid": kid}), &claims)
            ),
        ),
        (
            "alg NONE",
            format!(
                "{}.",
                unsigned(&json!({"alg": "NONE", "kid": kid}), &claims)
            ),
        ),
        ("HS256 with the public key", hmac(&public)),
        (
            "HS256 with the public key as it is published",
            hmac(key["x"].as_str().unwrap().as_bytes()),
        ),
        ("HS256 with the key set", hmac(key.to_string().as_bytes())),
        (
            "another key under IAM's key id",
            foreign(kid.as_str(), &claims),
        ),
        (
            "another key under its own id",
            foreign(Some("mine"), &claims),
        ),
        ("another key without an id", foreign(None, &claims)),
        ("a key inside of the token", embedded),
        (
            "changed claims",
            format!(
                "{}.{signature}",
                unsigned(&header, &with("name", json!("root")))
            ),
        ),
        (
            "a later end",
            format!(
                "{}.{signature}",
                unsigned(&header, &with("exp", json!(4_000_000_000u64)))
            ),
        ),
        ("no signature", unsigned(&header, &claims)),
        (
            "an empty signature",
            format!("{}.", unsigned(&header, &claims)),
        ),
        ("two tokens in one", format!("{0}.{0}", operator.token)),
        ("nothing of a token", "letmein".to_owned()),
        ("dots", "..".to_owned()),
        ("far too long", "a".repeat(9000)),
    ];
    for (what, token) in forgeries {
        refused_everywhere(&operator.with_token(&token), what).await;
    }
    operator.whoami().await.unwrap();
}

/// As no token at all is.
async fn refused_everywhere(caller: &Caller, what: &str) {
    let status = caller.whoami().await.expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status}");
    let status = caller
        .may("iam:roles:get", "system/roles/x")
        .await
        .expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status}");
    let list = ListOrganizationsRequest::default();
    let status = caller
        .admin()
        .list_organizations(list)
        .await
        .expect_err(what);
    assert_eq!(status.code(), Code::Unauthenticated, "{what}: {status}");
}

#[tokio::test]
async fn a_token_with_a_good_signature_must_also_be_for_us_and_of_now() {
    // IAM's own store and key, but claims that IAM would not sign: the key is opened as a thief of both would.
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let (header, claims, _) = parts(&operator.token);
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let key = thief::signing_key(
        &iam.place().state_dir("iam"),
        header["kid"].as_str().unwrap(),
    );
    let sign = |claims: &Value| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = parts(&operator.token).0["kid"].as_str().map(Into::into);
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    };
    operator
        .with_token(&sign(&claims))
        .whoami()
        .await
        .expect("the thief's signature is good");
    for (name, value, says) in [
        ("aud", json!("another-cloud"), "audience"),
        ("aud", json!(["another-cloud"]), "malformed"),
        ("iss", json!("another-iam"), "issuer"),
        ("exp", json!(seconds - 60), "expired"),
        ("nbf", json!(seconds + 600), "not valid yet"),
        ("sub", json!("root"), "malformed"),
        (
            "sub",
            json!("6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e"),
            "deleted",
        ),
        ("org_id", json!("../acme"), "malformed"),
        ("gen", json!(-1), "malformed"),
        ("gen", Value::Null, "malformed"),
        ("kind", json!("god"), "malformed"),
    ] {
        let mut wrong = claims.clone();
        wrong[name] = value;
        let message = refused(
            operator.with_token(&sign(&wrong)).whoami().await,
            Code::Unauthenticated,
        );
        assert!(message.contains(says), "{name}: {message}");
    }
    for name in ["aud", "iss", "exp", "iat", "sub", "jti", "gen"] {
        let mut wrong = claims.clone();
        wrong.as_object_mut().unwrap().remove(name);
        let status = operator
            .with_token(&sign(&wrong))
            .whoami()
            .await
            .expect_err(name);
        assert_eq!(status.code(), Code::Unauthenticated, "{name}: {status}");
    }
}

/// What somebody could do who has the state directory.
mod thief {
    use std::path::Path;

    use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

    pub fn signing_key(state: &Path, kid: &str) -> jsonwebtoken::EncodingKey {
        let database = rusqlite::Connection::open_with_flags(
            state.join("flaredb.sqlite"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .unwrap();
        let place = format!("signing-key/{kid}");
        let stored: Vec<u8> = stored(&database, &place);
        let record: serde_json::Value = serde_json::from_slice(&stored).unwrap();
        let sealed = record["d"]["sealed_seed"].as_array().unwrap();
        let mut sealed: Vec<u8> = sealed.iter().map(|b| b.as_u64().unwrap() as u8).collect();
        let key = std::fs::read(state.join("server-key")).unwrap();
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut secret = sealed.split_off(12);
        let nonce = Nonce::try_assume_unique_for_key(&sealed).unwrap();
        let seed = key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut secret)
            .unwrap();
        let prefix = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        jsonwebtoken::EncodingKey::from_ed_der(&[&prefix[..], seed].concat())
    }

    fn stored(database: &rusqlite::Connection, key: &str) -> Vec<u8> {
        let text = "SELECT value FROM records WHERE key = ?1";
        database.query_row(text, [key], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let iam = start_iam().await;
    let request = |ttl_seconds| IssueTokenRequest {
        principal_id: "operator".into(),
        credential: Some(Credential::Password(
            iam.people.credential("operator-password"),
        )),
        ttl_seconds,
        ..Default::default()
    };
    let short = iam.people.issue(request(1)).await.unwrap();
    eventually("the token ends", || async { short.whoami().await.is_err() }).await;
    let message = refused(short.whoami().await, Code::Unauthenticated);
    assert!(message.contains("expired"), "{message}");
    // Revoking what is over is no error.
    let revoke = RevokeTokenRequest {
        token: short.token.clone(),
        ..Default::default()
    };
    iam.people
        .operator()
        .await
        .tokens()
        .revoke_token(revoke)
        .await
        .unwrap();
    let message = refused(
        iam.people.issue(request(3601)).await.map(drop),
        Code::InvalidArgument,
    );
    assert_eq!(
        message,
        "ttl_seconds '3601' is not valid: expected at most 3600"
    );
}

#[tokio::test]
async fn a_revoked_token_stops_at_once_and_stays_so_after_a_restart() {
    let mut iam = start_iam().await;
    let (one, other) = (iam.people.operator().await, iam.people.operator().await);
    one.tokens()
        .revoke_token(RevokeTokenRequest::default())
        .await
        .unwrap();
    let message = refused(one.whoami().await, Code::Unauthenticated);
    assert_eq!(message, "not authenticated: the token has been revoked");
    refused(
        one.may("iam:roles:get", "system/roles/x").await,
        Code::Unauthenticated,
    );
    other.whoami().await.unwrap();

    iam.restart("iam").await;
    let one = iam.people.stranger().with_token(&one.token);
    refused(one.whoami().await, Code::Unauthenticated);
    let other = iam.people.stranger().with_token(&other.token);
    other
        .whoami()
        .await
        .expect("the keys are the same after a restart");

    // Somebody else's, by the token.
    let third = iam.people.operator().await;
    let revoke = RevokeTokenRequest {
        token: third.token.clone(),
        ..Default::default()
    };
    other.tokens().revoke_token(revoke).await.unwrap();
    refused(third.whoami().await, Code::Unauthenticated);
    let revoke = RevokeTokenRequest {
        token: "letmein".into(),
        ..Default::default()
    };
    refused(
        other.tokens().revoke_token(revoke).await,
        Code::InvalidArgument,
    );
}

#[tokio::test]
async fn everything_that_a_token_depends_on_can_be_taken_away() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let robot = admin.create_service_account("acme", "robot").await.unwrap();
    admin
        .bind(&robot, "ProjectMember", "org/acme")
        .await
        .unwrap();
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
    let sign_in = || IssueTokenRequest {
        principal_id: "robot".into(),
        org_id: "acme".into(),
        credential: Some(Credential::ApiKey(key.secret.clone())),
        ..Default::default()
    };

    // All of its tokens.
    let token = iam.people.issue(sign_in()).await.unwrap();
    let revoke = RevokeTokenRequest {
        principal_id: robot.clone(),
        ..Default::default()
    };
    admin.tokens().revoke_token(revoke).await.unwrap();
    refused(token.whoami().await, Code::Unauthenticated);

    // The principal, for a while.
    let token = iam.people.issue(sign_in()).await.unwrap();
    let disable = |disabled| UpdatePrincipalRequest {
        id: robot.clone(),
        disabled: Some(disabled),
        ..Default::default()
    };
    admin.admin().update_principal(disable(true)).await.unwrap();
    let message = refused(token.whoami().await, Code::Unauthenticated);
    assert!(message.contains("disabled"), "{message}");
    refused(
        token.may("compute:images:get", "org/acme/images/x").await,
        Code::Unauthenticated,
    );
    refused(
        iam.people.issue(sign_in()).await.map(drop),
        Code::Unauthenticated,
    );
    admin
        .admin()
        .update_principal(disable(false))
        .await
        .unwrap();
    token.whoami().await.unwrap();

    // The key that it was issued for.
    let delete = DeleteApiKeyRequest {
        id: key.api_key.unwrap().id,
        ..Default::default()
    };
    admin.admin().delete_api_key(delete).await.unwrap();
    let message = refused(token.whoami().await, Code::Unauthenticated);
    assert!(message.contains("API key"), "{message}");
    refused(
        iam.people.issue(sign_in()).await.map(drop),
        Code::Unauthenticated,
    );

    // The principal, for good, with all that it had.
    let user = admin.create_user("acme", "gone").await.unwrap();
    let binding = admin
        .bind(&user, "ProjectMember", "org/acme")
        .await
        .unwrap();
    let token = iam
        .people
        .sign_in("acme", "", "gone", PASSWORD)
        .await
        .unwrap();
    let delete = DeletePrincipalRequest {
        id: user,
        ..Default::default()
    };
    admin.admin().delete_principal(delete).await.unwrap();
    refused(token.whoami().await, Code::Unauthenticated);
    refused(
        admin
            .admin()
            .get_binding(GetBindingRequest { id: binding.id })
            .await,
        Code::NotFound,
    );
    refused(
        iam.people
            .sign_in("acme", "", "gone", PASSWORD)
            .await
            .map(drop),
        Code::Unauthenticated,
    );
}

#[tokio::test]
async fn keys_rotate_with_or_without_mercy() {
    let iam = start_iam().await;
    let operator = iam.people.operator().await;
    let rotate = |revoke_old| RotateSigningKeyRequest { revoke_old };
    let new = operator
        .tokens()
        .rotate_signing_key(rotate(false))
        .await
        .unwrap()
        .into_inner()
        .key_id;
    let keys = jwks(&iam).await;
    let ids: Vec<&str> = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 2);
    operator
        .whoami()
        .await
        .expect("a token of the retired key works until it ends");
    let fresh = iam.people.operator().await;
    assert_eq!(parts(&fresh.token).0["kid"], json!(new));

    let newest = fresh
        .tokens()
        .rotate_signing_key(rotate(true))
        .await
        .unwrap()
        .into_inner()
        .key_id;
    let message = refused(fresh.whoami().await, Code::Unauthenticated);
    assert_eq!(
        message,
        "not authenticated: the token's key is not one of IAM's"
    );
    refused(operator.whoami().await, Code::Unauthenticated);
    let keys = jwks(&iam).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["kid"], json!(newest));
    iam.people.operator().await.whoami().await.unwrap();
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    refused(
        admin.tokens().rotate_signing_key(rotate(true)).await,
        Code::PermissionDenied,
    );
}

#[tokio::test]
async fn whoever_may_impersonate_gets_no_more_than_their_own() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let heidi = admin.create_user("acme", "heidi").await.unwrap();
    admin
        .bind(&heidi, "ProjectMember", "org/acme")
        .await
        .unwrap();
    let request = |principal: &str| IssueTokenRequest {
        principal_id: principal.into(),
        org_id: "acme".into(),
        ..Default::default()
    };
    let as_heidi = admin
        .tokens()
        .issue_token(request("heidi"))
        .await
        .unwrap()
        .into_inner();
    let as_heidi = admin.with_token(&as_heidi.token);
    assert_eq!(
        as_heidi.whoami().await.unwrap().principal.unwrap().name,
        "heidi"
    );
    assert!(
        !as_heidi
            .allowed("iam:roles:update", "org/acme/roles/x")
            .await
    );

    // With the right alone nobody gets at somebody's greater ones.
    admin
        .create_role("acme", "support", &[("iam:principals:*", "", "")])
        .await
        .unwrap();
    let ivan = admin.create_user("acme", "ivan").await.unwrap();
    admin.bind(&ivan, "support", "org/acme").await.unwrap();
    let ivan = iam
        .people
        .sign_in("acme", "", "ivan", PASSWORD)
        .await
        .unwrap();
    let message = refused(
        ivan.tokens().issue_token(request("root")).await,
        Code::PermissionDenied,
    );
    assert!(
        message.contains("which you may not do there yourself"),
        "{message}"
    );
    let password = SetPasswordRequest {
        principal_id: admin.principal_id.clone(),
        new_password: "another good password".into(),
        ..Default::default()
    };
    refused(
        ivan.admin().set_password(password).await,
        Code::PermissionDenied,
    );
    // Without the right not at all, and without a token neither.
    refused(
        as_heidi.tokens().issue_token(request("ivan")).await,
        Code::PermissionDenied,
    );
    refused(
        iam.people.issue(request("heidi")).await.map(drop),
        Code::Unauthenticated,
    );

    // When the impersonator is out, so is the impersonation.
    let disable = UpdatePrincipalRequest {
        id: admin.principal_id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    iam.people
        .operator()
        .await
        .admin()
        .update_principal(disable)
        .await
        .unwrap();
    refused(as_heidi.whoami().await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_service_asks_about_others_and_nobody_else_does() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    let sign_in = |program: &str, name: &str| IssueTokenRequest {
        principal_id: name.into(),
        credential: Some(Credential::ApiKey(
            iam.people.credential(&format!("{program}.key")),
        )),
        ..Default::default()
    };
    let service = iam
        .people
        .issue(sign_in("prismnet-server", "prismnet-server"))
        .await
        .unwrap();
    let agent = iam
        .people
        .issue(sign_in("prismnet-agent", "prismnet-agent@host-1"))
        .await
        .unwrap();
    let question = AuthorizeRequest {
        token: admin.token.clone(),
        action: "network:vpcs:create".into(),
        resource: "org/acme/project/web/vpcs/*".into(),
        ..Default::default()
    };
    let answer = service
        .authz()
        .authorize(question.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(answer.allowed && answer.binding_ids.len() == 1);
    refused(
        agent.authz().authorize(question.clone()).await,
        Code::PermissionDenied,
    );
    refused(
        iam.people
            .stranger()
            .authz()
            .authorize(question.clone())
            .await,
        Code::Unauthenticated,
    );
    let forged = AuthorizeRequest {
        token: "letmein".into(),
        ..question
    };
    refused(
        service.authz().authorize(forged).await,
        Code::Unauthenticated,
    );

    let who = agent.whoami().await.unwrap().principal.unwrap();
    assert_eq!(
        (who.node.as_str(), who.kind()),
        ("host-1", PrincipalKind::Node)
    );
    assert!(
        agent
            .allowed("network:nodes:watch", "system/nodes/host-1")
            .await
    );
    assert!(
        !agent
            .allowed("network:vpcs:create", "org/acme/project/web/vpcs/*")
            .await
    );
    assert!(!agent.allowed("compute:nodes:list", "system/nodes/*").await);
}

/// Whoever finds a token for a project has found no more than that project, be it an administrator's.
#[tokio::test]
async fn a_projects_token_acts_in_that_project_alone() {
    let iam = start_iam().await;
    let admin = iam.people.tenant("acme", "web", "root", "OrgAdmin").await;
    admin.create_project("acme", "db").await.unwrap();
    let carol = admin.create_user("acme", "carol").await.unwrap();
    let bound = "org/acme/project/db";
    admin.bind(&carol, "ProjectViewer", bound).await.unwrap();
    let web = iam.people.sign_in("acme", "web", "root", PASSWORD).await;
    let web = web.unwrap();

    let inside = "org/acme/project/web";
    web.bind(&carol, "ProjectViewer", inside).await.unwrap();
    assert!(
        web.allowed("network:vpcs:create", &format!("{inside}/vpcs/*"))
            .await
    );
    let denied = [
        refused(
            web.bind(&carol, "OrgAdmin", "org/acme").await,
            Code::PermissionDenied,
        ),
        refused(
            web.bind(&carol, "ProjectViewer", bound).await,
            Code::PermissionDenied,
        ),
        refused(
            web.create_user("acme", "dave").await,
            Code::PermissionDenied,
        ),
        refused(
            web.create_project("acme", "lab").await,
            Code::PermissionDenied,
        ),
    ];
    assert!(
        denied[0].contains(
            "the token is for project web, and this takes one for the whole organization"
        ),
        "{denied:?}"
    );
    assert!(
        denied[1].contains("the token is for project web, not db"),
        "{denied:?}"
    );

    // Of the events it is told those of its project.
    let all = admin.events().await;
    assert!(all.iter().any(|event| event.project_id == "db"));
    let told = web.events().await;
    assert!(!told.is_empty());
    assert!(told.iter().all(|event| event.project_id == "web"));
}

#[tokio::test]
async fn whoever_impersonates_is_named_with_all_that_is_done_and_leaves_no_credential() {
    let iam = start_iam().await;
    let alice = iam.people.tenant("acme", "web", "alice", "OrgAdmin").await;
    let operator = iam.people.operator().await;
    let as_alice = IssueTokenRequest {
        principal_id: alice.principal_id.clone(),
        ..Default::default()
    };
    let acting = operator.issue(as_alice.clone()).await.unwrap();
    let who = acting.whoami().await.unwrap();
    assert_eq!(who.principal.unwrap().name, "alice");
    assert_eq!(
        (who.impersonator_id, who.impersonator_name.as_str()),
        (operator.principal_id.clone(), "operator")
    );
    acting.create_project("acme", "lab").await.unwrap();
    alice.create_project("acme", "own").await.unwrap();

    let password = SetPasswordRequest {
        principal_id: alice.principal_id.clone(),
        current_password: PASSWORD.into(),
        new_password: "another good password".into(),
        ..Default::default()
    };
    let s3_key = CreateS3AccessKeyRequest {
        principal_id: alice.principal_id.clone(),
        project_id: "web".into(),
        ..Default::default()
    };
    let denied = [
        refused(
            acting.create_api_key(&alice.principal_id).await,
            Code::PermissionDenied,
        ),
        refused(
            acting.admin().set_password(password).await,
            Code::PermissionDenied,
        ),
        refused(
            acting.admin().create_s3_access_key(s3_key).await,
            Code::PermissionDenied,
        ),
        refused(
            acting.create_user("acme", "mallory").await,
            Code::PermissionDenied,
        ),
    ];
    for message in &denied {
        let expected = "operator acts as alice, and whoever impersonates makes no credentials";
        assert!(message.contains(expected), "{message}");
    }
    let further = refused(
        acting.issue(as_alice).await.map(drop),
        Code::PermissionDenied,
    );
    assert!(
        further.contains("operator impersonates already"),
        "{further}"
    );

    // Each event names both, and one of alice's own names her alone.
    let events = alice.events().await;
    let made = |id: &str| {
        let name = format!("org/acme/project/{id}/projects/{id}");
        let event = events.iter().find(|event| event.resource == name).unwrap();
        (&*event.principal_name, &*event.impersonator_name)
    };
    assert_eq!(made("lab"), ("alice", "operator"));
    assert_eq!(made("own"), ("alice", ""));
    let refusals = events.iter().filter(|event| {
        event.outcome == i32::from(photon_api::chainfire::v1::Outcome::Denied)
            && event.impersonator_id == operator.principal_id
    });
    assert_eq!(refusals.count(), denied.len());
    let issued = events
        .iter()
        .find(|event| event.action == "iam:tokens:create" && event.impersonator_name == "operator");
    assert!(issued.is_some());
}
