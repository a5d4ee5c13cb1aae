//! Nobody keeps the others out, as their clients see it.

use std::time::{Duration, Instant};

use photon_api::chainfire::v1::{ListEventsRequest, ListEventsResponse};
use photon_program::ServerSettings;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{Desk, Running, bearing, events_client, run, settings};

const LIST: &str = "/chainfire.v1.EventService/ListEvents";

async fn served(desk: &Desk, change: impl FnOnce(&mut ServerSettings)) -> Running {
    let mut server = settings();
    change(&mut server);
    run(server, desk.services()).await
}

/// A call whose request never ends.
fn unfinished(channel: &Channel, token: Option<&str>) -> JoinHandle<Status> {
    let mut grpc = Grpc::new(channel.clone());
    let body = futures::stream::pending::<ListEventsRequest>();
    let request = match token {
        Some(token) => bearing(token, body),
        None => tonic::Request::new(body),
    };
    tokio::spawn(async move {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ListEventsRequest, ListEventsResponse>::default();
        let path = http::uri::PathAndQuery::from_static(LIST);
        grpc.client_streaming(request, path, codec)
            .await
            .expect_err("its request never ends")
    })
}

/// Those of `calls` that are answered: as many as are expected, and any that come soon after.
async fn answered(calls: Vec<JoinHandle<Status>>, expected: usize) -> Vec<Status> {
    let finished = || calls.iter().filter(|call| call.is_finished()).count();
    let begun = Instant::now();
    while finished() < expected && begun.elapsed() < Duration::from_secs(8) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut answers = Vec::new();
    for call in calls.into_iter().filter(JoinHandle::is_finished) {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn calls_that_never_end_keep_nobody_else_out() {
    let desk = Desk::new();
    let running = served(&desk, |_| {}).await;
    for (token, share) in [(None, 16), (Some("acme"), 64)] {
        let mut calls = Vec::new();
        for _ in 0..4 {
            let channel = running.channel().await;
            calls.extend((0..share).map(|_| unfinished(&channel, token)));
        }
        let asked = calls.len();
        let refused = answered(calls, asked - share).await;
        assert_eq!(refused.len(), asked - share, "{token:?}");
        for status in refused {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        }
        for other in ["globex", "operator"] {
            let mut client = events_client(&running).await;
            let request = bearing(other, ListEventsRequest::default());
            client.list_events(request).await.unwrap();
        }
        let mut health = HealthClient::new(running.channel().await);
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_stranger_may_not_take_its_time() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.call_timeout = Duration::from_millis(300);
        server.limits.first_message = Duration::from_millis(300);
    })
    .await;
    let channel = running.channel().await;
    let status = unfinished(&channel, None).await.unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);

    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client
        .server_reflection_info(futures::stream::pending())
        .await
        .unwrap()
        .into_inner();
    let ended = tokio::time::timeout(Duration::from_secs(5), answers.message()).await;
    let ended = ended.expect("the stream is over");
    assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
}

/// Whether the other end has closed it, whatever it has said before.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut said));
    read.await.is_ok()
}

