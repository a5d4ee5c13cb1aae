//! Certificate requests (PKCS#10, RFC 2986).

use photon_resource::Error;
use rcgen::{
    CertificateSigningRequestParams, DnType, DnValue, PKCS_ECDSA_P256_SHA256, PublicKey,
    PublicKeyData,
};
use sha2::{Digest, Sha256};

/// Longest request that is read; one of ours has about 500 bytes.
const LONGEST: usize = 16 << 10;

/// A certificate request whose sender has shown that it has the key.
#[derive(Debug)]
pub struct Request {
    /// Its common name. All other names in it count for nothing.
    pub name: String,
    /// Its public key.
    pub key: PublicKey,
    /// SHA-256 of the public key, in hex.
    pub key_digest: String,
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is not one that we make.
    #[error("{0}")]
    Malformed(String),
    /// Its signature is not by its own key: whoever sends it may not have the key.
    #[error("the certificate request is not signed by its own key")]
    NotPossessed,
}

impl Request {
    /// Reads a request and verifies its signature by its own key, the proof of possession.
    pub fn parse(pem: &str) -> Result<Self, Refused> {
        let malformed = |why: &str| Refused::Malformed(why.to_owned());
        if pem.len() > LONGEST {
            return Err(malformed("it is longer than 16 KiB"));
        }
        let parsed =
            CertificateSigningRequestParams::from_pem(pem).map_err(|error| match error {
                rcgen::Error::InvalidCertificationRequestSignature => Refused::NotPossessed,
                other => Refused::Malformed(other.to_string()),
            })?;
        let key = parsed.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(malformed("its key is not ECDSA P-256 with SHA-256"));
        }
        let name = match parsed.params.distinguished_name.get(&DnType::CommonName) {
            Some(DnValue::Utf8String(name)) => name.clone(),
            Some(DnValue::PrintableString(name)) => name.as_str().to_owned(),
            _ => return Err(malformed("it has no common name that is text")),
        };
        Ok(Self {
            name,
            key_digest: hex::encode(Sha256::digest(key.der_bytes())),
            key,
        })
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(why) => Error::invalid(
                "certificate_request_pem",
                "(not shown)",
                format!(
                    "a PKCS#10 request in PEM, with an ECDSA P-256 key and the host name as common name: {why}"
                ),
            ),
            Refused::NotPossessed => Error::Unauthenticated(refused.to_string()),
        }
    }
}
