//! What a tenant's viewer does, who may look at everything in its project and change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_api::iam::v1::{AuthorizeRequest, ListPrincipalsRequest};
use photon_api::plasmavmc::v1::{
    CreateVmRequest, DeleteVmRequest, ListVmsRequest, StopVmRequest, WatchImagesRequest,
    WatchVmRequest,
};
use photon_api::prismnet::v1::{
    CreateVpcRequest, DeletePortRequest, DeleteVpcRequest, ListPortsRequest,
    ListSecurityGroupsRequest, WatchPortsRequest, WatchSecurityGroupsRequest, WatchVpcsRequest,
};
use photon_client::call::{Call, Of};
use tokio::time::sleep;

use super::arena::{Arena, VIEWER, server};
use super::attack::{Attack, Tally, Who};
use super::wire::{Begun, Failed, Line, Wire};

/// The largest page that there is.
const PAGE: u32 = 1000;
/// Streams that one connection asks for.
const WATCHES: usize = 64;
/// How long they are kept.
const WATCHED: Duration = Duration::from_secs(5);

pub const ATTACKS: &[Attack] = &[
    Attack {
        who: Who::Viewer,
        name: "the largest lists",
        workers: 16,
        sockets: 1,
        work: |arena, tally, number| Box::pin(lists(arena, tally, number)),
    },
    Attack {
        who: Who::Viewer,
        name: "filters that find nothing",
        workers: 8,
        sockets: 1,
        work: |arena, tally, number| Box::pin(filters(arena, tally, number)),
    },
    Attack {
        who: Who::Viewer,
        name: "watches",
        workers: 8,
        sockets: 1,
        work: |arena, tally, number| Box::pin(watches(arena, tally, number)),
    },
    Attack {
        who: Who::Viewer,
        name: "lists that it does not read",
        workers: 4,
        sockets: 1,
        work: |arena, tally, number| Box::pin(unread(arena, tally, number)),
    },
    Attack {
        who: Who::Viewer,
        name: "calls that it may not make",
        workers: 16,
        sockets: 1,
        work: |arena, tally, number| Box::pin(forbidden(arena, tally, number)),
    },
    Attack {
        who: Who::Viewer,
        name: "questions to IAM",
        workers: 8,
        sockets: 1,
        work: |arena, tally, number| Box::pin(questions(arena, tally, number)),
    },
];

/// Calls one server again and again with the same request.
async fn again<R: Call>(arena: Arc<Arena>, tally: Arc<Tally>, component: &str, request: R) {
    let mut line = Line::new(VIEWER, server(component));
    while arena.goes_on(&tally) {
        let outcome = line.call(Some(&arena.viewer.token), &request).await;
        tally.ended(&outcome).await;
    }
}

async fn lists(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    match number % 4 {
        0 => {
            let ports = ListPortsRequest {
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "prismnet", ports).await;
        }
        1 => {
            let groups = ListSecurityGroupsRequest {
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "prismnet", groups).await;
        }
        2 => {
            let vms = ListVmsRequest {
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "plasmavmc", vms).await;
        }
        _ => {
            let events = ListEventsRequest {
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "prismnet", events).await;
        }
    }
}

/// What is asked for is looked for in all that there is.
async fn filters(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    match number % 4 {
        0 => {
            let labels = (0..64).map(|n| (format!("key-{n}"), "none".to_owned()));
            let ports = ListPortsRequest {
                labels: labels.collect::<BTreeMap<_, _>>(),
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "prismnet", ports).await;
        }
        1 => {
            let events = ListEventsRequest {
                action_prefix: "none".into(),
                resource_prefix: "none".into(),
                page_size: 1,
                ..Default::default()
            };
            again(arena, tally, "prismnet", events).await;
        }
        2 => again(arena, tally, "prismnet", VerifyChainRequest::default()).await,
        _ => {
            let principals = ListPrincipalsRequest {
                page_size: PAGE,
                ..Default::default()
            };
            again(arena, tally, "iam", principals).await;
        }
    }
}

/// As many as a connection gets, of everything that can be watched, and nothing of them is read.
async fn watches(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let component = ["prismnet", "plasmavmc"][number % 2];
    while arena.goes_on(&tally) {
        let opened = Wire::open(VIEWER, server(component)).await;
        let Ok(wire) = opened else {
            tally.ended(&opened).await;
            continue;
        };
        let mut kept = Vec::new();
        for turn in 0..WATCHES {
            match watch(&wire, &arena.viewer.token, component, turn).await {
                Ok(stream) => kept.push(stream),
                Err(error) => tally.ended::<()>(&Err(error)).await,
            }
        }
        sleep(WATCHED).await;
        // Those that are refused have said so by now; the others have more to tell.
        for stream in kept {
            match tokio::time::timeout(Duration::from_millis(1), stream.headed()).await {
                Ok(outcome) => tally.count(&outcome),
                Err(_) => tally.count(&Ok(())),
            }
        }
    }
}

async fn watch(wire: &Wire, token: &str, component: &str, turn: usize) -> Result<Begun, Failed> {
    let token = Some(token);
    match (component, turn % 3) {
        ("prismnet", 0) => wire.open_stream(token, &WatchPortsRequest::default()).await,
        ("prismnet", 1) => wire.open_stream(token, &WatchVpcsRequest::default()).await,
        ("prismnet", _) => {
            let groups = WatchSecurityGroupsRequest::default();
            wire.open_stream(token, &groups).await
        }
        (_, 0) => {
            wire.open_stream(token, &WatchImagesRequest::default())
                .await
        }
        _ => wire.open_stream(token, &WatchVmRequest::default()).await,
    }
}

/// Large answers that stay where they are: in the server.
async fn unread(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    let groups = ListSecurityGroupsRequest {
        page_size: PAGE,
        ..Default::default()
    };
    while arena.goes_on(&tally) {
        let opened = Wire::open(VIEWER, server("prismnet")).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        let mut kept = Vec::new();
        for _ in 0..WATCHES {
            let asked = wire.open_stream(Some(&arena.viewer.token), &groups).await;
            if let Ok(begun) = asked {
                kept.push(begun);
            }
        }
        sleep(WATCHED).await;
    }
}

/// Each is refused by the policy.
async fn forbidden(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let (vpc, port) = (arena.vpc.clone(), arena.port.clone());
    match number % 6 {
        0 => again(arena, tally, "prismnet", DeleteVpcRequest::of(vpc)).await,
        1 => again(arena, tally, "prismnet", DeletePortRequest::of(port)).await,
        2 => {
            let another = CreateVpcRequest {
                name: "mine".into(),
                cidr: "10.9.0.0/16".into(),
                ..Default::default()
            };
            again(arena, tally, "prismnet", another).await;
        }
        3 => {
            let vm = CreateVmRequest {
                name: "mine".into(),
                ..Default::default()
            };
            again(arena, tally, "plasmavmc", vm).await;
        }
        4 => again(arena, tally, "plasmavmc", DeleteVmRequest::of(vpc)).await,
        _ => again(arena, tally, "plasmavmc", StopVmRequest::of(vpc)).await,
    }
}

/// As a server would ask about this caller.
async fn questions(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    let viewer = &arena.viewer;
    let question = AuthorizeRequest {
        token: viewer.token.clone(),
        action: "network:vpcs:delete".into(),
        resource: format!(
            "org/{}/project/{}/vpc/{}",
            viewer.org, viewer.project, arena.vpc
        ),
        ..Default::default()
    };
    again(arena, tally, "iam", question).await;
}
