//! What a member of a project does, who may make and change whatever its quota has room for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use photon_api::iam::v1::CreateApiKeyRequest;
use photon_api::plasmavmc::v1::import_image_request::Message as Part;
use photon_api::plasmavmc::v1::{
    CreateVmRequest, Disk, ImageFormat, ImagePart, ImportImageChunk, ImportImageHeader,
    ImportImageRequest, VmSpec,
};
use photon_api::prismnet::v1::{
    AttachPortRequest, CreatePortRequest, CreateSecurityGroupRequest, CreateVpcRequest,
    DeleteVpcRequest, DeviceType, Labels, UpdatePortRequest, UpdateSecurityGroupRequest,
    WatchPortsRequest,
};
use photon_client::call::Of;
use tokio::time::sleep;

use super::arena::{Arena, MEMBER, rules, server};
use super::attack::{Attack, Tally, Who};
use super::wire::{Failed, Line, Wire, framed};

/// Connections that it keeps, each with a stream: more than one address may have.
const CONNECTIONS: usize = 600;
/// Imports that one connection has open, and how long each waits for its next byte.
const IMPORTS: usize = 16;
const STALLED: Duration = Duration::from_secs(2);
/// User data near the most that there may be.
const USER_DATA: usize = 60_000;
/// Near the most that a description may have.
const DESCRIPTION: usize = 1000;

pub const ATTACKS: &[Attack] = &[
    Attack {
        who: Who::Member,
        name: "creates until the quota",
        workers: 8,
        sockets: 1,
        work: |arena, tally, number| Box::pin(creates(arena, tally, number)),
    },
    Attack {
        who: Who::Member,
        name: "small changes of large things",
        workers: 8,
        sockets: 1,
        work: |arena, tally, number| Box::pin(updates(arena, tally, number)),
    },
    Attack {
        who: Who::Member,
        name: "creates and deletes",
        workers: 4,
        sockets: 1,
        work: |arena, tally, number| Box::pin(churn(arena, tally, number)),
    },
    Attack {
        who: Who::Member,
        name: "images that stall",
        workers: 4,
        sockets: 1,
        work: |arena, tally, number| Box::pin(imports(arena, tally, number)),
    },
    Attack {
        who: Who::Member,
        name: "connections with a watch each",
        workers: 1,
        sockets: CONNECTIONS,
        work: |arena, tally, number| Box::pin(connections(arena, tally, number)),
    },
    Attack {
        who: Who::Member,
        name: "ports to any host",
        workers: 4,
        sockets: 1,
        work: |arena, tally, number| Box::pin(attaches(arena, tally, number)),
    },
];

/// Another number each time, so that names and request ids are new.
fn next() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn labels() -> BTreeMap<String, String> {
    let label = |n| (format!("key-{n}-{}", "k".repeat(40)), "v".repeat(60));
    (0..64).map(label).collect()
}

async fn creates(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let component = ["prismnet", "plasmavmc", "prismnet", "iam"][number % 4];
    let mut line = Line::new(MEMBER, server(component));
    while arena.goes_on(&tally) {
        let name = format!("m{}", next());
        let token = Some(arena.member.token.as_str());
        let description = "d".repeat(DESCRIPTION);
        let outcome = match number % 4 {
            0 => {
                let port = CreatePortRequest {
                    subnet_id: arena.subnet.clone(),
                    name,
                    description,
                    labels: labels(),
                    ..Default::default()
                };
                line.call(token, &port).await.map(drop)
            }
            1 => {
                let spec = VmSpec {
                    vcpus: 1,
                    memory_mib: 64,
                    disks: vec![Disk {
                        id: "root".into(),
                        size_bytes: 1 << 30,
                        ..Default::default()
                    }],
                    user_data: "u".repeat(USER_DATA),
                    ..Default::default()
                };
                let vm = CreateVmRequest {
                    name,
                    description,
                    labels: labels(),
                    spec: Some(spec),
                    ..Default::default()
                };
                line.call(token, &vm).await.map(drop)
            }
            2 => {
                let group = CreateSecurityGroupRequest {
                    name,
                    description,
                    labels: labels(),
                    rules: rules(),
                    ..Default::default()
                };
                line.call(token, &group).await.map(drop)
            }
            _ => {
                let key = CreateApiKeyRequest {
                    principal_id: arena.member.id.clone(),
                    description,
                    ..Default::default()
                };
                line.call(token, &key).await.map(drop)
            }
        };
        tally.ended(&outcome).await;
    }
}

