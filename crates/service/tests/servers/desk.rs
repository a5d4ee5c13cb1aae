//! A server to test with: it has the event service, over a store in memory, and whoever its tests say is known.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use chainfire::{Event, Filter, Ledger};
use flaredb::Db;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_program::{Component, ServerSettings, Settings};
use photon_resource::{
    Action, Authorizer, Caller, Claims, Decision, Error, Extent, OrgId, PageRequest, PrincipalId,
    PrincipalKind, ResourceName, TokenVerifier,
};
use photon_service::{Guard, Services, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

pub const DESK: Component = Component {
    name: "desk",
    port: 0,
};

/// A server under test; it is stopped when this is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub done: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url())
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The settings of a server under test: loopback, any port, no metrics.
pub fn settings() -> ServerSettings {
    let mut server = Settings::<()>::new(DESK).server;
    server.metrics_listen = None;
    server
}

pub async fn run(settings: ServerSettings, services: Services) -> Running {
    let listener = TcpListener::bind((settings.listen, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let done = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { serve(&settings, DESK, services, listener, shutdown).await }
    });
    Running {
        address,
        shutdown,
        done,
    }
}

/// What the policy of the desk says to everything.
#[derive(Clone, Debug)]
pub enum Policy {
    Allow,
    Deny(&'static str),
    Fail,
}

/// Knows tokens by heart, and decides as it is told; records what it was asked.
pub struct Known {
    pub tokens: HashMap<String, Claims>,
    pub policy: Mutex<Policy>,
    /// The attributes of each question.
    pub asked: Mutex<Vec<BTreeMap<String, String>>>,
}

#[tonic::async_trait]
impl TokenVerifier for Known {
    async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let known = self.tokens.get(token).cloned();
        known.ok_or_else(|| Error::Unauthenticated("the token is not known".into()))
    }
}

#[tonic::async_trait]
impl Authorizer for Known {
    async fn authorize(
        &self,
        _: &Caller,
        _: &Action,
        _: &ResourceName,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Decision, Error> {
        self.asked.lock().unwrap().push(attributes.clone());
        match self.policy.lock().unwrap().clone() {
            Policy::Allow => Ok(Decision {
                allowed: true,
                reason: String::new(),
                extent: Extent::Each,
                absent: false,
            }),
            Policy::Deny(reason) => Ok(Decision {
                allowed: false,
                reason: reason.into(),
                extent: Extent::None,
                absent: false,
            }),
            Policy::Fail => Err(Error::Unavailable("no policy can be read".into())),
        }
    }
}

/// A server with its parts at hand. Tokens: `acme`, `globex` (of these organizations), `operator`.
pub struct Desk {
    pub known: Arc<Known>,
    pub guard: Guard,
    pub ledger: Ledger,
    pub db: Db,
}

impl Desk {
    pub fn new() -> Self {
        let tokens = [
            ("acme", Some("acme")),
            ("globex", Some("globex")),
            ("operator", None),
        ];
        let known = Arc::new(Known {
            tokens: tokens
                .map(|(token, org)| (token.to_owned(), claims(token, org)))
                .into(),
            policy: Mutex::new(Policy::Allow),
            asked: Mutex::default(),
        });
        let db = Db::memory();
        let ledger = Ledger::new(db.clone(), "desk");
        let guard = Guard::new(known.clone(), known.clone(), ledger.clone());
        Self {
            known,
            guard,
            ledger,
            db,
        }
    }

    pub fn services(&self) -> Services {
        Services::new(self.guard.verifier()).events(self.guard.clone(), self.ledger.clone())
    }

    pub async fn run(&self) -> Running {
        run(settings(), self.services()).await
    }

    pub fn policy(&self, policy: Policy) {
        *self.known.policy.lock().unwrap() = policy;
    }

    /// The events of a chain (`None`: the system's), oldest first.
    pub async fn events(&self, org: Option<&str>) -> Vec<Event> {
        let filter = Filter {
            org: org.map(|org| org.parse::<OrgId>().unwrap()),
            ..Filter::default()
        };
        let page = PageRequest::parse(1000, "").unwrap();
        self.ledger.list(&filter, &page).await.unwrap().events
    }
}

pub fn claims(name: &str, org: Option<&str>) -> Claims {
    Claims {
        principal_id: PrincipalId::generate(),
        principal_name: name.to_owned(),
        kind: PrincipalKind::User,
        impersonator: None,
        org_id: org.map(|org| org.parse().unwrap()),
        project_id: None,
        node: None,
        token_id: format!("token of {name}"),
        expires_at: SystemTime::now() + Duration::from_secs(900),
    }
}

pub async fn events_client(running: &Running) -> EventServiceClient<Channel> {
    EventServiceClient::new(running.channel().await)
}

/// A request with a token.
pub fn bearing<T>(token: &str, message: T) -> tonic::Request<T> {
    photon_program::with_token(message, token, "").unwrap()
}

/// The text of a metadata entry; fails if there is none.
pub fn entry<'a>(metadata: &'a tonic::metadata::MetadataMap, name: &str) -> &'a str {
    metadata.get(name).unwrap().to_str().unwrap()
}
