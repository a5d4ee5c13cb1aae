//! Enrolment, renewal, readiness: what hosts call, known by a join token or by their certificate.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chainfire::{Ledger, Outcome};
use flaredb::{Db, Transaction};
use photon_catalog::{Actor, Effect, commit_own, work};
use photon_reconcile::Signal;
use photon_resource::{Error, ResourceName, Scope, is_hidden};
use photon_service::Limiter;
use sha2::{Digest, Sha256};

use super::Identities;
use super::change::{now, put};
use crate::Settings;
use crate::authority::{Authority, Issued, Request};
use crate::model::{
    Certificate, Event, HostIdentity, MACHINES, Machine, MachineId, MachineIdentity,
};
use crate::store::{self, Used};

const ENROL: &str = "provision:enrolment:enrol";
const RENEW: &str = "provision:enrolment:renew";
const READY: &str = "provision:enrolment:ready";

/// How many events of refusals one address can cause in a row, and after how long one more.
const REFUSALS: u32 = 10;
const REFUSAL_REFILL: Duration = Duration::from_secs(10);

/// The certificate that a caller showed in its TLS connection, verified by the listener; DER. `None`: none.
#[derive(Clone, Debug)]
pub struct Peer(pub Option<Vec<u8>>);

/// A host's wish to join.
pub struct Joining {
    /// The join token.
    pub token: String,
    pub certificate_request_pem: String,
    /// The machine that it runs on, as it tells.
    pub serial: String,
    pub uuid: String,
    pub macs: Vec<String>,
}

/// A host's certificate, and of which authority.
pub struct Granted {
    pub certificate_pem: String,
    pub ca_pem: String,
    pub renew_at: SystemTime,
    pub expires_at: SystemTime,
}

/// The rules of enrolment. Clones are the same.
#[derive(Clone)]
pub struct Enrolment {
    db: Db,
    ledger: Ledger,
    settings: Arc<Settings>,
    authority: Arc<Authority>,
    identities: Identities,
    refusals: Arc<Limiter<String>>,
    wake: Signal,
    /// This host's address, for its own renewals.
    own_address: Option<std::net::IpAddr>,
}

impl Enrolment {
    /// `wake` asks the keeper of identities for a look.
    pub fn new(
        db: Db,
        ledger: Ledger,
        settings: Arc<Settings>,
        authority: Authority,
        identities: Identities,
        wake: Signal,
        own_address: Option<std::net::IpAddr>,
    ) -> Self {
        Self {
            db,
            ledger,
            settings,
            authority: Arc::new(authority),
            identities,
            refusals: Arc::new(Limiter::new(REFUSALS, REFUSAL_REFILL)),
            wake,
            own_address,
        }
    }

    /// Exchanges a join token for a certificate. The machine has joined (or was a host already), and the token is used,
    /// in the very transaction that stores the certificate.
    ///
    /// Errors: `Unauthenticated` and `FailedPrecondition`, each recorded; `InvalidArgument`; `Unavailable` when IAM
    /// could not be told, after which the same request gets the same certificate.
    pub async fn enrol(&self, actor: &Actor, joining: &Joining) -> Result<Granted, Error> {
        let enrolled = self.try_enrol(actor, joining).await;
        let (name, used) = match enrolled {
            Ok(enrolled) => enrolled,
            Err(error) => return Err(self.refused(actor, ENROL, error).await),
        };
        self.identities.ensure(&name).await.map_err(|error| {
            // From here on it is tried whether the host comes again or not.
            self.wake.notify();
            Error::Unavailable(format!(
                "the certificate of '{name}' is made, but the identities of its agents are not ({error}): send the \
                 same request again"
            ))
        })?;
        Ok(Granted {
            certificate_pem: used.certificate_pem,
            ca_pem: self.authority.ca_pem().to_owned(),
            renew_at: used.renew_at,
            expires_at: used.expires_at,
        })
    }

    async fn try_enrol(&self, actor: &Actor, joining: &Joining) -> Result<(String, Used), Error> {
        if joining.token.trim().is_empty() {
            return Err(Error::Unauthenticated(
                "the request has no join token".into(),
            ));
        }
        let request = Request::parse(&joining.certificate_request_pem)?;
        let identity = MachineIdentity::read(&joining.serial, &joining.uuid, &joining.macs)?;
        let digest = hex::encode(Sha256::digest(joining.token.trim().as_bytes()));
        let host = actor.named(format!("host {}", request.name));
        let state = (self, &digest, &request, &identity);
        let mut change = work(state, |(rules, digest, request, identity), tx| {
            Box::pin(rules.judge(tx, digest, request, identity))
        });
        let enrolled = commit_own(&self.db, &self.ledger, &host, ENROL, &mut change).await?;
        if let Some(machine) = enrolled.new {
            tracing::info!(machine = %machine, name = request.name, "the host has enrolled");
        }
        Ok((request.name, enrolled.used))
    }

