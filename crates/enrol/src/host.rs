//! A host's side of its identity: its key is made here and never leaves, a join token is exchanged for the first
//! certificate, and each certificate for the next.
//!
//! ```text
//! pki/join-token  ──enrol──►  host-key.pem + host.pem  ──renew, at 2/3 of its life──►  a new pair
//!                             (the token is gone)      ──ready──►  the machine is `ready`
//! ```
//! A host whose certificate ended while it was off cannot renew it: an operator puts another token there, and it enrols
//! again. Nothing but a token makes it give up a certificate that holds.
//!
//! Every step can be cut short at any moment and run again: see [`pki`] for how a pair comes into place.

mod certificate;
pub mod pki;
mod remote;
mod request;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::{EnrolRequest, RenewRequest, ReportReadyRequest};

use crate::report::Identity;
use certificate::Certificate;
use pki::{Pair, Pki};
use remote::{Deadline, Remote};
pub use remote::{Failure, Wait};

/// Where a host finds what it needs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory with `ca.pem`, and then `host.pem` and `host-key.pem`.
    pub pki_dir: PathBuf,
    /// URL of the provisioner; default: what [`Options::endpoint_file`] says.
    pub endpoint: Option<String>,
    /// A file with that URL, which the installation left.
    pub endpoint_file: PathBuf,
    /// Where `/sys`, `/proc` and `/etc/hostname` are: `/`, but in tests.
    pub root: PathBuf,
    /// For how long to try.
    pub wait: Wait,
}

/// What a command did, in words for the journal.
pub type Outcome = Result<String, Failure>;

impl Options {
    fn endpoint(&self) -> Result<String, Failure> {
        if let Some(url) = &self.endpoint {
            return Ok(url.clone());
        }
        let path = &self.endpoint_file;
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::lasting(format!(
                "cannot read the provisioner's URL from {}: {error}; give --endpoint https://ADDRESS:50089",
                path.display()
            ))
        })?;
        Ok(text.trim().to_owned())
    }

    /// The name under which the machine was approved: NixOS and the installation put it there.
    fn host_name(&self) -> Result<String, Failure> {
        let path = self.root.join("etc/hostname");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::lasting(format!(
                "cannot read this host's name from {}: {error}",
                path.display()
            ))
        })?;
        let name = text.trim();
        Ok(name.split('.').next().unwrap_or(name).to_owned())
    }
}

/// Gets this host its first certificate, or another one for a new join token; does nothing where there is one that
/// holds, and no token, or only the one that it came with.
///
/// # Errors
/// Lasting: the token is refused, or there is none; the answer is not from this cluster's authority. Passing:
/// the provisioner could not be reached until the deadline. The certificate that there was is left alone.
pub async fn enrol(options: &Options) -> Outcome {
    let pki = Pki::at(&options.pki_dir);
    pki.finish()?;
    let authority = pki.authority()?;
    let mut held = String::new();
    if let Some(pair) = pki.pair()? {
        let certificate = Certificate::parse(&pair.certificate)?;
        if certificate.holds_at(SystemTime::now()) {
            if !pki.has_token() || pki.is_enrolled_as(&pair)? {
                certificate.check(&authority, &request::public_key(&pair.key)?)?;
                pki.forget_token()?;
                return Ok(format!(
                    "this host has its certificate: {}",
                    certificate.describe()
                ));
            }
            held = format!(
                " again, while its certificate holds ({}; without {} it is kept)",
                certificate.describe(),
                pki.dir().join(pki::TOKEN).display()
            );
        } else if !pki.has_token() {
            return Err(ended(&pki, &certificate));
        }
    }
    let token = pki.token()?;
    let identity = Identity::read(&options.root).map_err(|error| {
        Failure::lasting(format!("cannot tell which machine this is: {error:#}"))
    })?;
    // The same key at every try: a token that comes with another key is a replay.
    let key = pki.enrolment_key(request::new_key)?;
    let request = EnrolRequest {
        token,
        certificate_request_pem: request::certificate_request(&key, &options.host_name()?)?,
        identity: Some(identity.into()),
    };
    let remote = Remote::new(&options.endpoint()?, &authority, None)?;
    let answer = Deadline::from_now(options.wait)
        .retry(|| async {
            let request = request.clone();
            EnrolmentServiceClient::new(remote.channel())
                .enrol(request)
                .await
        })
        .await
        .map_err(|failure| failure.context(&format!("enrolling{held}")))?
        .into_inner();
    let certificate = accept(
        &pki,
        &authority,
        &key,
        &answer.certificate_pem,
        &answer.ca_pem,
    )?;
    pki.forget_token()?;
    Ok(format!("enrolled: {}", certificate.describe()))
}

