//! The refresh token of a session: `photon_session_<uuid of the session>_<86 characters>`, two secrets of 256 bits each.
//!
//! The first is the same in all refresh tokens of a session and proves that a token is one of them; the second is good for one
//! use. So one that was used before is told from one that was made up, without a list of all that there were. The successor
//! follows from the second and a salt that the server keeps: whoever asks again, because the answer was lost, is answered the
//! same, and nobody can work it out of what is stored.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use photon_resource::{Error, SessionId};
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::token::random_bytes;

const PREFIX: &str = "photon_session_";
const SECRET_BYTES: usize = 32;

/// It is never stored: the SHA-256 of its parts is, which is enough for 256 bits of entropy each.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshSecret {
    session: SessionId,
    family: [u8; SECRET_BYTES],
    single: [u8; SECRET_BYTES],
}

impl RefreshSecret {
    /// The first of a session. `None`: the system gives no random numbers.
    pub fn generate(session: SessionId) -> Option<Self> {
        Some(Self {
            session,
            family: random_bytes()?,
            single: random_bytes()?,
        })
    }

    /// What the successor of one follows from. `None`: the system gives no random numbers.
    pub fn salt() -> Option<[u8; 32]> {
        random_bytes()
    }

    /// Which session it is of.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What is stored of what all of a session have in common.
    pub fn family_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.family).into()
    }

    /// What is stored of what it has alone.
    pub fn single_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.single).into()
    }

    /// The one that takes its place: always the same for one salt.
    pub fn successor(&self, salt: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.single);
        let mut single = [0; SECRET_BYTES];
        single.copy_from_slice(hmac::sign(&key, salt).as_ref());
        Self {
            session: self.session,
            family: self.family,
            single,
        }
    }

    /// The text that the client keeps. Only for giving it to them.
    pub fn reveal(&self) -> String {
        let both = [self.family, self.single].concat();
        format!("{PREFIX}{}_{}", self.session, URL_SAFE_NO_PAD.encode(both))
    }
}

impl fmt::Debug for RefreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshSecret({}, secret)", self.session)
    }
}

impl FromStr for RefreshSecret {
    type Err = Error;

    /// Errors: `InvalidArgument` without the text, which may be a mistyped secret.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = (|| {
            let (session, both) = text.trim().strip_prefix(PREFIX)?.split_once('_')?;
            let both = URL_SAFE_NO_PAD.decode(both).ok()?;
            let (family, single) = both.split_at_checked(SECRET_BYTES)?;
            Some(Self {
                session: session.parse().ok()?,
                family: family.try_into().ok()?,
                single: single.try_into().ok()?,
            })
        })();
        parsed.ok_or_else(|| {
            Error::invalid(
                "refresh_token",
                "(hidden)",
                "a refresh token: photon_session_SESSION-ID_SECRETS, as signing in or the refresh before answered it",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_successor_is_the_same_again_and_follows_from_the_salt_alone_for_nobody() {
        let first = RefreshSecret::generate(SessionId::generate()).unwrap();
        let (salt, other) = (
            RefreshSecret::salt().unwrap(),
            RefreshSecret::salt().unwrap(),
        );
        let next = first.successor(&salt);
        assert_eq!(next, first.successor(&salt));
        assert_ne!(next, first.successor(&other));
        assert_eq!(next.family_sha256(), first.family_sha256());
        assert_ne!(next.single_sha256(), first.single_sha256());
        let again: RefreshSecret = next.reveal().parse().unwrap();
        assert_eq!(again, next);
        assert!(!format!("{next:?}").contains(&next.reveal()[60..]));
        // An API key's secret is none, nor is a refresh token one of those.
        let key = crate::credential::ApiSecret::generate(photon_resource::ApiKeyId::generate());
        assert!(key.unwrap().reveal().parse::<RefreshSecret>().is_err());
        assert!(
            next.reveal()
                .parse::<crate::credential::ApiSecret>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics_nor_repeats_what_it_was_given(
            text in "photon_session_[a-f0-9-]{30,40}_\\PC{80,90}|\\PC{20,60}"
        ) {
            if let Err(error) = text.parse::<RefreshSecret>() {
                prop_assert!(!error.to_string().contains(&text));
            }
        }
    }
}
