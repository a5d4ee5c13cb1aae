//! TLS by rustls, with ring as the process's one provider of cryptography.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::{Endpoints, Invalid, TlsFiles};

/// Makes ring the provider, whatever else is linked in. A second call changes nothing.
pub fn install_provider() {
    // An error means that one is installed already, by an earlier call.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Looks whether a listener can be had with `files`.
///
/// Errors: a file can't be read, is no PEM of its kind, or the key is not the certificate's.
pub fn check_listener(files: &TlsFiles) -> Result<(), Invalid> {
    install_provider();
    let unusable = |cause: String| {
        let expected = format!("a certificate and its private key ({cause})");
        Invalid::new("tls", files.certificate.display(), expected)
    };
    let pem = read_listener(files)?;
    let chain = CertificateDer::pem_slice_iter(pem.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes())
        .map_err(|error| unusable(error.to_string()))?;
    let verifier = match &pem.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
                let authority = authority.map_err(|error| unusable(error.to_string()))?;
                roots
                    .add(authority)
                    .map_err(|error| unusable(error.to_string()))?;
            }
            WebPkiClientVerifier::builder(roots.into())
                .build()
                .map_err(|error| unusable(error.to_string()))?
        }
    };
    ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable(error.to_string()))?;
    Ok(())
}

/// What the files of a listener hold, each with the section that it must have.
#[derive(Clone)]
pub struct ListenerPem {
    /// The certificate and what it needs up to a root.
    pub certificate: String,
    /// Its private key. Secret.
    pub key: String,
    /// The authorities of client certificates.
    pub client_ca: Option<String>,
}

/// Reads a listener's files.
///
/// Errors: one can't be read, or lacks its section.
pub fn read_listener(files: &TlsFiles) -> Result<ListenerPem, Invalid> {
    Ok(ListenerPem {
        certificate: pem("tls.certificate", &files.certificate, "CERTIFICATE")?,
        key: pem("tls.key", &files.key, "PRIVATE KEY")?,
        client_ca: files
            .client_ca
            .as_deref()
            .map(|path| pem("tls.client_ca", path, "CERTIFICATE"))
            .transpose()?,
    })
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
