use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use photon_api::chainfire::v1::ListEventsRequest;
use photon_api::iam::v1::AuthorizeRequest;
use photon_api::iam::v1::iam_authz_service_client::IamAuthzServiceClient;
use photon_api::prismnet::v1::ListVpcsRequest;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_program::ServerSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{Desk, Policy, Running, bearing, entry, events_client, run, settings};
use crate::scripted_iam::{ScriptedIam, until};

/// A loopback port that nothing listens on; it was free a moment ago and is not handed out again at once.
fn free_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn reflection_of_both_versions_lists_what_is_there_and_no_more() {
    let running = Desk::new().run().await;
    macro_rules! list {
        ($version:ident) => {{
            use tonic_reflection::pb::$version::ServerReflectionRequest;
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

            let mut client = ServerReflectionClient::new(running.channel().await);
            let ask = |message| {
                tokio_stream::iter([ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(message),
                }])
            };
            let question = ask(MessageRequest::ListServices(String::new()));
            let mut answers = client
                .server_reflection_info(question)
                .await
                .unwrap()
                .into_inner();
            let answer = answers.message().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = answer else {
                panic!("{answer:?}");
            };
            let names: BTreeSet<_> = list.service.into_iter().map(|it| it.name).collect();
            // Every service that is listed can be described.
            for name in &names {
                let question = ask(MessageRequest::FileContainingSymbol(name.clone()));
                let answers = client.server_reflection_info(question).await.unwrap();
                let answer = answers.into_inner().message().await.unwrap().unwrap();
                let is_file = matches!(
                    answer.message_response,
                    Some(MessageResponse::FileDescriptorResponse(_))
                );
                assert!(is_file, "{name}");
            }
            names
        }};
    }
    let expected = |version: &str| {
        BTreeSet::from([
            "chainfire.v1.EventService".to_owned(),
            "grpc.health.v1.Health".to_owned(),
            format!("grpc.reflection.{version}.ServerReflection"),
        ])
    };
    let names = |mut names: BTreeSet<String>, other: &str| {
        names.remove(&format!("grpc.reflection.{other}.ServerReflection"));
        names
    };
    assert_eq!(names(list!(v1), "v1alpha"), expected("v1"));
    assert_eq!(names(list!(v1alpha), "v1"), expected("v1alpha"));
}

