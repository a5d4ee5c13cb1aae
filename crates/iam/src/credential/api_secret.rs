//! The secret of an API key: `photon_<uuid of the key>_<43 characters, 256 bits of entropy>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use photon_resource::{ApiKeyId, Error};
use sha2::{Digest, Sha256};

use crate::token::random_bytes;

const PREFIX: &str = "photon_";
const SECRET_BYTES: usize = 32;

/// An API key's secret. It is never stored: its SHA-256 is, which is enough for 256 bits of entropy.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret {
    key_id: ApiKeyId,
    secret: [u8; SECRET_BYTES],
}

impl ApiSecret {
    /// A new one for the key of this id. `None`: the system gives no random numbers.
    pub fn generate(key_id: ApiKeyId) -> Option<Self> {
        Some(Self {
            key_id,
            secret: random_bytes()?,
        })
    }

    /// Which key it is of.
    pub fn key_id(&self) -> ApiKeyId {
        self.key_id
    }

    /// What is stored of it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Whether this is the secret of which `sha256` was stored. Comparing digests tells nothing of the secret by
    /// its time, but costs nothing to do in constant time either.
    pub fn matches(&self, sha256: &[u8; 32]) -> bool {
        let difference = self
            .sha256()
            .iter()
            .zip(sha256)
            .fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(difference) == 0
    }

    /// The text that its owner keeps. Only for showing it to them.
    pub fn reveal(&self) -> String {
        format!(
            "{PREFIX}{}_{}",
            self.key_id,
            URL_SAFE_NO_PAD.encode(self.secret)
        )
    }
}

impl fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiSecret({}, secret)", self.key_id)
    }
}

impl FromStr for ApiSecret {
    type Err = Error;

    /// Errors: `InvalidArgument` without the text, which may be a mistyped secret.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = (|| {
            let (key_id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
            let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
            Some(Self {
                key_id: key_id.parse().ok()?,
                secret: secret.try_into().ok()?,
            })
        })();
        parsed.ok_or_else(|| {
            Error::invalid(
                "api_key",
                "(hidden)",
                "the secret of an API key: photon_KEY-ID_SECRET, as it was shown when the key was made",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_reads_back_and_matches_itself_only() {
        let id = ApiKeyId::generate();
        let secret = ApiSecret::generate(id).unwrap();
        let again: ApiSecret = secret.reveal().parse().unwrap();
        assert_eq!(again, secret);
        assert!(again.matches(&secret.sha256()));
        assert!(!ApiSecret::generate(id).unwrap().matches(&secret.sha256()));
        assert!(!format!("{secret:?}").contains(&secret.reveal()[44..]));
    }

    proptest! {
        #[test]
        fn reading_never_panics_nor_repeats_what_it_was_given(text in "photon_[a-f0-9-]{30,40}_\\PC{40,50}|\\PC{20,60}") {
            if let Err(error) = text.parse::<ApiSecret>() {
                prop_assert!(!error.to_string().contains(&text));
            }
        }
    }
}
