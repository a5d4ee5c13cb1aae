use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use photon_resource::PrincipalId;

use super::*;

/// A signing key with its entry in a key set.
struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: serde_json::Value,
}

fn signer(id: &'static str, algorithm: Algorithm) -> Signer {
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_der(&ed25519_der()),
        _ => {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            EncodingKey::from_ec_der(&pair.serialize_der())
        }
    };
    let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    Signer {
        id,
        algorithm,
        key,
        jwk: serde_json::to_value(jwk).unwrap(),
    }
}

/// A new private key as PKCS #8 version 1 (RFC 8410), which is a fixed prefix and 32 random bytes.
fn ed25519_der() -> Vec<u8> {
    let prefix = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    [&prefix[..], a.as_bytes(), b.as_bytes()].concat()
}

impl Signer {
    fn sign(&self, claims: &impl Serialize) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }
}

fn keys(signers: &[&Signer]) -> KeySet {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk.clone()).collect();
    KeySet::parse(&serde_json::json!({ "keys": keys }).to_string()).unwrap()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn claims() -> TokenClaims {
    TokenClaims {
        iss: ISSUER.into(),
        aud: AUDIENCE.into(),
        sub: PrincipalId::generate().to_string(),
        name: "alice".into(),
        kind: PrincipalKind::User,
        act: None,
        org_id: "acme".into(),
        project_id: "web".into(),
        node: String::new(),
        iat: now(),
        nbf: now(),
        exp: now() + 900,
        jti: "t1".into(),
    }
}

fn refusal(keys: &KeySet, token: &str) -> &'static str {
    match keys.verify(token) {
        Err(Rejection::Refused(why)) => why,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_token_of_either_algorithm_says_who_its_bearer_is() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let signer = signer("k1", algorithm);
        let claims = claims();
        let read = keys(&[&signer]).verify(&signer.sign(&claims)).unwrap();
        assert_eq!(read.principal_id.to_string(), claims.sub);
        assert_eq!(read.principal_name, "alice");
        assert_eq!(read.org_id.unwrap().as_str(), "acme");
        assert_eq!(read.project_id.unwrap().as_str(), "web");
        assert_eq!(read.node, None);
        assert_eq!(read.token_id, "t1");
    }
}

#[test]
fn an_empty_organization_is_the_system() {
    let signer = signer("k1", Algorithm::EdDSA);
    let token = signer.sign(&TokenClaims {
        org_id: String::new(),
        project_id: String::new(),
        node: "h1".into(),
        kind: PrincipalKind::Node,
        ..claims()
    });
    let read = keys(&[&signer]).verify(&token).unwrap();
    assert_eq!((read.org_id, read.project_id), (None, None));
    assert_eq!(read.node.as_deref(), Some("h1"));
}

#[test]
fn what_is_said_wrongly_is_refused() {
    let signer = signer("k1", Algorithm::EdDSA);
    let keys = keys(&[&signer]);
    let cases: [(&str, TokenClaims); 7] = [
        (
            "the token has expired",
            TokenClaims {
                exp: now() - LEEWAY_SECONDS - 1,
                ..claims()
            },
        ),
        (
            "the token is not valid yet",
            TokenClaims {
                nbf: now() + LEEWAY_SECONDS + 60,
                ..claims()
            },
        ),
        (
            "the token is for another audience",
            TokenClaims {
                aud: "another-cloud".into(),
                ..claims()
            },
        ),
        (
            "the token has another issuer",
            TokenClaims {
                iss: "someone".into(),
                ..claims()
            },
        ),
        (
            "the token is malformed",
            TokenClaims {
                sub: "alice".into(),
                ..claims()
            },
        ),
        (
            "the token is malformed",
            TokenClaims {
                org_id: "../x".into(),
                ..claims()
            },
        ),
        (
            "the token is malformed",
            TokenClaims {
                project_id: "A B".into(),
                ..claims()
            },
        ),
    ];
    for (why, claims) in cases {
        assert_eq!(refusal(&keys, &signer.sign(&claims)), why, "{claims:?}");
    }
    for missing in ["iss", "aud", "sub", "exp", "kind", "jti"] {
        let mut claims = serde_json::to_value(claims()).unwrap();
        claims.as_object_mut().unwrap().remove(missing);
        assert!(
            keys.verify(&signer.sign(&claims)).is_err(),
            "without {missing}"
        );
    }
}

