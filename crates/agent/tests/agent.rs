//! Against a scripted server over gRPC: what every agent does, whatever its domain is.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use photon_agent::{Agent, Cache, Desired, Known, Opened, Ready, Session, from_json, to_json};
use photon_api::components::{IAM, PRISMNET};
use photon_api::desired::{DesiredMessage, Kind, MESSAGE_BYTES};
use photon_api::iam::v1 as iam;
use photon_api::iam::v1::iam_token_service_server::{IamTokenService, IamTokenServiceServer};
use photon_api::prismnet::v1 as pb;
use photon_api::prismnet::v1::node_service_client::NodeServiceClient;
use photon_api::prismnet::v1::node_service_server::{NodeService, NodeServiceServer};
use photon_program::{AgentSettings, Component, Endpoints, Urls};
use photon_reconcile::follow::Position;
use photon_reconcile::{Plan, Reconciler};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

const LIMIT: Duration = Duration::from_secs(30);
const MESSAGE: &str = "prismnet.v1.DesiredNetwork";

/// What the scripted servers are to do, and what was asked of them.
#[derive(Default)]
struct Script {
    tokens: u32,
    /// What each stream sends; it ends when there is another one to send. When none is left, a stream sends nothing.
    streams: VecDeque<Result<Vec<pb::DesiredNetwork>, Status>>,
    /// What each report is answered; when none is left, it is accepted.
    refusals: VecDeque<Status>,
    /// The token and request of each stream that was opened.
    watched: Vec<(String, pb::WatchDesiredRequest)>,
    /// The token and report of each report.
    reported: Vec<(String, pb::ReportStatusRequest)>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>, Arc<tokio::sync::Notify>);

impl Server {
    /// Waits until there is another stream to send.
    async fn more(&self) {
        loop {
            let changed = self.1.notified();
            if !self.0.lock().unwrap().streams.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

fn token<T>(request: &Request<T>) -> String {
    let value = request.metadata().get("authorization").unwrap();
    value.to_str().unwrap().to_owned()
}

#[async_trait]
impl NodeService for Server {
    type WatchDesiredStream =
        Pin<Box<dyn Stream<Item = Result<pb::DesiredNetwork, Status>> + Send>>;

    async fn watch_desired(
        &self,
        request: Request<pb::WatchDesiredRequest>,
    ) -> Result<Response<Self::WatchDesiredStream>, Status> {
        let token = token(&request);
        let mut script = self.0.lock().unwrap();
        script.watched.push((token, request.into_inner()));
        self.1.notify_waiters();
        match script.streams.pop_front() {
            None => Ok(Response::new(futures::stream::pending().boxed())),
            Some(Err(status)) => Err(status),
            Some(Ok(messages)) => {
                let server = self.clone();
                let end = futures::stream::once(async move { server.more().await });
                let messages = futures::stream::iter(messages.into_iter().map(Ok));
                let stream = messages.chain(end.filter_map(|()| async { None }));
                Ok(Response::new(stream.boxed()))
            }
        }
    }

    async fn report_status(
        &self,
        request: Request<pb::ReportStatusRequest>,
    ) -> Result<Response<pb::ReportStatusResponse>, Status> {
        let token = token(&request);
        let mut script = self.0.lock().unwrap();
        script.reported.push((token, request.into_inner()));
        self.1.notify_waiters();
        match script.refusals.pop_front() {
            None => Ok(Response::new(pb::ReportStatusResponse {})),
            Some(status) => Err(status),
        }
    }
}

#[async_trait]
impl IamTokenService for Server {
    async fn issue_token(
        &self,
        _: Request<iam::IssueTokenRequest>,
    ) -> Result<Response<iam::IssueTokenResponse>, Status> {
        let mut script = self.0.lock().unwrap();
        script.tokens += 1;
        Ok(Response::new(iam::IssueTokenResponse {
            token: format!("t{}", script.tokens),
            expires_at: Some((SystemTime::now() + Duration::from_secs(3600)).into()),
            ..Default::default()
        }))
    }

    async fn bootstrap(
        &self,
        _: Request<iam::BootstrapRequest>,
    ) -> Result<Response<iam::BootstrapResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn revoke_token(
        &self,
        _: Request<iam::RevokeTokenRequest>,
    ) -> Result<Response<iam::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn who_am_i(
        &self,
        _: Request<iam::WhoAmIRequest>,
    ) -> Result<Response<iam::WhoAmIResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn get_jwks(
        &self,
        _: Request<iam::GetJwksRequest>,
    ) -> Result<Response<iam::GetJwksResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn rotate_signing_key(
        &self,
        _: Request<iam::RotateSigningKeyRequest>,
    ) -> Result<Response<iam::RotateSigningKeyResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }
}

/// A desired state that is its VPCs' ids.
#[derive(Clone, Debug, Default, PartialEq)]
struct Vpcs {
    at: Position,
    ids: BTreeSet<String>,
}

#[async_trait]
impl Desired for Vpcs {
    type Message = pb::DesiredNetwork;

    async fn watch(session: &Session) -> Opened<pb::DesiredNetwork> {
        let message = pb::WatchDesiredRequest {
            node: session.node().to_owned(),
            accepts_changes: true,
            ..Default::default()
        };
        let request = session.stream(message).await?;
        NodeServiceClient::new(session.channel())
            .watch_desired(request)
            .await
    }

    fn parse(message: &pb::DesiredNetwork) -> Self {
        Self {
            at: Position {
                epoch: message.store_epoch.clone(),
                revision: message.revision,
            },
            ids: message.vpcs.iter().map(|vpc| vpc.id.clone()).collect(),
        }
    }

    fn position(&self) -> Position {
        self.at.clone()
    }

    fn summary(&self) -> String {
        format!("{} VPCs", self.ids.len())
    }

    fn to_file(&self, message: &pb::DesiredNetwork) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&to_json(MESSAGE, message)?)?)
    }

    fn from_file(contents: &[u8]) -> anyhow::Result<Self> {
        Ok(Self::parse(&from_json(MESSAGE, contents)?))
    }
}