    /// Whether the token admits this request, and what that changes; it is put into `tx`.
    async fn judge(
        &self,
        tx: &mut Transaction,
        digest: &str,
        request: &Request,
        identity: &MachineIdentity,
    ) -> Result<Effect<Enrolled>, Error> {
        let refuse = |why: String| Err(Error::Unauthenticated(why));
        let Some(mut token) = store::token_read(tx, digest).await? else {
            return refuse(
                "the join token is not known: it is none, or of an installation that was given up"
                    .into(),
            );
        };
        let Some(before) = store::machine_read(tx, token.machine).await? else {
            return refuse("the machine of the join token is not known any more".into());
        };
        let called = before.called();
        if let Some(why) = before.contradiction(identity) {
            return refuse(format!(
                "the join token is of machine '{called}', and {why}"
            ));
        }
        if before.name.as_ref() != Some(&request.name) {
            return refuse(format!(
                "the join token is for the host '{called}', the certificate request for '{}'",
                request.name
            ));
        }
        if let Some(used) = token.used {
            if used.key != request.key_digest {
                return refuse(format!(
                    "the join token of '{called}' was used already, for another key: if that was not this host, \
                     reinstall the machine"
                ));
            }
            if !before.state.is_member() {
                return refuse(format!("machine '{called}' is {}", before.state));
            }
            if used.expires_at <= now() {
                return refuse(format!(
                    "the join token of '{called}' was used already, and the certificate that it gave has ended: \
                     `photon machine token {called}` gives another token"
                ));
            }
            return Ok(Effect::nothing(Enrolled { new: None, used }));
        }
        let now = now();
        if token.expires_at <= now {
            let remedy = match before.state.is_member() {
                true => format!("`photon machine token {called}` gives another"),
                false => "reinstall the machine".to_owned(),
            };
            return refuse(format!(
                "the join token of '{called}' has expired: {remedy}"
            ));
        }
        let mut after = before.clone();
        if before.state.is_member() {
            // Its installation's token is used, so an operator gave it this one. It is a host as before: nothing here
            // leads to the installer. Whoever has its old key has nothing any more.
            after.apply(Event::EnrolAgain, now)?;
            after.updated_at = now;
            store::certificates_delete(&self.db, tx, before.id).await?;
        } else {
            after.apply(Event::Enrol, now)?;
        }
        let issued = self
            .authority
            .issue(&request.name, before.address, &request.key, now)?;
        after.certificate = Some(certificate(&issued));
        let used = Used {
            key: request.key_digest.clone(),
            certificate_pem: issued.pem.clone(),
            renew_at: issued.renew_at,
            expires_at: issued.expires_at,
        };
        token.used = Some(used.clone());
        store::token_put(tx, digest, &token)?;
        store::certificate_put(&self.db, tx, before.id, &certificate(&issued), now).await?;
        store::identity_put(tx, &request.name)?;
        let effect = put(tx, Some(&before), after).await?;
        Ok(effect.map(|machine| Enrolled {
            new: Some(machine.id),
            used,
        }))
    }

    /// A new certificate for a host that shows one that counts.
    pub async fn renew(
        &self,
        actor: &Actor,
        peer: &Peer,
        certificate_request_pem: &str,
    ) -> Result<Granted, Error> {
        match self.try_renew(actor, peer, certificate_request_pem).await {
            Ok(issued) => Ok(Granted {
                certificate_pem: issued.pem,
                ca_pem: self.authority.ca_pem().to_owned(),
                renew_at: issued.renew_at,
                expires_at: issued.expires_at,
            }),
            Err(error) => Err(self.refused(actor, RENEW, error).await),
        }
    }