/// 60 bytes on the wire, each with a `request_id` of its own, and a record of 200 kB.
async fn updates(arena: Arc<Arena>, tally: Arc<Tally>, number: usize) {
    let mut line = Line::new(MEMBER, server("prismnet"));
    while arena.goes_on(&tally) {
        let turn = next();
        let token = Some(arena.member.token.as_str());
        let request_id = format!("request-{turn}");
        let outcome = match number % 2 {
            0 => {
                let group = UpdateSecurityGroupRequest {
                    id: arena.group.clone(),
                    description: Some(format!("{turn}")),
                    request_id,
                    ..Default::default()
                };
                line.call(token, &group).await.map(drop)
            }
            _ => {
                let port = UpdatePortRequest {
                    id: arena.port.clone(),
                    description: Some(format!("{turn}-{}", "d".repeat(DESCRIPTION))),
                    labels: Some(Labels { labels: labels() }),
                    request_id,
                    ..Default::default()
                };
                line.call(token, &port).await.map(drop)
            }
        };
        tally.ended(&outcome).await;
    }
}

async fn churn(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    let mut line = Line::new(MEMBER, server("prismnet"));
    while arena.goes_on(&tally) {
        let token = Some(arena.member.token.as_str());
        let vpc = CreateVpcRequest {
            name: format!("c{}", next()),
            cidr: "10.77.0.0/16".into(),
            ..Default::default()
        };
        let made = line.call(token, &vpc).await;
        tally.ended(&made).await;
        if let Some(vpc) = made.ok().and_then(|made| made.vpc) {
            let gone = line.call(token, &DeleteVpcRequest::of(vpc.id)).await;
            tally.ended(&gone).await;
        }
    }
}

/// Imports whose content comes a byte at a time.
async fn imports(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    const PATH: &str = "/plasmavmc.v1.ImageService/ImportImage";
    let header = || ImportImageRequest {
        message: Some(Part::Header(ImportImageHeader {
            name: format!("i{}", next()),
            format: ImageFormat::Raw.into(),
            ..Default::default()
        })),
    };
    let chunk = |size| ImportImageRequest {
        message: Some(Part::Chunk(ImportImageChunk {
            part: ImagePart::Disk.into(),
            data: vec![1; size],
        })),
    };
    while arena.goes_on(&tally) {
        let opened = Wire::open(MEMBER, server("plasmavmc")).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        let mut calls = Vec::new();
        for _ in 0..IMPORTS {
            let token = Some(arena.member.token.as_str());
            if let Ok(mut begun) = wire.begin(PATH, token, HeaderMap::new()).await {
                let first = [framed(&header()), framed(&chunk(64 << 10))].concat();
                let sent = begun.body.send_data(Bytes::from(first), false);
                tally.count(&sent.map_err(|error| Failed::Broken(error.to_string())));
                calls.push(begun);
            }
        }
        for _ in 0..5 {
            sleep(STALLED).await;
            for call in &mut calls {
                // What the server has reset takes no more.
                let _ = call.body.send_data(framed(&chunk(1)), false);
            }
        }
    }
}

async fn connections(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    let mut open = Vec::new();
    while arena.goes_on(&tally) {
        if open.len() >= CONNECTIONS {
            sleep(STALLED).await;
            // Those that were cut make room, whichever they are.
            open.drain(..CONNECTIONS / 4);
        }
        let component = ["prismnet", "plasmavmc", "iam"][open.len() % 3];
        let opened = Wire::open(MEMBER, server(component)).await;
        tally.ended(&opened).await;
        let Ok(wire) = opened else { continue };
        let watch = WatchPortsRequest::default();
        let stream = wire.open_stream(Some(&arena.member.token), &watch).await;
        open.push((wire, stream));
    }
}

async fn attaches(arena: Arc<Arena>, tally: Arc<Tally>, _: usize) {
    let mut line = Line::new(MEMBER, server("prismnet"));
    while arena.goes_on(&tally) {
        let turn = next();
        let attach = AttachPortRequest {
            id: arena.port.clone(),
            device_id: format!("00000000-0000-4000-8000-{turn:012x}"),
            device_type: DeviceType::Vm.into(),
            node: format!("node-{turn}"),
            ..Default::default()
        };
        let token = Some(arena.member.token.as_str());
        let outcome = line.call(token, &attach).await;
        tally.ended(&outcome).await;
    }
}
