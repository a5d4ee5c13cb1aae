//! What a host must know of a certificate: whose it is, when it holds, and who signed it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Failure;

/// A certificate, read.
pub(super) struct Certificate {
    der: Vec<u8>,
    public_key: Vec<u8>,
    subject: String,
    serial: String,
    begins: SystemTime,
    ends: SystemTime,
    ends_text: String,
}

impl Certificate {
    /// Of the first certificate of a PEM file.
    ///
    /// # Errors
    /// Lasting: it is none.
    pub fn parse(pem: &str) -> Result<Self, Failure> {
        let der = first(pem)?;
        let (_, read) = X509Certificate::from_der(&der)
            .map_err(|error| Failure::lasting(format!("a certificate is not readable: {error}")))?;
        let at = |seconds: i64| {
            // Before 1970 nothing of ours was signed.
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        let validity = read.validity();
        Ok(Certificate {
            public_key: read.public_key().raw.to_vec(),
            subject: read.subject().to_string(),
            serial: read.raw_serial_as_string().replace(':', ""),
            begins: at(validity.not_before.timestamp()),
            ends: at(validity.not_after.timestamp()),
            ends_text: validity.not_after.to_string(),
            der,
        })
    }

    /// Whether its time has come and is not over.
    pub fn holds_at(&self, now: SystemTime) -> bool {
        (self.begins..=self.ends).contains(&now)
    }

    /// Whether two thirds of its life are over.
    pub fn is_due_at(&self, now: SystemTime) -> bool {
        let life = self.ends.duration_since(self.begins).unwrap_or_default();
        now >= self.begins + life * 2 / 3
    }

    /// For the journal.
    pub fn describe(&self) -> String {
        let Self {
            subject,
            serial,
            ends_text,
            ..
        } = self;
        format!("{subject}, serial {serial}, until {ends_text}")
    }

    /// Whether it is for this key (as a SubjectPublicKeyInfo) and signed by one of these authorities.
    ///
    /// # Errors
    /// Lasting: it is not, and what is wrong.
    pub fn check(&self, authorities: &str, public_key: &[u8]) -> Result<(), Failure> {
        if self.public_key != public_key {
            return Err(Failure::lasting(format!(
                "the certificate ({}) is for another key than this host's",
                self.describe()
            )));
        }
        let (_, read) = X509Certificate::from_der(&self.der)
            .map_err(|error| Failure::lasting(format!("a certificate is not readable: {error}")))?;
        for authority in Pem::iter_from_buffer(authorities.as_bytes()) {
            let authority = authority.map_err(|error| {
                Failure::lasting(format!("the authority's file is no PEM: {error}"))
            })?;
            let (_, authority) =
                X509Certificate::from_der(&authority.contents).map_err(|error| {
                    Failure::lasting(format!(
                        "the authority's certificate is not readable: {error}"
                    ))
                })?;
            let key = &authority.public_key().subject_public_key.data;
            let signed = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
                .verify(read.tbs_certificate.as_ref(), &read.signature_value.data);
            if signed.is_ok() && authority.subject() == read.issuer() {
                return Ok(());
            }
        }
        Err(Failure::lasting(format!(
            "the certificate ({}) is not signed by the authority that this host was installed with",
            self.describe()
        )))
    }
}

fn first(pem: &str) -> Result<Vec<u8>, Failure> {
    match Pem::iter_from_buffer(pem.as_bytes()).next() {
        Some(Ok(block)) if block.label == "CERTIFICATE" => Ok(block.contents),
        _ => Err(Failure::lasting(
            "what should be a certificate is no PEM with BEGIN CERTIFICATE",
        )),
    }
}
