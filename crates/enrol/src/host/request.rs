//! Keys and certificate requests (PKCS#10, RFC 2986).

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};

use super::Failure;

/// A new private key, PEM (PKCS#8): ECDSA on P-256.
///
/// # Errors
/// Passing: the system has no randomness to give.
pub(super) fn new_key() -> Result<String, Failure> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .map_err(|error| Failure::passing(format!("cannot make a key: {error}")))?;
    Ok(key.serialize_pem())
}

/// A request for a certificate for this key, signed by it.
///
/// # Errors
/// Lasting: the key is not one of ours.
pub(super) fn certificate_request(key: &str, host_name: &str) -> Result<String, Failure> {
    let failed = |error: rcgen::Error| {
        Failure::lasting(format!("cannot make a certificate request: {error}"))
    };
    let key = parse(key)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, host_name);
    parameters
        .serialize_request(&key)
        .map_err(failed)?
        .pem()
        .map_err(failed)
}

/// The key's public half, as a SubjectPublicKeyInfo.
///
/// # Errors
/// Lasting: the key is not one of ours.
pub(super) fn public_key(key: &str) -> Result<Vec<u8>, Failure> {
    Ok(parse(key)?.subject_public_key_info())
}

fn parse(key: &str) -> Result<KeyPair, Failure> {
    // The reason, not the key.
    KeyPair::from_pem(key)
        .map_err(|error| Failure::lasting(format!("this host's key is not readable: {error}")))
}