struct Fixture {
    server: Server,
    settings: AgentSettings<()>,
    directory: tempfile::TempDir,
}

const COMPONENT: Component = Component {
    name: "test-agent",
    port: 0,
};

impl Fixture {
    async fn new() -> Self {
        let server = Server::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tonic::transport::Server::builder()
            .add_service(NodeServiceServer::new(server.clone()))
            .add_service(IamTokenServiceServer::new(server.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, "secret").unwrap();
        let settings = AgentSettings {
            node: "n1".to_owned(),
            metrics_listen: None,
            state_dir: directory.path().join("state"),
            endpoints: Endpoints {
                urls: Urls::default().with(&IAM, &url).with(&PRISMNET, &url),
                ..Endpoints::default()
            },
            credential_file: Some(key),
            component: (),
        };
        Self {
            server,
            settings,
            directory,
        }
    }

    async fn agent(&self) -> Agent {
        Agent::new(COMPONENT, &self.settings, &PRISMNET)
            .await
            .unwrap()
    }

    fn cache(&self) -> Cache<Vpcs> {
        Cache::in_directory(&self.settings.state_dir)
    }

    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let changed = change(&mut self.server.0.lock().unwrap());
        self.server.1.notify_waiters();
        changed
    }

    /// Waits until the script says so.
    async fn until(&self, wanted: impl Fn(&Script) -> bool) {
        let waiting = async {
            loop {
                let asked = self.server.1.notified();
                if wanted(&self.server.0.lock().unwrap()) {
                    return;
                }
                asked.await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.expect("in time");
    }
}

async fn known(wanted: &mut watch::Receiver<Known<Vpcs>>, at: (&str, u64)) -> Vpcs {
    let reached = wanted.wait_for(|known| {
        let at_last = |known: &Arc<Vpcs>| (known.at.epoch.as_str(), known.at.revision) == at;
        known.as_ref().is_some_and(at_last)
    });
    let reached = tokio::time::timeout(LIMIT, reached).await;
    let vpcs = reached.expect("in time").unwrap();
    (**vpcs.as_ref().unwrap()).clone()
}

fn network(ids: impl IntoIterator<Item = u32>) -> pb::DesiredNetwork {
    pb::DesiredNetwork {
        vpcs: ids
            .into_iter()
            .map(|id| pb::DesiredVpc {
                id: format!("{id:08}"),
                subnets: vec![pb::DesiredSubnet {
                    id: format!("{id:08}"),
                    cidr: "10.0.0.0/16".repeat(30),
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn labelled(mut message: pb::DesiredNetwork, kind: Kind, at: (&str, u64)) -> pb::DesiredNetwork {
    message.label(kind, at.0, at.1);
    message
}

/// D9: the restart of a server must not make every host sign in anew.
#[tokio::test]
async fn a_token_is_thrown_away_only_when_it_was_refused() {
    let fixture = Fixture::new().await;
    fixture.script(|script| {
        script.streams.extend([
            Err(Status::unavailable("the server is starting")),
            Ok(vec![]),
            Err(Status::internal("a bug")),
            Err(Status::unauthenticated("the keys were rotated")),
        ]);
        script.refusals.extend([
            Status::unavailable("the server is starting"),
            Status::permission_denied("not yet"),
        ]);
    });
    let mut agent = fixture.agent().await;
    agent.follow(fixture.cache());
    fixture.until(|script| script.watched.len() == 5).await;
    let tokens = |script: &mut Script| -> Vec<String> {
        let used = script.watched.iter().map(|(token, _)| token.clone());
        used.collect()
    };
    let (first, second) = ("Bearer t1", "Bearer t2");
    assert_eq!(fixture.script(tokens), [first, first, first, first, second]);

    let (_reports, reporting) = watch::channel(7_u64);
    agent.report(reporting, send);
    fixture.until(|script| script.reported.len() == 3).await;
    fixture.script(|script| {
        assert!(script.reported.iter().all(|(token, _)| token == second));
        assert_eq!(script.tokens, 2);
    });
}

async fn send(session: Session, revision: u64) -> Result<(), Status> {
    let message = pb::ReportStatusRequest {
        node: session.node().to_owned(),
        revision,
        ..Default::default()
    };
    let request = session.call(message).await?;
    let mut client = NodeServiceClient::new(session.channel());
    client.report_status(request).await.map(drop)
}

#[tokio::test]
async fn a_report_is_sent_until_it_is_accepted_and_an_empty_one_never() {
    let fixture = Fixture::new().await;
    let refusal = Status::new(Code::Aborted, "again");
    fixture.script(|script| script.refusals.push_back(refusal));
    let mut agent = fixture.agent().await;
    let (reports, reporting) = watch::channel(0_u64);
    agent.report(reporting, send);
    reports.send_replace(3);
    fixture.until(|script| script.reported.len() == 2).await;
    reports.send_replace(4);
    fixture.until(|script| script.reported.len() == 3).await;
    let revisions = fixture.script(|script| -> Vec<u64> {
        let reported = script.reported.iter();
        reported.map(|(_, report)| report.revision).collect()
    });
    assert_eq!(revisions, [3, 3, 4]);
}

/// A new agent with a server of the release before, which sends everything in one message at each change and skips what
/// it does not know of the request.
#[tokio::test]
async fn a_server_that_knows_no_parts_is_understood() {
    let fixture = Fixture::new().await;
    fixture.script(|script| {
        let at = |revision, ids: &[u32]| pb::DesiredNetwork {
            revision,
            ..network(ids.iter().copied())
        };
        script
            .streams
            .push_back(Ok(vec![at(1, &[1, 2]), at(2, &[2, 3])]));
    });
    let mut agent = fixture.agent().await;
    let mut wanted = agent.follow(fixture.cache());
    let vpcs = known(&mut wanted, ("", 2)).await;
    assert_eq!(
        vpcs.ids.into_iter().collect::<Vec<_>>(),
        ["00000002", "00000003"]
    );
    fixture.script(|script| assert!(script.watched[0].1.accepts_changes));
}

#[tokio::test]
async fn a_state_of_any_size_arrives_whole_then_its_changes_and_another_stores_state_replaces_it() {
    const VPCS: u32 = 3000;
    let fixture = Fixture::new().await;
    let full = labelled(network(0..VPCS), Kind::Full { more: false }, ("one", 9));
    let mut messages = full.pieces(MESSAGE_BYTES);
    assert!(messages.len() > 3);
    let change = pb::DesiredNetwork {
        removed_vpc_ids: vec!["00000007".to_owned()],
        ..network([VPCS])
    };
    let change = labelled(change, Kind::Change { more: false }, ("one", 10));
    messages.push(change);
    fixture.script(|script| script.streams.push_back(Ok(messages)));
    let mut agent = fixture.agent().await;
    let mut wanted = agent.follow(fixture.cache());
    let vpcs = known(&mut wanted, ("one", 10)).await;
    assert_eq!(vpcs.ids.len(), VPCS as usize);
    assert!(vpcs.ids.contains("00003000") && !vpcs.ids.contains("00000007"));
    // A change of another store follows nothing that is known; everything of that store does.
    let other = labelled(network([5]), Kind::Change { more: false }, ("two", 11));
    let anew = labelled(network([1]), Kind::Full { more: false }, ("two", 2));
    fixture.script(|script| script.streams.extend([Ok(vec![other]), Ok(vec![anew])]));
    let vpcs = known(&mut wanted, ("two", 2)).await;
    assert_eq!(vpcs.ids.into_iter().collect::<Vec<_>>(), ["00000001"]);
    let vpcs = known(&mut wanted, ("two", 2)).await;
    // It is on the disk before it is known, and an agent that starts anew begins with it.
    assert_eq!(fixture.cache().load().unwrap(), Some(vpcs.clone()));
    drop(agent);
    fixture.script(|script| script.streams.push_back(Err(Status::unavailable("away"))));
    let mut agent = fixture.agent().await;
    assert_eq!(
        agent.follow(fixture.cache()).borrow().as_deref(),
        Some(&vpcs)
    );
}

#[tokio::test]
async fn an_unreadable_cache_is_as_none_and_is_written_anew() {
    let fixture = Fixture::new().await;
    std::fs::create_dir_all(&fixture.settings.state_dir).unwrap();
    let path = fixture.settings.state_dir.join("desired.json");
    std::fs::write(&path, r#"{"revision": "of the future"}"#).unwrap();
    let mut agent = fixture.agent().await;
    let full = labelled(network([1]), Kind::Full { more: false }, ("one", 1));
    let mut wanted = agent.follow(fixture.cache());
    assert_eq!(*wanted.borrow(), None);
    fixture.until(|script| script.watched.len() == 1).await;
    drop(agent);
    fixture.script(|script| script.streams.push_back(Ok(vec![full])));
    let mut agent = fixture.agent().await;
    wanted = agent.follow(fixture.cache());
    let vpcs = known(&mut wanted, ("one", 1)).await;
    assert_eq!(fixture.cache().load().unwrap(), Some(vpcs));
}

struct Nothing;

impl Plan for Nothing {
    fn is_empty(&self) -> bool {
        true
    }

    fn summary(&self) -> String {
        String::new()
    }
}

/// Tells when it has looked.
struct Looking(watch::Sender<u64>);

#[async_trait]
impl Reconciler for Looking {
    type Observed = ();
    type Plan = Nothing;
    type Error = anyhow::Error;

    async fn observe(&mut self) -> anyhow::Result<Option<()>> {
        self.0.send_modify(|passes| *passes += 1);
        Ok(Some(()))
    }

    fn plan(&self, (): &()) -> Nothing {
        Nothing
    }

    async fn apply(&mut self, _: &Nothing) -> anyhow::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn it_looks_again_at_news_of_the_host_and_stops_when_it_is_told() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.agent().await;
    let (host, changes) = watch::channel(0_u64);
    agent.watch(changes);
    let (passes, mut looked) = watch::channel(0);
    let shutdown = CancellationToken::new();
    let driving = agent.drive("test", Looking(passes), Ready::AtOnce, shutdown.clone());
    let driving = tokio::spawn(driving);
    let first = tokio::time::timeout(LIMIT, looked.wait_for(|passes| *passes >= 1));
    drop(first.await.unwrap().unwrap());
    host.send_replace(1);
    let second = tokio::time::timeout(LIMIT, looked.wait_for(|passes| *passes >= 2));
    drop(second.await.unwrap().unwrap());
    shutdown.cancel();
    tokio::time::timeout(LIMIT, driving).await.unwrap().unwrap();
    // The directory outlives the agent.
    assert!(fixture.directory.path().exists());
}
