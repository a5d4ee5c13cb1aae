//! The cluster's certificate authority.

mod request;

pub use request::{Refused, Request};

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use photon_host::durable;
use photon_resource::Error;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

use crate::Settings;
use crate::model::HostIdentity;

/// File names in the authority's directory.
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca-key.pem";

/// How long the authority's own certificate is good.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// How far the clock of a host may be behind.
const CLOCK: Duration = Duration::from_secs(5 * 60);

/// Issues the hosts' certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    place: PathBuf,
    begins: SystemTime,
    ends: SystemTime,
    cluster: String,
    domain: String,
    life: Duration,
}

/// A certificate that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub pem: String,
    /// Serial number, in hex.
    pub serial: String,
    /// Two thirds of its life.
    pub renew_at: SystemTime,
    pub expires_at: SystemTime,
}

/// Makes the authority in `dir`, unless it is there. `true`: it was made.
///
/// Errors: of files; a certificate without its key, which nobody can make again.
pub fn make(dir: &Path, cluster: &str, now: SystemTime) -> anyhow::Result<bool> {
    let (certificate_path, key_path) = (dir.join(CERTIFICATE), dir.join(KEY));
    match (certificate_path.exists(), key_path.exists()) {
        (true, true) => return Ok(false),
        (true, false) => bail!(
            "{} is there, but not its key, {}: restore it from a backup, or remove the certificate to begin a new \
             authority (every host must then enrol again)",
            certificate_path.display(),
            key_path.display()
        ),
        (false, true) => {}
        (false, false) => {
            let key = KeyPair::generate().context("a key for the authority")?;
            durable::write(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        }
    }
    // Also after a crash that left the key alone.
    let key = read_key(&key_path)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(&format!("PhotonCloud {cluster}"));
    params.serial_number = Some(serial_number()?);
    params.not_before = (now - CLOCK).into();
    params.not_after = (now + LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params
        .self_signed(&key)
        .context("the authority's certificate")?;
    durable::write(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
    Ok(true)
}

impl Authority {
    /// The authority in the directory of the settings.
    ///
    /// Errors: there is none (`photon-provisioner bootstrap` makes it), or it can't be used.
    pub fn load(settings: &Settings) -> anyhow::Result<Self> {
        let path = settings.ca_dir.join(CERTIFICATE);
        let ca_pem = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "the certificate authority {} (`photon-provisioner bootstrap` makes it)",
                path.display()
            )
        })?;
        let key = read_key(&settings.ca_dir.join(KEY))?;
        let der = der(&ca_pem).with_context(|| path.display().to_string())?;
        let (_, certificate) = X509Certificate::from_der(&der)
            .with_context(|| format!("{} is no certificate", path.display()))?;
        if certificate.public_key().subject_public_key.data != key.public_key_raw() {
            bail!(
                "{} is not the certificate of the key beside it",
                path.display()
            );
        }
        let begins = time_of(certificate.validity().not_before.timestamp());
        let ends = time_of(certificate.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&der.into(), key)
            .with_context(|| format!("{} is no authority's certificate", path.display()))?;
        Ok(Self {
            issuer,
            ca_pem,
            place: path,
            begins,
            ends,
            cluster: settings.cluster.clone(),
            domain: settings.domain.clone(),
            life: Duration::from_secs(u64::from(settings.certificate_days) * 24 * 3600),
        })
    }

    /// Its certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Whether nothing speaks against its certificates now.
    ///
    /// Errors: `FailedPrecondition`, with what to do: its time has not come yet, or is over.
    pub fn holds_at(&self, now: SystemTime) -> Result<(), Error> {
        if now < self.begins {
            return Err(Error::FailedPrecondition(format!(
                "the cluster's certificate authority, {}, holds only from {} on, and this host's clock says {}: if the \
                 clock is behind, set it; if it was ahead when the authority was made, remove that file and run \
                 `systemctl restart photon-pki.service`, which makes it anew with the same key",
                self.place.display(),
                text_of(self.begins),
                text_of(now)
            )));
        }
        if self.ends <= now {
            return Err(Error::FailedPrecondition(
                "the cluster's certificate authority has ended: begin a new one".into(),
            ));
        }
        Ok(())
    }

    /// A certificate for the key of `host`, with the names that this decides: `HOST`, `HOST.DOMAIN`, its address,
    /// and `photon://CLUSTER/node/HOST`; for TLS servers and clients.
    pub fn issue(
        &self,
        host: &str,
        address: Option<IpAddr>,
        key: &impl PublicKeyData,
        now: SystemTime,
    ) -> Result<Issued, Error> {
        self.holds_at(now)?;
        let expires_at = (now + self.life).min(self.ends);
        let serial = serial_number().map_err(Error::internal)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(host);
        params.serial_number = Some(serial.clone());
        params.not_before = (now - CLOCK).into();
        params.not_after = expires_at.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let uri = format!("photon://{}/node/{host}", self.cluster);
        let text = |text: String| text.try_into().map_err(Error::internal);
        params.subject_alt_names = vec![
            SanType::DnsName(text(host.to_owned())?),
            SanType::DnsName(text(format!("{host}.{}", self.domain))?),
            SanType::URI(text(uri)?),
        ];
        params
            .subject_alt_names
            .extend(address.map(SanType::IpAddress));
        let certificate = params
            .signed_by(key, &self.issuer)
            .map_err(Error::internal)?;
        Ok(Issued {
            pem: certificate.pem(),
            serial: hex::encode(serial.to_bytes()),
            renew_at: now + expires_at.duration_since(now).unwrap_or_default() * 2 / 3,
            expires_at,
        })
    }

    /// Whose certificate this is (DER; its chain was verified by the TLS listener).
    ///
    /// Errors: why it is no host's of this cluster.
    pub fn host_of(&self, der: &[u8], now: SystemTime) -> Result<HostIdentity, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "it can't be read".to_owned())?;
        // A connection can last longer than the certificate that it was made with.
        if now >= time_of(certificate.validity().not_after.timestamp()) {
            return Err("it has expired".to_owned());
        }
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|extension| extension.value.general_names.clone())
            .unwrap_or_default();
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else {
            return Err("it names no host, or several".to_owned());
        };
        let name = uri
            .strip_prefix(&format!("photon://{}/node/", self.cluster))
            .ok_or_else(|| format!("it is for {uri}, no host of this cluster"))?;
        Ok(HostIdentity {
            name: name.to_owned(),
            serial: hex::encode(strip_zero(certificate.raw_serial())),
        })
    }
}

