//! Tokens that look genuine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

fn part(token: &str, at: usize) -> Value {
    let text = token.split('.').nth(at).expect("a token has three parts");
    let bytes = URL_SAFE_NO_PAD.decode(text).expect("a token is base64url");
    serde_json::from_slice(&bytes).expect("a token's parts are JSON")
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", text(header), text(claims))
}

/// Everything that can be made of a genuine token without IAM's key: what it is, and the token.
pub fn forgeries(genuine: &str) -> Vec<(&'static str, String)> {
    let (header, claims) = (part(genuine, 0), part(genuine, 1));
    let kid = header["kid"]
        .as_str()
        .expect("a token names its key")
        .to_owned();
    let signature = genuine.rsplit('.').next().expect("a token has three parts");

    let none = |alg: &str| {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        unsigned(&header, &claims)
    };
    let mut head = Header::new(Algorithm::EdDSA);
    head.kid = Some(kid.clone());
    let other_key = encode(&head, &claims, &other_key()).expect("signing");
    head.kid = Some("no-such-key".to_owned());
    let unknown_key = encode(&head, &claims, &self::other_key()).expect("signing");
    let mut head = Header::new(Algorithm::HS256);
    head.kid = Some(kid.clone());
    let hmac = encode(&head, &claims, &EncodingKey::from_secret(kid.as_bytes())).expect("signing");
    let mut altered = claims.clone();
    altered["name"] = json!("somebody else");
    vec![
        ("no JWT at all", "hello".to_owned()),
        ("a token signed with another key", other_key),
        ("a token of an unknown key", unknown_key),
        ("a token with alg none", format!("{}.", none("none"))),
        (
            "a token with alg None and a signature",
            format!("{}.{signature}", none("None")),
        ),
        ("a token with an HMAC", hmac),
        (
            "a token with altered claims",
            format!("{}.{signature}", unsigned(&header, &altered)),
        ),
        (
            "a token without its signature",
            unsigned(&header, &claims) + ".",
        ),
    ]
}

/// A new Ed25519 key as PKCS #8 version 1 (RFC 8410): a fixed prefix and 32 random bytes.
fn other_key() -> EncodingKey {
    let prefix = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    EncodingKey::from_ed_der(&[&prefix[..], a.as_bytes(), b.as_bytes()].concat())
}

/// How long a token still lives by its claims; zero if it has ended.
pub fn rest_of_life(token: &str) -> Duration {
    let end = part(token, 1)["exp"].as_u64().expect("a token has an end");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    Duration::from_secs(end).saturating_sub(now)
}
