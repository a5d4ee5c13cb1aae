//! TLS by rustls, with ring as the process's one provider of cryptography.

use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::config::{Endpoints, Invalid, TlsFiles};

/// Makes ring the provider, whatever else is linked in. A second call changes nothing.
pub(crate) fn install_provider() {
    // An error means that one is installed already, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The listener's side.
pub(crate) fn server_config(files: &TlsFiles) -> Result<ServerTlsConfig, Invalid> {
    install_provider();
    let certificate = pem("tls.certificate", &files.certificate, "CERTIFICATE")?;
    let key = pem("tls.key", &files.key, "PRIVATE KEY")?;
    let mut config = ServerTlsConfig::new()
        .identity(Identity::from_pem(certificate, key))
        .timeout(std::time::Duration::from_secs(10));
    if let Some(path) = &files.client_ca {
        config = config.client_ca_root(Certificate::from_pem(pem(
            "tls.client_ca",
            path,
            "CERTIFICATE",
        )?));
    }
    // Certificate and key are parsed, and compared with each other, only when a server is built.
    tonic::transport::Server::builder()
        .tls_config(config.clone())
        .map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Invalid::new(
                "tls",
                files.certificate.display(),
                format!(
                    "a certificate and its private key ({})",
                    cause.unwrap_or_else(|| error.to_string())
                ),
            )
        })?;
    Ok(config)
}

/// The caller's side.
pub(crate) fn client_config(endpoints: &Endpoints) -> Result<ClientTlsConfig, Invalid> {
    install_provider();
    let mut config = ClientTlsConfig::new();
    config = match &endpoints.ca {
        Some(path) => config.ca_certificate(Certificate::from_pem(pem(
            "endpoints.ca",
            path,
            "CERTIFICATE",
        )?)),
        None => config.with_native_roots(),
    };
    match (&endpoints.certificate, &endpoints.key) {
        (None, None) => Ok(config),
        (Some(certificate), Some(key)) => Ok(config.identity(Identity::from_pem(
            pem("endpoints.certificate", certificate, "CERTIFICATE")?,
            pem("endpoints.key", key, "PRIVATE KEY")?,
        ))),
        (Some(path), None) => Err(Invalid::new(
            "endpoints.certificate",
            path.display(),
            "endpoints.key beside it",
        )),
        (None, Some(path)) => Err(Invalid::new(
            "endpoints.key",
            path.display(),
            "endpoints.certificate beside it",
        )),
    }
}

/// Reads a PEM file that must have a section of `kind`.
fn pem(key: &str, path: &Path, kind: &str) -> Result<String, Invalid> {
    let expected = |why: String| {
        Invalid::new(
            key,
            path.display(),
            format!("a PEM file with a {kind} section ({why})"),
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| expected(error.to_string()))?;
    if text.contains(&format!("{kind}-----")) {
        Ok(text)
    } else {
        Err(expected("it has none".into()))
    }
}
