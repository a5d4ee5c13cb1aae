use flaredb::Record;
use photon_resource::{Impersonator, OrgId, PrincipalId, ProjectId};
use serde::{Deserialize, Serialize};

use crate::{Digest, Head};

/// Name of the chain of what belongs to no organization.
pub const SYSTEM_CHAIN: &str = "system";

/// How the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The change was made.
    Success,
    /// Authentication, the tenancy wall or the policy refused it.
    Denied,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Denied => "denied",
        }
    }
}

/// What a server knows of a call, to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Organization whose chain it belongs to; `None`: the system's.
    pub org_id: Option<OrgId>,
    /// Project, where the resource is in one.
    pub project_id: Option<ProjectId>,
    /// Who; `None`: the caller was not authenticated.
    pub principal_id: Option<PrincipalId>,
    /// The name of who; for a failed sign-in the name that was tried.
    pub principal_name: String,
    /// Who acted as that principal; `None`: itself.
    pub impersonator: Option<Impersonator>,
    /// From where: address of the caller.
    pub source: String,
    /// What: `service:type:verb`.
    pub action: String,
    /// On which resource: its full name.
    pub resource: String,
    /// How it ended.
    pub outcome: Outcome,
    /// For a refusal: why.
    pub reason: String,
    /// Follows the call through the services.
    pub request_id: String,
    /// Of the stored record before; `None` where there was none.
    pub before_digest: Option<Digest>,
    /// Of the stored record after; `None` where there is none.
    pub after_digest: Option<Digest>,
}

/// An event of a chain, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
// A field that the hash does not cover must not pass as part of an event.
#[serde(deny_unknown_fields)]
pub struct Event {
    /// 1 for the chain's first event, then without gaps.
    pub sequence: u64,
    /// Microseconds since 1970-01-01 UTC by the server's clock, which may have been set back between events.
    pub time_us: u64,
    /// Name of the chain: the organization, or [`SYSTEM_CHAIN`].
    pub org_id: String,
    /// Empty: none.
    pub project_id: String,
    /// Empty: not authenticated.
    pub principal_id: String,
    /// See [`NewEvent::principal_name`].
    pub principal_name: String,
    /// Id of who acted as that principal. Empty: itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub impersonator_id: String,
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub impersonator_name: String,
    /// See [`NewEvent::source`].
    pub source: String,
    /// See [`NewEvent::action`].
    pub action: String,
    /// See [`NewEvent::resource`].
    pub resource: String,
    /// See [`NewEvent::outcome`].
    pub outcome: Outcome,
    /// See [`NewEvent::reason`].
    pub reason: String,
    /// See [`NewEvent::request_id`].
    pub request_id: String,
    /// See [`NewEvent::before_digest`].
    pub before_digest: Option<Digest>,
    /// See [`NewEvent::after_digest`].
    pub after_digest: Option<Digest>,
    /// The server that appended it.
    pub service: String,
    /// Hash of the event before; [`Digest::ZERO`] for the first.
    pub previous_hash: Digest,
    /// [`Event::compute_hash`] of the above.
    pub hash: Digest,
}

impl Record for Event {
    const KIND: &'static str = "event";
    const VERSION: u32 = 1;
}

impl Event {
    /// The event that continues the chain after `head`.
    pub(crate) fn continuing(head: &Head, new: &NewEvent, service: &str, time_us: u64) -> Self {
        let mut event = Event {
            sequence: head.sequence + 1,
            time_us,
            org_id: chain_name(new.org_id.as_ref()).to_owned(),
            project_id: text(new.project_id.as_ref()),
            principal_id: text(new.principal_id.as_ref()),
            principal_name: new.principal_name.clone(),
            impersonator_id: text(new.impersonator.as_ref().map(|it| &it.id)),
            impersonator_name: text(new.impersonator.as_ref().map(|it| &it.name)),
            source: new.source.clone(),
            action: new.action.clone(),
            resource: new.resource.clone(),
            outcome: new.outcome,
            reason: new.reason.clone(),
            request_id: new.request_id.clone(),
            before_digest: new.before_digest,
            after_digest: new.after_digest,
            service: service.to_owned(),
            previous_hash: head.hash,
            hash: Digest::ZERO,
        };
        event.hash = event.compute_hash();
        event
    }