#[tokio::test]
async fn health_is_told_for_the_server_and_each_service() {
    let running = Desk::new().run().await;
    let mut client = HealthClient::new(running.channel().await);
    for service in ["", "chainfire.v1.EventService"] {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        let answer = client.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let request = HealthCheckRequest {
        service: "no.such.Service".into(),
    };
    assert_eq!(
        client.check(request).await.unwrap_err().code(),
        Code::NotFound
    );
}

async fn scrape(address: std::net::SocketAddr) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

#[tokio::test]
async fn metrics_count_calls_by_method_and_code() {
    let desk = Desk::new();
    let address = free_address();
    let server = ServerSettings {
        metrics_listen: Some(address),
        ..settings()
    };
    let running = run(server, desk.services()).await;
    let mut client = events_client(&running).await;
    client
        .list_events(bearing("acme", ListEventsRequest::default()))
        .await
        .unwrap();
    desk.policy(Policy::Deny("no"));
    client
        .list_events(bearing("acme", ListEventsRequest::default()))
        .await
        .unwrap_err();
    // One that no test of this program serves: they may share a process, and with it the metrics.
    let mut unknown = VpcServiceClient::new(running.channel().await);
    let status = unknown
        .list_vpcs(ListVpcsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);

    let text = scrape(address).await;
    let method = "method=\"chainfire.v1.EventService/ListEvents\"";
    for code in ["OK", "PERMISSION_DENIED"] {
        let line = text.lines().find(|line| {
            line.starts_with("photon_grpc_calls_total{")
                && line.contains(method)
                && line.contains(&format!("code=\"{code}\""))
        });
        let line = line.unwrap_or_else(|| panic!("no {code} in {text}"));
        // Other tests of this program may count here, too.
        assert!(
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 1.0,
            "{line}"
        );
    }
    for expected in [
        "photon_grpc_calls_total{method=\"unknown\",code=\"UNIMPLEMENTED\"}",
        "photon_grpc_call_seconds_bucket{",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_start_time_seconds ",
        "photon_build_info{component=\"desk\"",
    ] {
        assert!(text.contains(expected), "no {expected} in {text}");
    }
    assert!(!text.contains("VpcService"), "a stranger made a label");
}

#[tokio::test]
async fn a_request_id_goes_through_and_a_bad_one_is_replaced() {
    let desk = Desk::new();
    let running = desk.run().await;
    let mut client = events_client(&running).await;
    let mut call = async |id: Option<&str>| {
        let mut request = bearing("acme", ListEventsRequest::default());
        if let Some(id) = id {
            request
                .metadata_mut()
                .insert("x-request-id", id.parse().unwrap());
        }
        let response = client.list_events(request).await.unwrap();
        entry(response.metadata(), "x-request-id").to_owned()
    };
    assert_eq!(call(Some("a.b:c-d_9")).await, "a.b:c-d_9");
    let long = "x".repeat(129);
    for bad in [
        Some("a b"),
        Some("a/b"),
        Some("\"}"),
        Some(long.as_str()),
        None,
    ] {
        let made = call(bad).await;
        assert!(
            uuid::Uuid::try_parse(&made).is_ok(),
            "{bad:?} became {made}"
        );
    }
    // On errors, too.
    let mut request = bearing("nobody", ListEventsRequest::default());
    request
        .metadata_mut()
        .insert("x-request-id", "r-77".parse().unwrap());
    let status = client.list_events(request).await.unwrap_err();
    assert_eq!(entry(status.metadata(), "x-request-id"), "r-77");
    assert_eq!(desk.events(None).await[0].request_id, "r-77");
}

/// A server whose calls wait until they get a permit.
async fn waiting_server(iam: &ScriptedIam, change: impl FnOnce(&mut ServerSettings)) -> Running {
    iam.0.answers.forget_permits(usize::MAX);
    let mut server = settings();
    change(&mut server);
    run(server, iam.services()).await
}

#[tokio::test]
async fn a_stop_ends_streams_and_lets_calls_finish() {
    let iam = ScriptedIam::new();
    let mut running = waiting_server(&iam, |_| {}).await;
    let channel = running.channel().await;
    let request = HealthCheckRequest::default();
    let watch = HealthClient::new(channel.clone())
        .watch(request)
        .await
        .unwrap();
    let mut stream = watch.into_inner();
    assert_eq!(
        stream.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    let call = tokio::spawn(async move {
        IamAuthzServiceClient::new(channel)
            .authorize(AuthorizeRequest::default())
            .await
    });
    until("the call is under way", || {
        iam.0.waiting.load(Ordering::SeqCst) == 1
    })
    .await;

    let began = Instant::now();
    running.shutdown.cancel();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!running.done.is_finished(), "a call is still under way");
    iam.0.answers.add_permits(1);
    assert!(call.await.unwrap().unwrap().into_inner().allowed);
    (&mut running.done).await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let again = tokio::net::TcpStream::connect(running.address).await;
    assert!(again.is_err(), "the listener is still open");
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_hold_the_stop_up() {
    let iam = ScriptedIam::new();
    let mut running = waiting_server(&iam, |_| {}).await;
    let channel = running.channel().await;
    let call = tokio::spawn(async move {
        IamAuthzServiceClient::new(channel)
            .authorize(AuthorizeRequest::default())
            .await
    });
    until("the call is under way", || {
        iam.0.waiting.load(Ordering::SeqCst) == 1
    })
    .await;
    let began = Instant::now();
    running.shutdown.cancel();
    (&mut running.done).await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    call.abort();
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_and_says_so() {
    let iam = ScriptedIam::new();
    let running = waiting_server(&iam, |server| {
        server.limits.call_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = IamAuthzServiceClient::new(running.channel().await);
    let status = client
        .authorize(AuthorizeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("request_id"), "{status}");
}

#[tokio::test]
async fn more_calls_than_the_server_takes_are_refused_not_queued() {
    let iam = ScriptedIam::new();
    let running = waiting_server(&iam, |server| server.limits.calls = 1).await;
    let channel = running.channel().await;
    let mut client = IamAuthzServiceClient::new(channel.clone());
    let first = tokio::spawn(async move { client.authorize(AuthorizeRequest::default()).await });
    until("the call is under way", || {
        iam.0.waiting.load(Ordering::SeqCst) == 1
    })
    .await;
    let mut client = IamAuthzServiceClient::new(channel);
    let status = client
        .authorize(AuthorizeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    iam.0.answers.add_permits(2);
    first.await.unwrap().unwrap();
    client.authorize(AuthorizeRequest::default()).await.unwrap();
}
