use std::time::UNIX_EPOCH;

use photon_resource::{Impersonator, PrincipalKind};

use super::*;

fn server_key() -> ServerKey {
    let dir = tempfile::tempdir().unwrap();
    ServerKey::open(&dir.path().join("server-key"), true).unwrap()
}

fn new_token(now: SystemTime) -> NewToken {
    let actor = PrincipalId::generate();
    NewToken {
        claims: Claims {
            principal_id: PrincipalId::generate(),
            principal_name: "alice".into(),
            kind: PrincipalKind::User,
            impersonator: Some(Impersonator {
                id: actor,
                name: "operator".into(),
            }),
            org_id: Some("acme".parse().unwrap()),
            project_id: None,
            node: None,
            token_id: "t-1".into(),
            expires_at: UNIX_EPOCH + Duration::from_secs(crate::store::to_ms(now) / 1000 + 60),
        },
        issued_at: now,
        generation: 7,
        api_key: Some(ApiKeyId::generate()),
        session: Some(SessionId::generate()),
        actor: Some((actor, 3)),
    }
}

#[test]
fn what_is_signed_verifies_and_says_the_same() {
    let (server_key, now) = (server_key(), SystemTime::now());
    let key = SigningKey::generate(&server_key, now).unwrap();
    let ring = Keyring::new(&[key], &server_key, now).unwrap();
    let wanted = new_token(now);
    let verified = ring.verify(&ring.sign(&wanted).unwrap()).unwrap();
    assert_eq!(verified.claims, wanted.claims);
    assert_eq!(verified.generation, 7);
    assert_eq!(verified.api_key, wanted.api_key);
    assert_eq!(verified.session, wanted.session);
    assert_eq!(verified.actor, wanted.actor);
    // What other servers do with the published keys.
    let published = KeySet::parse(ring.jwks()).unwrap();
    assert_eq!(
        published.verify(&ring.sign(&wanted).unwrap()).unwrap(),
        wanted.claims
    );
    assert!(
        !ring.jwks().contains("\"d\""),
        "no private part is published"
    );
}

#[test]
fn a_retired_key_verifies_until_its_last_token_has_ended() {
    let (server_key, now) = (server_key(), SystemTime::now());
    let mut old = SigningKey::generate(&server_key, now - Duration::from_secs(10)).unwrap();
    let before = Keyring::new(std::slice::from_ref(&old), &server_key, now).unwrap();
    let token = before.sign(&new_token(now)).unwrap();
    let new = SigningKey::generate(&server_key, now).unwrap();
    old.retired_at = Some(now);
    let keys = [old.clone(), new.clone()];
    let after = Keyring::new(&keys, &server_key, now).unwrap();
    after.verify(&token).unwrap();
    let header = jsonwebtoken::decode_header(after.sign(&new_token(now)).unwrap()).unwrap();
    assert_eq!(header.kid, Some(new.id.clone()));
    let later = now + MAX_TTL + Duration::from_secs(LEEWAY_SECONDS);
    let last = Keyring::new(&keys, &server_key, later).unwrap();
    assert_eq!(last.verify(&token), Err(Rejection::UnknownKey));
    assert!(!last.jwks().contains(&old.id) && last.jwks().contains(&new.id));
}

#[test]
fn a_key_under_another_servers_key_is_an_error_not_a_missing_key() {
    let now = SystemTime::now();
    let key = SigningKey::generate(&server_key(), now).unwrap();
    assert!(matches!(
        Keyring::new(&[key], &server_key(), now),
        Err(TokenError::Seal(_))
    ));
}