    /// SHA-256 over the event's canonical form, which is all fields but `hash`.
    ///
    /// The canonical form is the ASCII text `photoncloud chainfire event 1` followed by the fields in the order
    /// of this struct but for the impersonator's, each as its length in bytes (64 bits, big endian) and its bytes: numbers as 64 bits
    /// big endian, texts as UTF-8, the outcome as `success` or `denied`, a digest as its 32 bytes and a missing
    /// one as no bytes. As the lengths tell where each field ends, two different events never have the same
    /// form. An event with an impersonator begins with `photoncloud chainfire event 2` and ends with the impersonator's
    /// fields. A later version of the struct keeps these forms for the events that were made with them, under their
    /// numbers.
    pub fn compute_hash(&self) -> Digest {
        let mut form = Vec::with_capacity(1024);
        let impersonated = !self.impersonator_id.is_empty() || !self.impersonator_name.is_empty();
        form.extend_from_slice(match impersonated {
            false => b"photoncloud chainfire event 1",
            true => b"photoncloud chainfire event 2",
        });
        let mut field = |bytes: &[u8]| {
            form.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            form.extend_from_slice(bytes);
        };
        let digest = |digest: &Option<Digest>| match digest {
            Some(digest) => digest.as_bytes().to_vec(),
            None => Vec::new(),
        };
        field(&self.sequence.to_be_bytes());
        field(&self.time_us.to_be_bytes());
        field(self.org_id.as_bytes());
        field(self.project_id.as_bytes());
        field(self.principal_id.as_bytes());
        field(self.principal_name.as_bytes());
        field(self.source.as_bytes());
        field(self.action.as_bytes());
        field(self.resource.as_bytes());
        field(self.outcome.name().as_bytes());
        field(self.reason.as_bytes());
        field(self.request_id.as_bytes());
        field(&digest(&self.before_digest));
        field(&digest(&self.after_digest));
        field(self.service.as_bytes());
        field(self.previous_hash.as_bytes());
        if impersonated {
            field(self.impersonator_id.as_bytes());
            field(self.impersonator_name.as_bytes());
        }
        Digest::of(&form)
    }

    /// Where the chain is after this event.
    pub fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            hash: self.hash,
        }
    }
}

/// The name of an organization's chain, or the system's.
pub(crate) fn chain_name(org: Option<&OrgId>) -> &str {
    org.map_or(SYSTEM_CHAIN, OrgId::as_str)
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            sequence: 3,
            time_us: 1_800_000_000_123_456,
            org_id: "acme".into(),
            project_id: "web".into(),
            principal_id: "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".into(),
            principal_name: "älice".into(),
            impersonator_id: String::new(),
            impersonator_name: String::new(),
            source: "192.0.2.7".into(),
            action: "network:ports:create".into(),
            resource: "org/acme/project/web/ports/1".into(),
            outcome: Outcome::Success,
            reason: String::new(),
            request_id: "req-1".into(),
            before_digest: None,
            after_digest: Some(Digest::of(b"after")),
            service: "prismnet".into(),
            previous_hash: Digest::of(b"previous"),
            hash: Digest::ZERO,
        }
    }

    /// The expected hash was made from the documented form by another program.
    #[test]
    fn the_canonical_form_is_the_documented_one() {
        let expected = "2d72df5ad469ba9027f92c62c770bd6fd070d511ca1426da9f4d7046f42a4823";
        assert_eq!(event().compute_hash().to_string(), expected);
    }

    #[test]
    fn text_cannot_move_between_fields() {
        let mut one = event();
        one.reason = "ab".into();
        one.request_id = "c".into();
        let mut other = event();
        other.reason = "a".into();
        other.request_id = "bc".into();
        assert_ne!(one.compute_hash(), other.compute_hash());
        one = event();
        one.before_digest = one.after_digest.take();
        assert_ne!(one.compute_hash(), event().compute_hash());
    }
}
