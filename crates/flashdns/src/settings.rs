//! What only FlashDNS' server can be told.

use photon_catalog::quota::{Defaults, Quantity};
use photon_program::{ComponentSettings, Invalid};

/// What is counted, and what a project and an organization may have of it.
pub const QUANTITIES: [Quantity; 3] = [
    quantity("zones", 100),
    quantity("record_sets", 10_000),
    // Every host with a port of a zone's VPC keeps its records in memory.
    quantity("record_bytes", 4 << 20),
];

const fn quantity(name: &'static str, per_project: u64) -> Quantity {
    Quantity {
        name,
        per_project: Some(per_project),
        per_organization: 5 * per_project,
    }
}

/// The longest suffix, in bytes: three labels of 63 and their dots go before it, and a name has at most 253 (RFC 1035
/// section 2.3.4, less the root's dot and the first length).
const LONGEST_SUFFIX: usize = 253 - 3 * 64;

/// Section `[flashdns]` of the settings file; an unknown key is refused.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What all automatic names end with, at least two labels. `.internal` is reserved for private use (ICANN, 2024-07-29).
    /// Guests know it: it is set once per cloud.
    pub suffix: String,
    /// What may be of what is counted.
    pub quota: Defaults,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            suffix: "cloud.internal".to_owned(),
            quota: Defaults::default(),
        }
    }
}

impl ComponentSettings for Settings {
    fn validate(&self) -> Result<(), Invalid> {
        self.quota.check("flashdns.quota", &QUANTITIES)?;
        let label = |label: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=63).contains(&label.len())
                && label.chars().all(allowed)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let suffix = &self.suffix;
        let good = suffix.len() <= LONGEST_SUFFIX
            && suffix.contains('.')
            && suffix.split('.').all(label)
            // A last label of digits alone reads as an address (RFC 3696 section 2).
            && !suffix.ends_with(|c: char| c.is_ascii_digit());
        if good {
            return Ok(());
        }
        let expected = format!(
            "at least two labels of a-z, 0-9 and '-', such as cloud.internal, at most {LONGEST_SUFFIX} bytes, without a dot at the end"
        );
        Err(Invalid::new("flashdns.suffix", suffix, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_is_a_domain_of_two_labels() {
        for (suffix, good) in [
            ("cloud.internal", true),
            ("vm.rack-1.example", true),
            ("internal", false),
            ("cloud.internal.", false),
            ("Cloud.internal", false),
            ("-a.internal", false),
            ("a..internal", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            let settings = Settings {
                suffix: suffix.to_owned(),
                ..Settings::default()
            };
            assert_eq!(settings.validate().is_ok(), good, "{suffix}");
        }
        let settings = Settings {
            suffix: format!("{}.{}", "a".repeat(50), "b".repeat(12)),
            ..Settings::default()
        };
        assert_eq!(settings.validate().unwrap_err().key, "flashdns.suffix");
    }
}