#[tokio::test]
async fn silent_connections_are_closed_and_so_are_those_of_one_address_beyond_its_share() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.connections_per_source = 8;
        server.limits.silent = Duration::from_secs(2);
    })
    .await;
    let mut client = events_client(&running).await;
    let mut list = async || {
        let request = bearing("acme", ListEventsRequest::default());
        client.list_events(request).await
    };
    list().await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..7 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    let begun = Instant::now();
    let mut more = TcpStream::connect(running.address).await.unwrap();
    assert!(closed(&mut more).await);
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    list().await.unwrap();
    for stream in &mut silent {
        assert!(closed(stream).await);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    list().await.unwrap();
    events_client(&running)
        .await
        .list_events(bearing("acme", ListEventsRequest::default()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_few_addresses_that_take_all_connections_keep_no_other_address_out() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.connections = 25;
        server.limits.connections_per_source = 8;
    })
    .await;
    let list = || bearing("acme", ListEventsRequest::default());
    let mut first = events_client(&running).await;
    first.list_events(list()).await.unwrap();
    let mut silent = Vec::new();
    for number in 2..5 {
        for _ in 0..8 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(([127, 0, 0, number], 0).into()).unwrap();
            silent.push(socket.connect(running.address).await.unwrap());
        }
    }
    // One after the other, each by a connection of its own that is then known.
    let mut others = Vec::new();
    for _ in 0..6 {
        let mut other = events_client(&running).await;
        other.list_events(list()).await.unwrap();
        others.push(other);
    }
    first.list_events(list()).await.unwrap();
    let mut cut = 0;
    for mut stream in silent {
        let read = tokio::time::timeout(Duration::from_millis(50), async {
            stream.read_to_end(&mut Vec::new()).await
        });
        cut += usize::from(read.await.is_ok());
    }
    assert_eq!(cut, 6, "as many as others needed");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_its_client_does_not_notice() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.idle = Duration::from_millis(200);
    })
    .await;
    let mut client = events_client(&running).await;
    for _ in 0..3 {
        let request = bearing("acme", ListEventsRequest::default());
        client.list_events(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // One with a call under way is not idle.
    let health = HealthClient::new(running.channel().await)
        .watch(HealthCheckRequest::default())
        .await
        .unwrap();
    let mut watch = health.into_inner();
    watch.message().await.unwrap().unwrap();
    let next = tokio::time::timeout(Duration::from_millis(800), watch.message());
    assert!(next.await.is_err(), "the stream has ended");
}

#[tokio::test]
async fn a_connection_that_is_refused_over_and_over_is_cut_and_counts_as_many_new_ones() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.stranger.calls = 1;
        server.limits.connections_per_source = 30;
    })
    .await;
    let channel = running.channel().await;
    let _first = unfinished(&channel, None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        let round: Vec<_> = (0..100).map(|_| unfinished(&channel, None)).collect();
        for call in round {
            codes.push(call.await.unwrap().code());
        }
        if codes.iter().any(|code| *code != Code::ResourceExhausted) {
            break;
        }
    }
    let told = codes
        .iter()
        .take_while(|it| **it == Code::ResourceExhausted);
    let told = told.count();
    assert!((100..2000).contains(&told), "{told} of {}", codes.len());
    // Of thirty that may come at once, sixteen are the one that was cut.
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let mut said = Vec::new();
        let read = stream.read_to_end(&mut said);
        let soon = tokio::time::timeout(Duration::from_millis(50), read);
        if soon.await.is_err() {
            open.push(stream);
        }
    }
    assert!(open.len() < 20, "{}", open.len());
}

#[tokio::test]
async fn a_refusal_is_told_late_and_others_do_not_wait_for_it() {
    let desk = Desk::new();
    let running = served(&desk, |server| server.limits.stranger.calls = 1).await;
    let channel = running.channel().await;
    let _first = unfinished(&channel, None);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    let refused = unfinished(&channel, None);
    let mut client = events_client(&running).await;
    let request = bearing("acme", ListEventsRequest::default());
    client.list_events(request).await.unwrap();
    assert!(!refused.is_finished());
    let code = refused.await.unwrap().code();
    assert_eq!(code, Code::ResourceExhausted);
    assert!(begun.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn a_connection_whose_calls_are_taken_back_at_once_is_cut() {
    let desk = Desk::new();
    let running = served(&desk, |server| server.limits.stranger.calls = 1000).await;
    let channel = running.channel().await;
    let first = unfinished(&channel, None);
    for _ in 0..1000 {
        let call = unfinished(&channel, None);
        tokio::time::sleep(Duration::from_millis(1)).await;
        call.abort();
        if first.is_finished() {
            break;
        }
    }
    let cut = tokio::time::timeout(Duration::from_secs(1), first).await;
    let status = cut.expect("it was heard for ever").unwrap();
    assert_ne!(status.code(), Code::ResourceExhausted, "{status:?}");
}

#[tokio::test]
async fn refusals_of_one_principal_are_summed_up() {
    let desk = Desk::new();
    let running = served(&desk, |server| {
        server.limits.principal.per_second = 100_000;
        server.limits.organization.per_second = 100_000;
    })
    .await;
    desk.policy(crate::desk::Policy::Deny("no"));
    let mut client = events_client(&running).await;
    for _ in 0..150 {
        let request = bearing("acme", ListEventsRequest::default());
        client.list_events(request).await.unwrap_err();
    }
    let events = desk.events(Some("acme")).await.len();
    assert!((100..110).contains(&events), "{events}");
    let request = bearing("globex", ListEventsRequest::default());
    client.list_events(request).await.unwrap_err();
    assert_eq!(desk.events(Some("globex")).await.len(), 1);
}
