//! The section `[flashdns-agent]`: what one VPC and one guest may take of this host's answers.

use std::net::SocketAddr;

use hickory_proto::rr::Name;
use photon_names::readable;
use photon_program::{ComponentSettings, Invalid};
use serde::Deserialize;

use crate::pace::Rate;
use crate::program::COMPONENT;

/// More than one thread answers.
const FASTEST: u32 = 1_000_000;

/// Of limits, 0 is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// How many questions of one address of a VPC are answered per second; twice as many at once after a rest.
    queries_per_second: u32,
    /// A resolver on this host that foreign names are asked of, `127.0.0.1:5335`. Absent: they are refused.
    upstream: Option<SocketAddr>,
    /// Domains that it is never asked for: the operator's own.
    denied_suffixes: Vec<String>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            // What Amazon's resolver answers an interface, about.
            queries_per_second: 1000,
            upstream: None,
            denied_suffixes: Vec::new(),
        }
    }
}

impl Section {
    /// Who is asked for foreign names.
    pub fn upstream(&self) -> Option<SocketAddr> {
        self.upstream
    }

    /// What nobody is asked for.
    pub fn denied(&self) -> Vec<Name> {
        let denied = self.denied_suffixes.iter();
        denied.filter_map(|text| readable(text)).collect()
    }

    /// What one address may ask; `None`: as much as it likes.
    pub fn rate(&self) -> Option<Rate> {
        let per_second = self.queries_per_second;
        (per_second > 0).then_some(Rate {
            per_second,
            burst: per_second.saturating_mul(2),
        })
    }
}

impl ComponentSettings for Section {
    fn validate(&self) -> Result<(), Invalid> {
        if self.queries_per_second > FASTEST {
            let key = format!("{}.queries_per_second", COMPONENT.name);
            let expected = format!("0 to {FASTEST}");
            return Err(Invalid::new(key, self.queries_per_second, expected));
        }
        // What came from it would be believed, and what is elsewhere may be somebody else.
        if let Some(upstream) = self.upstream.filter(|at| !at.ip().is_loopback()) {
            let key = format!("{}.upstream", COMPONENT.name);
            let expected = "an address of this host's loopback, such as 127.0.0.1:5335";
            return Err(Invalid::new(key, upstream, expected));
        }
        let wrong = self
            .denied_suffixes
            .iter()
            .find(|text| readable(text).is_none());
        if let Some(text) = wrong {
            let key = format!("{}.denied_suffixes", COMPONENT.name);
            return Err(Invalid::new(key, text, "domains such as rack.example"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rate_is_more_than_can_be_answered() {
        assert_eq!(Section::default().rate().unwrap().burst, 2000);
        let none = Section {
            queries_per_second: 0,
            ..Section::default()
        };
        assert!(none.validate().is_ok() && none.rate().is_none());
        let more = Section {
            queries_per_second: FASTEST + 1,
            ..Section::default()
        };
        let error = more.validate().unwrap_err();
        assert_eq!(error.key, "flashdns-agent.queries_per_second");
        let elsewhere = Section {
            upstream: Some("192.0.2.1:53".parse().unwrap()),
            ..Section::default()
        };
        let error = elsewhere.validate().unwrap_err();
        assert_eq!(error.key, "flashdns-agent.upstream");
        let none = Section {
            denied_suffixes: vec!["rack.example".into(), "a..b".into()],
            ..Section::default()
        };
        let error = none.validate().unwrap_err();
        assert_eq!(error.key, "flashdns-agent.denied_suffixes");
    }
}
