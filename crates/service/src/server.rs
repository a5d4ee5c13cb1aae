//! The gRPC server: listener, TLS, health, reflection, limits, and the graceful stop.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chainfire::Ledger;
use http::{Request, Response};
use photon_api::chainfire::v1::event_service_server::EventServiceServer;
use photon_program::{Component, ServerSettings, metrics, systemd};
use photon_resource::TokenVerifier;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::Service;

use crate::admission::{Admission, Connections, Kind, Refusals};
use crate::call::{CallLayer, Methods};
use crate::events::Events;
use crate::guard::Guard;
use crate::{retention, tls};

/// The service that servers ask, with the token of whoever called them.
const DECISIONS: &str = "iam.v1.IamAuthzService";

/// How long calls that are under way may take to end when the server stops. The unit's `TimeoutStopSec=` is
/// longer.
const GRACE: Duration = Duration::from_secs(8);

/// The gRPC services of a server. Reflection tells of these and no others.
#[derive(Clone)]
pub struct Services {
    verifier: Arc<dyn TokenVerifier>,
    routes: Routes,
    names: Vec<&'static str>,
    /// Of whose old events there is an end.
    ledger: Option<Ledger>,
}

impl Services {
    /// None yet. `verifier` tells who calls, before a call is let in.
    pub fn new(verifier: Arc<dyn TokenVerifier>) -> Self {
        Self {
            verifier,
            routes: Routes::default(),
            names: Vec::new(),
            ledger: None,
        }
    }

    /// Adds the event log of the server's store, for whom `guard` lets through. Its old events are cut off while the server
    /// runs, as [`ServerSettings::events`] says.
    #[must_use]
    pub fn events(mut self, guard: Guard, ledger: Ledger) -> Self {
        self.ledger = Some(ledger.clone());
        self.add(EventServiceServer::new(Events::new(guard, ledger)))
    }

    /// Adds one. It reads messages of up to 4 MiB, tonic's default, unless `max_decoding_message_size` of the
    /// generated server says otherwise.
    #[must_use]
    #[allow(clippy::should_implement_trait)]
    pub fn add<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }
}

/// Serves `services` at `listener` until `shutdown`, then stops: no new connections, streams end with
/// UNAVAILABLE, calls that are under way get 8 s. Tells systemd that the server is ready and that it stops.
///
/// Errors: the listener is not loopback and there is no TLS; the TLS files are wrong.
pub async fn serve(
    settings: &ServerSettings,
    component: Component,
    services: Services,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener
        .local_addr()
        .context("the listener has no address")?;
    if !address.ip().is_loopback() && settings.tls.is_none() {
        return Err(Refused::PlaintextListener(address).into());
    }
    metrics::recorder();
    if let Some(metrics) = settings.metrics_listen {
        metrics::serve(metrics, component.name, shutdown.clone()).await;
    }

    let (health, health_service) = tonic_health::server::health_reporter();
    for name in &services.names {
        health
            .set_service_status(*name, tonic_health::ServingStatus::Serving)
            .await;
    }
    let descriptors = descriptors(&services.names)?;
    let methods = Methods::of(&descriptors);
    let reflection = || {
        services.names.iter().fold(
            tonic_reflection::server::Builder::configure()
                .register_file_descriptor_set(descriptors.clone())
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health"),
            |builder, name| builder.with_service_name(*name),
        )
    };
    let routes = services
        .routes
        .add_service(health_service)
        .add_service(
            reflection()
                .with_service_name("grpc.reflection.v1.ServerReflection")
                .build_v1()
                .context("reflection (v1)")?,
        )
        .add_service(
            reflection()
                .with_service_name("grpc.reflection.v1alpha.ServerReflection")
                .build_v1alpha()
                .context("reflection (v1alpha)")?,
        )
        .prepare();

    let limits = &settings.limits;
    let refusals = Arc::new(Refusals::default());
    let connections = Arc::new(Connections::new(limits, Arc::clone(&refusals)));
    let layer = CallLayer {
        methods: Arc::new(methods),
        timeout: limits.call_timeout,
        first_message: limits.first_message,
        verifier: services.verifier,
        connections: Arc::clone(&connections),
        admission: Arc::new(Admission::new(limits.clone())),
        refusals: Arc::clone(&refusals),
        kept_back: Arc::default(),
        log: Arc::default(),
        shutdown: shutdown.clone(),
    };
    let mut server = Server::builder()
        .max_concurrent_streams(limits.calls_per_connection)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(32 << 10)
        // What is not read yet is in memory, for each connection; the default of the protocol is too small for images.
        .initial_stream_window_size(512 << 10)
        .initial_connection_window_size(1 << 20);
    if let Some(files) = &settings.tls {
        server = server
            .tls_config(tls::server_config(files)?)
            .context("the TLS files")?;
    }
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let status = format!("serving {scheme}://{address}");
    tracing::info!(component = component.name, %address, tls = settings.tls.is_some(), "serving");
    systemd::ready(&status);

    let serving = server.layer(layer).serve_with_incoming_shutdown(
        routes,
        connections.accept(listener),
        shutdown.clone().cancelled_owned(),
    );
    let told = refusals.tell(shutdown.clone());
    let cut = async {
        if let Some(ledger) = services.ledger {
            retention::run(ledger, settings.events, component.name, shutdown.clone()).await;
        }
    };
    let stopped = async {
        shutdown.cancelled().await;
        systemd::stopping();
        tracing::info!(component = component.name, "stopping");
        for name in &services.names {
            health
                .set_service_status(*name, tonic_health::ServingStatus::NotServing)
                .await;
        }
        tokio::time::sleep(GRACE).await;
    };
    let served = async {
        tokio::select! {
            // First, so that systemd hears of a stop that nothing holds up.
            biased;
            () = stopped => {
                tracing::warn!("calls were still under way after {} s: cut", GRACE.as_secs());
                Ok(())
            }
            served = serving => served.context("the gRPC listener ended"),
        }
    };
    let (served, (), ()) = tokio::join!(served, told, cut);
    served?;
    tracing::info!(component = component.name, "stopped");
    Ok(())
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Others could read tokens on the wire.
    #[error(
        "refusing to listen on {0} without TLS: give tls.certificate and tls.key, or a loopback address"
    )]
    PlaintextListener(std::net::SocketAddr),
}

