//! How the guest of a VM is told what it is (169.254.169.254).

use photon_resource::Error;

/// How its guest is told what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataOptions {
    pub enabled: bool,
    /// Whether it must show a token.
    pub tokens_required: bool,
    /// How many hops a token goes: 1 to 64.
    pub hop_limit: u32,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            tokens_required: true,
            hop_limit: 1,
        }
    }
}

/// What is said of them; `None`: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetadataChanges {
    pub enabled: Option<bool>,
    pub tokens_required: Option<bool>,
    pub hop_limit: Option<u32>,
}

impl MetadataOptions {
    /// Errors: `InvalidArgument`, of a field of `within`.
    pub fn check(&self, within: &str) -> Result<(), Error> {
        check_hop_limit(within, self.hop_limit)
    }

    /// These, but for what is said.
    pub fn with(self, changes: MetadataChanges) -> Self {
        Self {
            enabled: changes.enabled.unwrap_or(self.enabled),
            tokens_required: changes.tokens_required.unwrap_or(self.tokens_required),
            hop_limit: changes.hop_limit.unwrap_or(self.hop_limit),
        }
    }
}

impl MetadataChanges {
    /// Errors: `InvalidArgument`, of a field of `within`.
    pub fn check(&self, within: &str) -> Result<(), Error> {
        self.hop_limit
            .map_or(Ok(()), |hops| check_hop_limit(within, hops))
    }
}

/// As far as Amazon has it.
fn check_hop_limit(within: &str, hops: u32) -> Result<(), Error> {
    if (1..=64).contains(&hops) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("{within}.hop_limit"),
        hops,
        "1 to 64",
    ))
}