    async fn try_renew(
        &self,
        actor: &Actor,
        peer: &Peer,
        certificate_request_pem: &str,
    ) -> Result<Issued, Error> {
        let host = self.host_of(peer)?;
        let request = Request::parse(certificate_request_pem)?;
        if request.name != host.name {
            return Err(Error::Unauthenticated(format!(
                "the certificate shown is of '{}', the certificate request for '{}'",
                host.name, request.name
            )));
        }
        let actor = actor.named(format!("host {}", host.name));
        if host.name == self.settings.node_name() {
            // The host of the provisioner itself, which bootstrap gave its certificate: it is no machine here.
            let issued = self
                .authority
                .issue(&host.name, self.own_address, &request.key, now())?;
            let resource = ResourceName::new(Scope::System, "nodes", &host.name);
            let event = actor.event(RENEW, &resource, Outcome::Success, String::new());
            self.ledger.record(event).await?;
            return Ok(issued);
        }
        let state = (self, &host, &request);
        let mut change = work(state, |(rules, host, request), tx| {
            Box::pin(async move {
                let before = rules.member(tx, host).await?;
                let now = now();
                let issued =
                    rules
                        .authority
                        .issue(&host.name, before.address, &request.key, now)?;
                let mut after = before.clone();
                after.certificate = Some(certificate(&issued));
                after.updated_at = now;
                let new = certificate(&issued);
                store::certificate_put(&rules.db, tx, before.id, &new, now).await?;
                Ok(put(tx, Some(&before), after).await?.map(|_| issued))
            })
        });
        let issued = commit_own(&self.db, &self.ledger, &actor, RENEW, &mut change).await?;
        tracing::info!(name = host.name, "the certificate was renewed");
        Ok(issued)
    }

    /// The host says that what its flake gives it runs, of this version.
    pub async fn ready(&self, actor: &Actor, peer: &Peer, version: &str) -> Result<(), Error> {
        match self.try_ready(actor, peer, version).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.refused(actor, READY, error).await),
        }
    }

    async fn try_ready(&self, actor: &Actor, peer: &Peer, version: &str) -> Result<(), Error> {
        let host = self.host_of(peer)?;
        if version.chars().count() > 128 || version.chars().any(is_hidden) {
            let expected = "at most 128 characters without control characters";
            return Err(Error::invalid("version", version, expected));
        }
        if host.name == self.settings.node_name() {
            return Ok(());
        }
        let actor = actor.named(format!("host {}", host.name));
        let state = (self, &host, version);
        let mut change = work(state, |(rules, host, version), tx| {
            Box::pin(async move {
                let before = rules.member(tx, host).await?;
                let now = now();
                let mut after = before.clone();
                after.apply(Event::Ready, now)?;
                after.version = version.to_string();
                if after == before {
                    return Ok(Effect::nothing(false));
                }
                after.updated_at = now;
                Ok(put(tx, Some(&before), after).await?.map(|_| true))
            })
        });
        if commit_own(&self.db, &self.ledger, &actor, READY, &mut change).await? {
            tracing::info!(name = host.name, version, "the host is ready");
        }
        Ok(())
    }

    fn host_of(&self, peer: &Peer) -> Result<HostIdentity, Error> {
        let Some(der) = &peer.0 else {
            return Err(Error::Unauthenticated(
                "the connection has no client certificate: show the host's own".into(),
            ));
        };
        self.authority
            .host_of(der, now())
            .map_err(|why| Error::Unauthenticated(format!("the client certificate: {why}")))
    }

    /// The machine of a host whose certificate counts.
    async fn member(&self, tx: &mut Transaction, host: &HostIdentity) -> Result<Machine, Error> {
        let refuse = || {
            Error::Unauthenticated(format!(
                "the certificate of '{}' does not count any more: the machine was retired or reinstalled, or has \
                 enrolled again",
                host.name
            ))
        };
        let id = store::machine_by_name_read(tx, &host.name).await?;
        let machine = match id {
            Some(id) => store::machine_read(tx, id).await?,
            None => None,
        };
        let machine = machine
            .filter(|it| it.state.is_member())
            .ok_or_else(refuse)?;
        if !store::certificate_counts(tx, machine.id, &host.serial).await? {
            return Err(refuse());
        }
        Ok(machine)
    }

    /// Records a refusal, but not so many of one address that they fill the disk.
    async fn refused(&self, actor: &Actor, action: &str, error: Error) -> Error {
        if !matches!(
            error,
            Error::Unauthenticated(_) | Error::FailedPrecondition(_)
        ) {
            return error;
        }
        tracing::info!(source = actor.source, action, %error, "refused");
        if self
            .refusals
            .admit(actor.source.clone(), Instant::now())
            .is_some()
        {
            let resource = MACHINES.any(Scope::System);
            let event = actor.event(action, &resource, Outcome::Denied, error.to_string());
            if let Err(error) = self.ledger.record(event).await {
                tracing::error!(%error, action, "a refusal could not be recorded");
            }
        }
        error
    }
}

/// What a host has got for its join token.
struct Enrolled {
    /// The machine that has joined; `None`: the same request as before.
    new: Option<MachineId>,
    used: Used,
}

fn certificate(issued: &Issued) -> Certificate {
    Certificate {
        serial: issued.serial.clone(),
        expires_at: issued.expires_at,
    }
}