/// What is known of a certificate file.
pub struct Inspected {
    /// The public key, as it is in the certificate.
    pub public_key: Vec<u8>,
    pub not_before: SystemTime,
    pub expires_at: SystemTime,
    /// DNS names, URIs and addresses that it is for.
    pub names: Vec<String>,
}

/// Reads a certificate.
pub fn inspect(pem: &str) -> anyhow::Result<Inspected> {
    let der = der(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).context("not a certificate")?;
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| extension.value.general_names.clone())
        .unwrap_or_default();
    let validity = certificate.validity();
    Ok(Inspected {
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        not_before: time_of(validity.not_before.timestamp()),
        expires_at: time_of(validity.not_after.timestamp()),
        names: names
            .iter()
            .map(|name| match name {
                GeneralName::DNSName(name) => (*name).to_owned(),
                GeneralName::URI(uri) => (*uri).to_owned(),
                GeneralName::IPAddress(octets) => address(octets),
                other => other.to_string(),
            })
            .collect(),
    })
}

fn address(octets: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return IpAddr::from(octets).to_string();
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(octets) => IpAddr::from(octets).to_string(),
        Err(_) => hex::encode(octets),
    }
}

/// The first section of a PEM file.
fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
    let (_, section) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).context("not a PEM file")?;
    Ok(section.contents)
}

fn read_key(path: &Path) -> anyhow::Result<KeyPair> {
    let pem =
        std::fs::read_to_string(path).with_context(|| format!("the key {}", path.display()))?;
    KeyPair::from_pem(&pem).with_context(|| format!("{} is no private key", path.display()))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// 127 random bits: positive, and never guessed (CA/Browser Forum baseline requirements 7.1 asks for 64).
fn serial_number() -> anyhow::Result<SerialNumber> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the kernel gives no random numbers"))?;
    // Neither negative nor with a leading zero, so that the DER has the very same bytes.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn strip_zero(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

/// For people.
fn text_of(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    match ASN1Time::from_timestamp(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("second {seconds} since 1970"),
    }
}

fn time_of(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
