//! Whether a host is healthy: what it says of its units, and whether its APIs serve.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::facts::{Api, Facts};
use super::plan;
use super::remote::{Ssh, Target};

/// An API that serves answers at once; a tunnel to it is an SSH handshake.
const ANSWER: Duration = Duration::from_secs(20);

/// What a look at a host gave.
#[derive(Clone, Debug)]
pub struct Look {
    pub facts: Facts,
    /// APIs that do not serve, with the reason.
    pub unanswered: Vec<(String, String)>,
}

impl Look {
    /// What is wrong; empty: the host is healthy.
    pub fn problems(&self, before: Option<&Facts>) -> Vec<String> {
        plan::problems(&self.facts, &self.unanswered, before)
    }
}

/// Asks the host and each of its APIs.
///
/// Errors: why it cannot be asked.
pub async fn look(ssh: &Ssh, target: &Target) -> Result<Look, String> {
    let facts = ssh.probe(target).await?;
    let asked = facts.apis.iter().map(|api| async {
        let asked = tokio::time::timeout(ANSWER, ask(ssh, target, &facts, api)).await;
        let late = |_| Err(format!("no answer within {} s", ANSWER.as_secs()));
        let reason = asked.unwrap_or_else(late).err()?;
        Some((api.unit.clone(), reason))
    });
    let asked = futures::future::join_all(asked).await;
    let unanswered = asked.into_iter().flatten().collect();
    Ok(Look { facts, unanswered })
}

/// gRPC's own health check (grpc.health.v1), through SSH: what listens on the host's loopback is asked as well as
/// what listens for others, and no port of this machine is needed.
async fn ask(ssh: &Ssh, target: &Target, facts: &Facts, api: &Api) -> Result<(), String> {
    let scheme = if api.tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", api.address))
        .map_err(|error| error.to_string())?;
    if api.tls {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&facts.ca));
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| innermost(&error))?;
    }
    let tunnel = ssh
        .tunnel(target, api.address)
        .map_err(|error| error.to_string())?;
    let mut tunnel = Some(tunnel);
    let connect = tower::service_fn(move |_| {
        let tunnel = tunnel.take();
        async move {
            tunnel
                .map(TokioIo::new)
                .ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected))
        }
    });
    let channel = endpoint
        .connect_with_connector(connect)
        .await
        .map_err(|error| innermost(&error))?;
    let answer = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .map_err(|status| status.message().to_owned())?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(format!("it says {}", other.as_str_name())),
    }
}

/// The outermost text is only "transport error"; the innermost says what the matter is.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
