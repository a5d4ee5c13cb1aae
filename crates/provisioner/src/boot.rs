//! The boot listener: what firmware and the netboot image talk to, over plain HTTP because firmware speaks nothing
//! else. It gives public files and scripts to anybody, and takes inventories as unproven claims.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /boot.ipxe?mac=…&serial=…&uuid=…` | the iPXE script for that machine |
//! | `GET /boot/FILE` | a file of the netboot image |
//! | `POST /inventory` | [`photon_api::inventory::Report`] → [`photon_api::inventory::Answer`] |

mod file;
mod pace;
mod script;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use photon_api::inventory::{Answer, LARGEST_REPORT, Report};
use photon_resource::Error;
use photon_service::Limiter;
use photon_service::holds::{Holds, source};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tower::ServiceExt;

use crate::app::{Discovery, Reported};
use crate::convert;
use crate::identify::Asked;
use crate::model::{serial, smbios_uuid};

use pace::Paced;
pub use script::Netboot;

/// How many connections may be open, and how many of one source: firmware and image have one or two, but many machines
/// may come by one address.
const CONNECTIONS: usize = 512;
const CONNECTIONS_OF_ONE: usize = 32;
/// How much of a report that is too large is read before it is refused.
const LARGEST_IGNORED: usize = 1 << 20;
/// How long a client may take to send a request's head, and its body.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How many reports one address may send in a row, and after how long one more: a machine reports every 10 s, but many
/// may do so through one address.
const REPORTS: u32 = 30;
const REPORT_REFILL: Duration = Duration::from_millis(500);
/// How long connections may take to end when the server stops: a file that is being read is begun again anyway.
const GRACE: Duration = Duration::from_secs(2);

/// What the listener serves. Clones are the same.
#[derive(Clone)]
pub struct Boot(Arc<Inner>);

struct Inner {
    discovery: Discovery,
    netboot: Netboot,
    files: PathBuf,
    reports: Limiter<String>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Client(SocketAddr);

/// How firmware names the machine. What can't be read is left out: it must boot all the same.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Named {
    mac: String,
    serial: String,
    uuid: String,
}

impl Named {
    fn asked(&self) -> Asked {
        Asked {
            uuid: smbios_uuid(&self.uuid),
            serial: serial(&self.serial),
            mac: self.mac.parse().ok(),
        }
    }
}

impl Boot {
    /// Serves the files of `netboot`'s directory.
    pub fn new(discovery: Discovery, netboot: Netboot) -> Self {
        Self(Arc::new(Inner {
            discovery,
            files: netboot.files.clone(),
            netboot,
            reports: Limiter::new(REPORTS, REPORT_REFILL),
        }))
    }

    fn router(self) -> Router {
        Router::new()
            .route("/boot.ipxe", get(boot_script))
            .route("/boot/{file}", get(boot_file))
            .route("/inventory", post(inventory))
            .with_state(self)
    }

    /// Serves at `listener` until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let router = self.router();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let sources = Arc::new(Holds::default());
        let connections = TaskTracker::new();
        loop {
            // The semaphore is never closed.
            let Ok(permit) = room.clone().acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, client) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Of one connection, or no file descriptors: then some must end first.
                    tracing::warn!(%error, "a boot connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let share = [(source(client.ip()), CONNECTIONS_OF_ONE)];
            let Ok(place) = sources.take(&share, 1) else {
                tracing::debug!(%client, "has {CONNECTIONS_OF_ONE} boot connections already");
                continue;
            };
            let service = router.clone().map_request(
                move |mut request: hyper::Request<hyper::body::Incoming>| {
                    request.extensions_mut().insert(Client(client));
                    request
                },
            );
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(16 << 10)
                .serve_connection(
                    TokioIo::new(Paced::new(stream)),
                    TowerToHyperService::new(service),
                );
            let shutdown = shutdown.clone();
            connections.spawn(async move {
                let mut connection = std::pin::pin!(connection);
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = shutdown.cancelled() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%client, %error, "a boot connection broke");
                }
                drop((permit, place));
            });
        }
        connections.close();
        let _ = tokio::time::timeout(GRACE, connections.wait()).await;
    }
}

async fn boot_script(
    State(boot): State<Boot>,
    named: Result<Query<Named>, QueryRejection>,
) -> Response {
    let Query(named) = named.unwrap_or_default();
    let machine = match boot.0.discovery.booting(&named.asked()).await {
        Ok(machine) => machine,
        Err(error) => return refuse(error),
    };
    match boot.0.netboot.script(machine.as_ref()).await {
        Ok(script) => (
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            script,
        )
            .into_response(),
        Err(error) => {
            tracing::error!("{error:#}");
            let told = "the netboot image is not there: see the provisioner's log\n";
            (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
        }
    }
}

async fn boot_file(
    State(boot): State<Boot>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    file::serve(&boot.0.files, &name, headers.get(header::RANGE)).await
}

async fn inventory(
    State(boot): State<Boot>,
    axum::Extension(Client(client)): axum::Extension<Client>,
    body: Body,
) -> Response {
    // Read before anything is answered: a connection that is closed with something unread loses its answer.
    let bytes = match tokio::time::timeout(BODY_WITHIN, read(body)).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let told = format!("a report has at most {LARGEST_REPORT} bytes\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, told).into_response();
        }
        Err(_) => {
            let told = format!("a report must be sent within {} s\n", BODY_WITHIN.as_secs());
            return (StatusCode::REQUEST_TIMEOUT, told).into_response();
        }
    };
    let source = client.ip().to_canonical().to_string();
    if boot
        .0
        .reports
        .admit(source.clone(), Instant::now())
        .is_none()
    {
        let wait = [(header::RETRY_AFTER, "10")];
        let told = "too many reports from this address: one every 10 s is enough\n";
        return (StatusCode::TOO_MANY_REQUESTS, wait, told).into_response();
    }
    let hardware = serde_json::from_slice::<Report>(&bytes)
        .map_err(|error| {
            Error::invalid(
                "report",
                "(not shown)",
                format!("JSON of a report: {error}"),
            )
        })
        .and_then(|report| convert::hardware(&report));
    let hardware = match hardware {
        Ok(hardware) => hardware,
        Err(error) => return refuse(error),
    };
    match boot.0.discovery.report(&hardware, client.ip()).await {
        Ok(Reported::Machine(machine)) => axum::Json(Answer {
            id: machine.id.to_string(),
            state: machine.state.name().to_owned(),
            boot_disk: machine.boots_from_disk(),
            name: machine.name.unwrap_or_default(),
        })
        .into_response(),
        Ok(Reported::Contradiction(reason)) => {
            (StatusCode::CONFLICT, format!("{reason}\n")).into_response()
        }
        Err(error) => refuse(error),
    }
}

/// The whole of a body; `None`: it is too large, or broke off.
async fn read(body: Body) -> Option<Vec<u8>> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.ok()?;
        length += piece.len();
        if length <= LARGEST_REPORT {
            bytes.extend_from_slice(&piece);
        } else if length > LARGEST_IGNORED {
            return None;
        }
    }
    (length <= LARGEST_REPORT).then_some(bytes)
}

fn refuse(error: Error) -> Response {
    // As a gRPC status: what is internal is logged, and not told.
    let told = photon_service::status(error);
    let status = match told.code() {
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, format!("{}\n", told.message())).into_response()
}
