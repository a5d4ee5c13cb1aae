//! The session against a server of its own: paging, repeating, and what is not repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use photon_api::chainfire::v1::event_service_server::{EventService, EventServiceServer};
use photon_api::chainfire::v1::{
    Event, ListEventsRequest, ListEventsResponse, VerifyChainRequest, VerifyChainResponse,
};
use photon_client::call::{Call, Change};
use photon_client::{Channels, Endpoints, Error, Policy, Session};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

/// A log of five events by pages of two; away for as many calls as it is told.
#[derive(Clone, Default)]
struct Log {
    away: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    stuck: bool,
}

impl Log {
    fn called(&self) -> Result<(), Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let away = &self.away;
        let left = away.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        match left {
            Ok(_) => Err(Status::unavailable("the store is opening")),
            Err(_) => Ok(()),
        }
    }
}

#[tonic::async_trait]
impl EventService for Log {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        self.called()?;
        let bearer = request.metadata().get("authorization");
        assert_eq!(bearer.unwrap(), "Bearer token");
        let first: u64 = request.get_ref().page_token.parse().unwrap_or(1);
        let events = (first..=5).take(2).map(|sequence| Event {
            sequence,
            ..Default::default()
        });
        let next = match self.stuck {
            true => "1".to_owned(),
            false if first + 2 <= 5 => (first + 2).to_string(),
            false => String::new(),
        };
        Ok(Response::new(ListEventsResponse {
            events: events.collect(),
            next_page_token: next,
        }))
    }

    async fn verify_chain(
        &self,
        request: Request<VerifyChainRequest>,
    ) -> Result<Response<VerifyChainResponse>, Status> {
        self.called()?;
        match request.get_ref().org_id.as_str() {
            "slow" => std::future::pending().await,
            "absent" => Err(Status::not_found("organization 'absent' not found")),
            _ => Ok(Response::new(VerifyChainResponse::default())),
        }
    }
}

async fn served(log: &Log) -> Session {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server =
        tonic::transport::Server::builder().add_service(EventServiceServer::new(log.clone()));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let endpoints: Endpoints = [("iam", url)].into_iter().collect();
    Session::with_token(&Channels::at(endpoints).unwrap(), "token").unwrap()
}

#[tokio::test]
async fn a_list_is_all_of_its_pages() {
    use futures::TryStreamExt;
    let session = served(&Log::default()).await;
    let events: Vec<Event> = session
        .list_at("iam", ListEventsRequest::default())
        .try_collect()
        .await
        .unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_list_that_goes_round_is_an_error() {
    use futures::TryStreamExt;
    let log = Log {
        stuck: true,
        ..Default::default()
    };
    let all: Result<Vec<Event>, Error> = served(&log)
        .await
        .list_at("iam", ListEventsRequest::default())
        .try_collect()
        .await;
    let error = all.unwrap_err().to_string();
    assert!(error.contains("the same page"), "{error}");
}

#[tokio::test]
async fn a_look_is_repeated_while_the_server_is_away_and_no_longer() {
    let log = Log::default();
    let session = served(&log).await;
    log.away.store(2, Ordering::SeqCst);
    let look = VerifyChainRequest::default();
    session.call_at("iam", look.clone()).await.unwrap();
    assert_eq!(log.calls.load(Ordering::SeqCst), 3);

    log.away.store(9, Ordering::SeqCst);
    let error = session.call_at("iam", look.clone()).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable));
    assert_eq!(log.calls.load(Ordering::SeqCst), 6);

    let once = session.with_policy(Policy::ONCE);
    assert!(once.call_at("iam", look).await.unwrap_err().is_passing());
    assert_eq!(log.calls.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_silence_has_an_end() {
    let log = Log::default();
    let session = served(&log).await;
    let of = |org: &str| VerifyChainRequest::default().within(org, "");
    let error = session.call_at("iam", of("absent")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound));
    assert_eq!(log.calls.load(Ordering::SeqCst), 1);

    let hurried = session.with_policy(Policy {
        deadline: Duration::from_millis(200),
        ..Policy::PATIENT
    });
    let error = hurried.call_at("iam", of("slow")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    assert_eq!(log.calls.load(Ordering::SeqCst), 2);
}

#[test]
fn only_what_may_count_twice_without_harm_is_repeatable() {
    use photon_api::iam::v1::{CreateRoleRequest, IssueTokenRequest};
    assert!(ListEventsRequest::default().is_repeatable());
    assert!(!IssueTokenRequest::default().is_repeatable());
    let mut create = CreateRoleRequest::default();
    assert!(!create.is_repeatable());
    *create.request_id_mut() = "once".into();
    assert!(create.is_repeatable());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoints: Endpoints = [("prismnet", format!("http://{address}"))]
        .into_iter()
        .collect();
    let session = Session::anonymous(&Channels::at(endpoints).unwrap());
    let look = VerifyChainRequest::default();
    let error = session.call_at("prismnet", look).await.unwrap_err();
    let Error::Unreachable {
        endpoint, cause, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert!(endpoint.contains(&address.to_string()), "{error}");
    assert!(cause.contains("refused"), "{error}");
    assert!(error.to_string().contains("PrismNET"), "{error}");
}

#[tokio::test]
async fn what_is_no_url_is_said_before_anything_is_called() {
    let endpoints: Endpoints = [("iam", "127.0.0.1:50080")].into_iter().collect();
    let Err(error) = Channels::at(endpoints) else {
        panic!("it was taken");
    };
    assert!(error.to_string().contains("http:// or https://"), "{error}");
}
