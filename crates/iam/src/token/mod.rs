//! Tokens: the keys that sign them, what they say, and their verification.

mod keyring;
mod seal;

pub use keyring::{Keyring, NewToken, SigningKey, Verified};
pub use seal::ServerKey;
pub(crate) use seal::{create_durably, random_bytes};

use std::time::Duration;

/// How long a token lives when the request does not say.
pub const DEFAULT_TTL: Duration = Duration::from_secs(900);
/// The longest that a token can live.
pub const MAX_TTL: Duration = Duration::from_secs(3600);
