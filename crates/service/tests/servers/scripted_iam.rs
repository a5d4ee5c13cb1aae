//! IAM's services as far as its clients use them, saying what a test tells them to.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use photon_api::components::IAM;
use photon_api::iam::v1::iam_authz_service_server::{IamAuthzService, IamAuthzServiceServer};
use photon_api::iam::v1::iam_token_service_server::{IamTokenService, IamTokenServiceServer};
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::*;
use photon_program::{Endpoints, Urls};
use photon_resource::{Claims, Error, PrincipalId, PrincipalKind, TokenVerifier};
use photon_service::Services;
use photon_service::claims::{AUDIENCE, ISSUER, TokenClaims};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::desk::{Running, run, settings};

pub struct Key {
    id: String,
    key: EncodingKey,
}

impl Key {
    pub fn new(id: &str) -> Self {
        // PKCS #8 version 1 of Ed25519 (RFC 8410): a fixed prefix and 32 random bytes.
        let prefix = [
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22,
            0x04, 0x20,
        ];
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let der = [&prefix[..], a.as_bytes(), b.as_bytes()].concat();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_ed_der(&der),
        }
    }

    pub fn token(&self, lifetime: Duration) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.id.clone());
        let claims = TokenClaims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: PrincipalId::generate().to_string(),
            name: "alice".into(),
            kind: PrincipalKind::User,
            act: None,
            org_id: "acme".into(),
            project_id: String::new(),
            node: String::new(),
            iat: now,
            nbf: now,
            exp: now + lifetime.as_secs(),
            jti: uuid::Uuid::new_v4().to_string(),
        };
        encode(&header, &claims, &self.key).unwrap()
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, Algorithm::EdDSA).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        jwk
    }
}

/// What it was asked, with `authorization` and `x-request-id`.
pub struct Question {
    pub bearer: Option<String>,
    pub request_id: Option<String>,
    pub message: AuthorizeRequest,
}

/// What it says, and what it was asked.
pub struct Script {
    pub keys: Mutex<Vec<Key>>,
    pub keys_fetched: AtomicUsize,
    /// The answer to every question.
    pub decision: Mutex<Result<AuthorizeResponse, Status>>,
    pub asked: Mutex<Vec<Question>>,
    /// A question is answered when it gets a permit.
    pub answers: Semaphore,
    pub waiting: AtomicUsize,
    /// The one API key that is accepted.
    pub secret: Mutex<String>,
    pub lifetime: Mutex<Duration>,
    /// So many times there is no token, because IAM is not up.
    pub absent: AtomicUsize,
    pub issued: AtomicUsize,
    /// The certificates (DER) that were signed in with.
    pub shown: Mutex<Vec<Vec<u8>>>,
}

#[derive(Clone)]
pub struct ScriptedIam(pub Arc<Script>);

impl ScriptedIam {
    pub fn new() -> Self {
        Self(Arc::new(Script {
            keys: Mutex::new(vec![Key::new("k1")]),
            keys_fetched: AtomicUsize::new(0),
            decision: Mutex::new(Ok(AuthorizeResponse {
                allowed: true,
                ..Default::default()
            })),
            asked: Mutex::default(),
            answers: Semaphore::new(1_000_000),
            waiting: AtomicUsize::new(0),
            secret: Mutex::new("photon_secret".into()),
            lifetime: Mutex::new(Duration::from_secs(900)),
            absent: AtomicUsize::new(0),
            issued: AtomicUsize::new(0),
            shown: Mutex::default(),
        }))
    }

    pub fn services(&self) -> Services {
        Services::new(Arc::new(Nobody))
            .add(IamTokenServiceServer::new(self.clone()))
            .add(IamAuthzServiceServer::new(self.clone()))
    }

    pub async fn run(&self) -> (Running, Endpoints) {
        let running = run(settings(), self.services()).await;
        let endpoints = Endpoints {
            urls: Urls::default().with(&IAM, running.url()),
            ..Endpoints::default()
        };
        (running, endpoints)
    }

    pub fn token(&self) -> String {
        let keys = self.0.keys.lock().unwrap();
        keys.last().unwrap().token(Duration::from_secs(900))
    }
}

/// Knows nobody: what is scripted here needs no caller.
struct Nobody;

#[tonic::async_trait]
impl TokenVerifier for Nobody {
    async fn verify(&self, _: &str) -> Result<Claims, Error> {
        Err(Error::Unauthenticated("nobody is known".into()))
    }
}

fn not_scripted<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(
        "no client of photon-service's calls this",
    ))
}

#[tonic::async_trait]
impl IamTokenService for ScriptedIam {
    async fn issue_token(
        &self,
        request: Request<IssueTokenRequest>,
    ) -> Result<Response<IssueTokenResponse>, Status> {
        let absent = |count: usize| count.checked_sub(1);
        if self
            .0
            .absent
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, absent)
            .is_ok()
        {
            return Err(Status::unavailable("starting"));
        }
        let certificates = request.peer_certs();
        let request = request.into_inner();
        let secret = self.0.secret.lock().unwrap().clone();
        let refused = Err(Status::unauthenticated("the credential is not accepted"));
        match (request.credential, certificates) {
            (Some(Credential::ApiKey(given)), _) if given == secret => {}
            (Some(Credential::Certificate(_)), Some(certificates)) => {
                let mut shown = self.0.shown.lock().unwrap();
                shown.push(certificates[0].to_vec());
            }
            _ => return refused,
        }
        self.0.issued.fetch_add(1, Ordering::SeqCst);
        let lifetime = *self.0.lifetime.lock().unwrap();
        Ok(Response::new(IssueTokenResponse {
            token: self.0.keys.lock().unwrap()[0].token(lifetime),
            expires_at: Some((SystemTime::now() + lifetime).into()),
            ..Default::default()
        }))
    }

    async fn get_jwks(
        &self,
        _: Request<GetJwksRequest>,
    ) -> Result<Response<GetJwksResponse>, Status> {
        self.0.keys_fetched.fetch_add(1, Ordering::SeqCst);
        let keys: Vec<Jwk> = self.0.keys.lock().unwrap().iter().map(Key::jwk).collect();
        let jwks_json = serde_json::json!({ "keys": keys }).to_string();
        Ok(Response::new(GetJwksResponse { jwks_json }))
    }

    async fn revoke_token(
        &self,
        _: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        not_scripted()
    }

    async fn who_am_i(
        &self,
        _: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        not_scripted()
    }

    async fn rotate_signing_key(
        &self,
        _: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        not_scripted()
    }

    async fn bootstrap(
        &self,
        _: Request<BootstrapRequest>,
    ) -> Result<Response<BootstrapResponse>, Status> {
        not_scripted()
    }
}

#[tonic::async_trait]
impl IamAuthzService for ScriptedIam {
    async fn authorize(
        &self,
        request: Request<AuthorizeRequest>,
    ) -> Result<Response<AuthorizeResponse>, Status> {
        let header = |name| {
            let value = request.metadata().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        let question = Question {
            bearer: header("authorization"),
            request_id: header("x-request-id"),
            message: request.into_inner(),
        };
        self.0.asked.lock().unwrap().push(question);
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        self.0.answers.acquire().await.unwrap().forget();
        self.0.decision.lock().unwrap().clone().map(Response::new)
    }

    async fn authorize_each(
        &self,
        _: Request<AuthorizeEachRequest>,
    ) -> Result<Response<AuthorizeEachResponse>, Status> {
        not_scripted()
    }
}

/// Waits until something is so; panics after 10 s.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within 10 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
