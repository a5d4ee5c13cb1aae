//! The section `[flashdns-agent]`: what one VPC and one guest may take of this host's answers.

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
}

impl Default for Section {
    fn default() -> Self {
        Self {
            // What Amazon's resolver answers an interface, about.
            queries_per_second: 1000,
        }
    }
}

impl Section {
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
        };
        assert!(none.validate().is_ok() && none.rate().is_none());
        let more = Section {
            queries_per_second: FASTEST + 1,
        };
        let error = more.validate().unwrap_err();
        assert_eq!(error.key, "flashdns-agent.queries_per_second");
    }
}