/// The descriptors of the files that define `names`, and of what these import.
fn descriptors(names: &[&str]) -> anyhow::Result<FileDescriptorSet> {
    let mut set = FileDescriptorSet::decode(photon_api::FILE_DESCRIPTOR_SET)
        .context("the API's descriptor set")?;
    let mut wanted: HashSet<String> = HashSet::new();
    for name in names {
        let file = set
            .file
            .iter()
            .find(|file| services_of(file).any(|(service, _)| service == *name))
            .with_context(|| format!("no descriptor tells of the service {name}"))?;
        wanted.insert(file.name().to_owned());
    }
    // Imports come before their importers in a descriptor set, so one pass from the end finds all.
    for file in set.file.iter().rev() {
        if wanted.contains(file.name()) {
            wanted.extend(file.dependency.iter().cloned());
        }
    }
    set.file.retain(|file| wanted.contains(file.name()));
    for file in &mut set.file {
        let package = file.package().to_owned();
        file.service
            .retain(|service| names.contains(&format!("{package}.{}", service.name()).as_str()));
    }
    Ok(set)
}

fn services_of(
    file: &prost_types::FileDescriptorProto,
) -> impl Iterator<Item = (String, &prost_types::ServiceDescriptorProto)> {
    file.service
        .iter()
        .map(|service| (format!("{}.{}", file.package(), service.name()), service))
}

impl Methods {
    fn of(descriptors: &FileDescriptorSet) -> Self {
        let mut methods = Self::default();
        for file in &descriptors.file {
            for (name, service) in services_of(file) {
                for method in &service.method {
                    let path = format!("/{name}/{}", method.name());
                    if method.client_streaming() {
                        methods.client_streaming.insert(path.clone());
                    }
                    let kind = match method.client_streaming() || method.server_streaming() {
                        true => Kind::Stream,
                        false if name == DECISIONS => Kind::Decision,
                        false => Kind::Call,
                    };
                    methods.kinds.insert(path, kind);
                }
            }
        }
        let reflection = |version: &str| {
            format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        };
        for path in [reflection("v1"), reflection("v1alpha")] {
            methods.client_streaming.insert(path.clone());
            methods.kinds.insert(path, Kind::Stream);
        }
        let health = |method: &str| format!("/grpc.health.v1.Health/{method}");
        methods.kinds.insert(health("Check"), Kind::Probe);
        methods.kinds.insert(health("Watch"), Kind::Stream);
        methods
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_tells_only_of_the_services_that_are_there() {
        let set = descriptors(&["prismnet.v1.VpcService", "chainfire.v1.EventService"]).unwrap();
        let mut names: Vec<String> = set
            .file
            .iter()
            .flat_map(services_of)
            .map(|(name, _)| name)
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["chainfire.v1.EventService", "prismnet.v1.VpcService"]
        );
        assert!(
            set.file
                .iter()
                .any(|file| file.name() == "google/protobuf/timestamp.proto")
        );
        assert!(descriptors(&["prismnet.v1.NoSuchService"]).is_err());
    }

    #[test]
    fn only_methods_that_the_client_streams_to_have_no_time_limit() {
        let set = descriptors(&["plasmavmc.v1.VmService", "plasmavmc.v1.ImageService"]).unwrap();
        let methods = Methods::of(&set);
        assert!(
            methods
                .client_streaming
                .contains("/plasmavmc.v1.ImageService/ImportImage")
        );
        assert!(
            methods
                .client_streaming
                .contains("/plasmavmc.v1.VmService/Console")
        );
        assert!(
            !methods
                .client_streaming
                .contains("/plasmavmc.v1.VmService/CreateVm")
        );
        for (method, kind) in [
            ("plasmavmc.v1.VmService/WatchVm", Kind::Stream),
            ("plasmavmc.v1.VmService/CreateVm", Kind::Call),
            ("grpc.health.v1.Health/Check", Kind::Probe),
        ] {
            assert_eq!(
                methods.kinds.get(&format!("/{method}")),
                Some(&kind),
                "{method}"
            );
        }
    }
}
