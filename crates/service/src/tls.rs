//! The listener's side of TLS, by tonic.

use std::time::Duration;

use photon_program::tls::{check_listener, read_listener};
use photon_program::{ClientCertificates, Invalid, TlsFiles};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// A listener with these files.
///
/// Errors: a file can't be read, is no PEM of its kind, or the key is not the certificate's.
pub(crate) fn server_config(files: &TlsFiles) -> Result<ServerTlsConfig, Invalid> {
    check_listener(files)?;
    let pem = read_listener(files)?;
    let mut config = ServerTlsConfig::new()
        .identity(Identity::from_pem(pem.certificate, pem.key))
        .timeout(Duration::from_secs(10));
    if let Some(authorities) = pem.client_ca {
        config = config
            .client_ca_root(Certificate::from_pem(authorities))
            .client_auth_optional(files.client_certificates == ClientCertificates::Optional);
    }
    Ok(config)
}
