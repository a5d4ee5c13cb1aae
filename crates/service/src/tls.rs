//! TLS by rustls, with ring as the process's one provider of cryptography.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::config::{ClientCertificates, Endpoints, Invalid, TlsFiles};

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
        let authorities = pem("tls.client_ca", path, "CERTIFICATE")?;
        config = config
            .client_ca_root(Certificate::from_pem(authorities))
            .client_auth_optional(files.client_certificates == ClientCertificates::Optional);
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

/// The caller's side, from the files as they are now.
pub(crate) fn client_config(endpoints: &Endpoints) -> Result<ClientConfig, Invalid> {
    install_provider();
    let mut roots = RootCertStore::empty();
    match &endpoints.ca {
        Some(path) => {
            for authority in certificates("endpoints.ca", path)? {
                roots
                    .add(authority)
                    .map_err(|error| unusable("endpoints.ca", path, "CERTIFICATE", error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let expected = "a PEM file of authorities, because this system trusts none itself";
                return Err(Invalid::new("endpoints.ca", "", expected));
            }
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match (&endpoints.certificate, &endpoints.key) {
        (None, None) => config.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates("endpoints.certificate", certificate)?;
            let text = pem("endpoints.key", key, "PRIVATE KEY")?;
            let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|error| unusable("endpoints.key", key, "PRIVATE KEY", error))?;
            config.with_client_auth_cert(chain, key).map_err(|error| {
                let expected = format!("the certificate of the key in endpoints.key ({error})");
                Invalid::new("endpoints.certificate", certificate.display(), expected)
            })?
        }
        (Some(path), None) => {
            return Err(Invalid::new(
                "endpoints.certificate",
                path.display(),
                "endpoints.key beside it",
            ));
        }
        (None, Some(path)) => {
            return Err(Invalid::new(
                "endpoints.key",
                path.display(),
                "endpoints.certificate beside it",
            ));
        }
    };
    // gRPC is HTTP/2 alone (RFC 9113, 3.1).
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    let text = pem(key, path, "CERTIFICATE")?;
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(key, path, "CERTIFICATE", error))
}

fn unusable(key: &str, path: &Path, kind: &str, error: impl std::fmt::Display) -> Invalid {
    let expected = format!("a PEM file with a {kind} section that can be used ({error})");
    Invalid::new(key, path.display(), expected)
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
