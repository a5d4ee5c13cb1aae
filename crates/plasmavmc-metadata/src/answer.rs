//! From a request to its answer. Pure.
//!
//! | path | as |
//! | --- | --- |
//! | `/VERSION/…` | Amazon's EC2 ([`ec2`]) |
//! | `/openstack/…` | OpenStack's Nova, where tokens are optional ([`openstack`]) |
//! | `/nocloud/…` | cloud-init's NoCloud, where tokens are optional |
//!
//! The clients of the last two can't ask for a token. Where tokens are required nothing is answered without one, or whoever
//! has a program in the guest ask for a URL would read its user data.

mod ec2;
mod openstack;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, header};

use crate::ADDRESS;
use crate::instance::{Instance, Tokens};
use crate::token::{Issuer, LONGEST};

/// A token.
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// For how long a token is to be good, in seconds.
pub const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// What a proxy says of whom it asks for: it would give everybody what is the guest's.
const FORWARDED: &str = "x-forwarded-for";

/// Who asks: a VM by one of its interfaces.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    pub instance: &'a Instance,
    pub tap: &'a str,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Of a token: for how long it is good, in seconds, and how many hops it may go.
    pub token: Option<(u64, u8)>,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

impl Answer {
    fn found(content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            body: body.into(),
            token: None,
        }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self::found(JSON, value.to_string())
    }

    /// With what would be answered, for people.
    pub fn refused(status: StatusCode, expected: &str) -> Self {
        Self {
            status,
            content_type: TEXT,
            body: format!("{expected}\n").into_bytes(),
            token: None,
        }
    }

    fn not_found() -> Self {
        let expected = "nothing is here: ask /latest/meta-data/ what there is";
        Self::refused(StatusCode::NOT_FOUND, expected)
    }
}

/// The answer to who asks, if it is known who that is. `now` is in seconds since 1970.
pub fn answer(caller: Option<Caller<'_>>, request: &Parts, issuer: &Issuer, now: u64) -> Answer {
    if !is_for_us(request) {
        // A name that leads here was made by somebody else (DNS rebinding).
        let expected = format!("ask http://{ADDRESS}/, by no other name");
        return Answer::refused(StatusCode::MISDIRECTED_REQUEST, &expected);
    }
    if request.headers.contains_key(FORWARDED) {
        let expected = "not for others: ask without X-Forwarded-For";
        return Answer::refused(StatusCode::FORBIDDEN, expected);
    }
    let reads = [Method::GET, Method::HEAD].contains(&request.method);
    if !reads && request.method != Method::PUT {
        let expected = "only GET, HEAD, and PUT for a token";
        return Answer::refused(StatusCode::METHOD_NOT_ALLOWED, expected);
    }
    let Some(caller) = caller else {
        return Answer::not_found();
    };
    let path: Vec<&str> = request
        .uri
        .path()
        .split('/')
        .filter(|it| !it.is_empty())
        .collect();
    if request.method == Method::PUT {
        return token(caller, &path, request, issuer, now);
    }
    if let Some(refused) = without_token(caller, request, issuer, now) {
        return refused;
    }
    let instance = caller.instance;
    let open = instance.http_tokens == Tokens::Optional;
    match path.as_slice() {
        ["openstack", rest @ ..] if open => openstack::answer(instance, rest),
        ["nocloud", rest @ ..] if open => nocloud(instance, rest),
        path => ec2::answer(caller, path),
    }
}

/// Whether it was asked for by the address. HTTP/1.0 needs no `Host`.
fn is_for_us(request: &Parts) -> bool {
    let ours = [ADDRESS.to_string(), format!("{ADDRESS}:80")];
    let is_ours = |name: &str| ours.iter().any(|it| it == name);
    let named = request.headers.get_all(header::HOST).iter();
    let mut named = named.map(|name| name.to_str().unwrap_or_default());
    let whole = request.uri.authority();
    named.all(is_ours) && whole.is_none_or(|it| is_ours(it.as_str()))
}

fn token(caller: Caller<'_>, path: &[&str], request: &Parts, issuer: &Issuer, now: u64) -> Answer {
    if path != ["latest", "api", "token"] {
        let expected = "PUT is for /latest/api/token alone";
        return Answer::refused(StatusCode::METHOD_NOT_ALLOWED, expected);
    }
    let given = request.headers.get(TTL).and_then(|it| it.to_str().ok());
    let seconds = given.and_then(|text| text.parse::<u64>().ok());
    let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST).contains(seconds)) else {
        let expected = format!("say for how long, in seconds: {TTL}: 1 to {LONGEST}");
        return Answer::refused(StatusCode::BAD_REQUEST, &expected);
    };
    let Caller { instance, tap } = caller;
    let token = issuer.issue(instance.vm, tap, now + seconds);
    Answer {
        token: Some((seconds, instance.hop_limit)),
        ..Answer::found(TEXT, token)
    }
}

/// Why it is not answered, for want of a token. One that is shown must be right also where none need be.
fn without_token(caller: Caller<'_>, request: &Parts, issuer: &Issuer, now: u64) -> Option<Answer> {
    let Caller { instance, tap } = caller;
    let right = match request.headers.get(TOKEN) {
        Some(token) => token
            .to_str()
            .is_ok_and(|token| issuer.knows(token, instance.vm, tap, now)),
        None => instance.http_tokens == Tokens::Optional,
    };
    let expected = format!(
        "no token of this VM: PUT /latest/api/token with {TTL}: {LONGEST}, and send what is answered as {TOKEN}"
    );
    (!right).then(|| Answer::refused(StatusCode::UNAUTHORIZED, &expected))
}

/// As on the disk that a guest has of it.
fn nocloud(instance: &Instance, path: &[&str]) -> Answer {
    match path {
        [] => Answer::found(TEXT, "meta-data\nnetwork-config\nuser-data\nvendor-data"),
        ["meta-data"] => Answer::found(TEXT, instance.meta_data.as_bytes()),
        ["network-config"] => Answer::found(TEXT, instance.network_config.as_bytes()),
        // It asks for all of them, and takes an absent one for a failure.
        ["user-data"] => Answer::found(BYTES, user_data(instance).unwrap_or_default()),
        ["vendor-data"] => Answer::found(TEXT, ""),
        _ => Answer::not_found(),
    }
}

/// Its user data; `None`: it has none.
fn user_data(instance: &Instance) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(&instance.user_data).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests;