#[test]
fn no_algorithm_but_the_keys_own_is_accepted() {
    let ed = signer("k1", Algorithm::EdDSA);
    let ec = signer("k2", Algorithm::ES256);
    let keys = keys(&[&ed, &ec]);
    let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims()).unwrap());
    let header = |json: &str| URL_SAFE_NO_PAD.encode(json);

    // No signature at all, in all spellings.
    for alg in ["none", "None", "NONE", ""] {
        let head = header(&format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"k1"}}"#));
        for token in [format!("{head}.{body}."), format!("{head}.{body}")] {
            assert_eq!(refusal(&keys, &token), "the token is malformed");
        }
    }
    // The public key as the secret of an HMAC.
    let public = ed.jwk["x"].as_str().unwrap().as_bytes();
    let mut head = Header::new(Algorithm::HS256);
    head.kid = Some("k1".into());
    let token = encode(&head, &claims(), &EncodingKey::from_secret(public)).unwrap();
    assert_eq!(
        refusal(&keys, &token),
        "the token's algorithm is not its key's"
    );
    // A right signature by one key under the name of the other.
    let swapped = Signer { id: "k2", ..ed };
    assert_eq!(
        refusal(&keys, &swapped.sign(&claims())),
        "the token's algorithm is not its key's"
    );
}

#[test]
fn another_key_or_an_altered_token_is_refused() {
    let signer_ = signer("k1", Algorithm::EdDSA);
    let keys = keys(&[&signer_]);
    let forged = signer("k1", Algorithm::EdDSA).sign(&claims());
    assert_eq!(refusal(&keys, &forged), "the token's signature is wrong");
    let unknown = signer("k9", Algorithm::EdDSA).sign(&claims());
    assert_eq!(keys.verify(&unknown).unwrap_err(), Rejection::UnknownKey);

    let token = signer_.sign(&claims());
    let mut parts: Vec<&str> = token.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(
        serde_json::to_vec(&TokenClaims {
            org_id: "globex".into(),
            ..claims()
        })
        .unwrap(),
    );
    parts[1] = &other;
    assert_eq!(
        refusal(&keys, &parts.join(".")),
        "the token's signature is wrong"
    );

    let unnamed = encode(&Header::new(Algorithm::EdDSA), &claims(), &signer_.key).unwrap();
    assert_eq!(refusal(&keys, &unnamed), "the token names no key");
    let long = format!("{token}{}", "A".repeat(LONGEST_TOKEN));
    assert_eq!(refusal(&keys, &long), "the token is malformed");
    for text in ["", ".", "..", "a.b.c", "\u{fffd}.\u{0}."] {
        assert_eq!(refusal(&keys, text), "the token is malformed");
    }
}

#[test]
fn a_key_set_takes_only_keys_that_could_verify() {
    let good = signer("k1", Algorithm::EdDSA);
    let set = serde_json::json!({ "keys": [
        good.jwk,
        { "kty": "oct", "kid": "k2", "k": "c2VjcmV0" },
        { "kty": "RSA", "kid": "k3", "n": "sXch", "e": "AQAB" },
        { "kty": "EC", "crv": "P-384", "kid": "k4", "x": "AA", "y": "AA" },
    ]});
    let keys = KeySet::parse(&set.to_string()).unwrap();
    assert_eq!(keys.keys.keys().collect::<Vec<_>>(), ["k1"]);
    assert!(KeySet::parse("{}").is_err());
    assert!(KeySet::parse("not json").is_err());
}