/// Replaces this host's key and certificate when two thirds of the certificate's life are over, or at once by `force`.
///
/// # Errors
/// Lasting: there is no certificate, it has ended, or the provisioner does not count it any more. Passing: the
/// provisioner could not be reached until the deadline; the certificate goes on to hold.
pub async fn renew(options: &Options, force: bool) -> Outcome {
    let pki = Pki::at(&options.pki_dir);
    pki.finish()?;
    let authority = pki.authority()?;
    let (pair, certificate) = current(&pki)?;
    if !force && !certificate.is_due_at(SystemTime::now()) {
        return Ok(format!("not due yet: {}", certificate.describe()));
    }
    let remote = Remote::new(&options.endpoint()?, &authority, Some(&pair))?;
    let key = request::new_key()?;
    let request = RenewRequest {
        certificate_request_pem: request::certificate_request(&key, &options.host_name()?)?,
    };
    let answer = Deadline::from_now(options.wait)
        .retry(|| async {
            let request = request.clone();
            EnrolmentServiceClient::new(remote.channel())
                .renew(request)
                .await
        })
        .await
        .map_err(|failure| failure.context("renewing the certificate"))?
        .into_inner();
    let certificate = accept(
        &pki,
        &authority,
        &key,
        &answer.certificate_pem,
        &answer.ca_pem,
    )?;
    Ok(format!("renewed: {}", certificate.describe()))
}

/// Tells the provisioner that what this host's flake gives it runs.
///
/// # Errors
/// As of [`renew`].
pub async fn ready(options: &Options) -> Outcome {
    let pki = Pki::at(&options.pki_dir);
    pki.finish()?;
    let authority = pki.authority()?;
    let (pair, certificate) = current(&pki)?;
    let remote = Remote::new(&options.endpoint()?, &authority, Some(&pair))?;
    Deadline::from_now(options.wait)
        .retry(|| async {
            let request = ReportReadyRequest {
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            EnrolmentServiceClient::new(remote.channel())
                .report_ready(request)
                .await
        })
        .await
        .map_err(|failure| failure.context("reporting as ready"))?;
    Ok(format!("reported as ready: {}", certificate.describe()))
}

/// This host's pair, whose certificate still holds.
fn current(pki: &Pki) -> Result<(Pair, Certificate), Failure> {
    let pair = pki.pair()?.ok_or_else(|| {
        Failure::lasting(format!(
            "{} has no host.pem with its host-key.pem: run `photon-enrol enrol` first",
            pki.dir().display()
        ))
    })?;
    let certificate = Certificate::parse(&pair.certificate)?;
    if !certificate.holds_at(SystemTime::now()) {
        return Err(ended(pki, &certificate));
    }
    Ok((pair, certificate))
}

/// What is told of a certificate that cannot be renewed any more.
fn ended(pki: &Pki, certificate: &Certificate) -> Failure {
    Failure::lasting(format!(
        "this host's certificate does not hold now ({}): if its clock is right, put what an operator's `photon machine \
         token` prints into {} and run `photon-enrol enrol`",
        certificate.describe(),
        pki.dir().join(pki::TOKEN).display()
    ))
}

/// Puts a new pair into place, after looking whether it is what was asked for.
fn accept(
    pki: &Pki,
    authority: &str,
    key: &str,
    certificate_pem: &str,
    ca_pem: &str,
) -> Result<Certificate, Failure> {
    // An authority that is being replaced comes with its successor: what was pinned vouches for it. One that comes
    // without what was pinned is not ours to follow.
    let trusted = if ca_pem.contains(authority.trim()) {
        ca_pem
    } else {
        authority
    };
    let certificate = Certificate::parse(certificate_pem)?;
    certificate.check(trusted, &request::public_key(key)?)?;
    let pair = Pair {
        certificate: certificate_pem.to_owned(),
        key: key.to_owned(),
    };
    pki.replace(&pair, trusted)?;
    Ok(certificate)
}

/// How long a command tries when it is not told.
pub const PATIENCE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
