//! Tokens, as those of IMDSv2: who can only have a guest ask for a URL (SSRF) can't ask with `PUT` and a header of its own.
//!
//! A token is its end and an HMAC over that, the VM and the interface that it was asked by. The key is this process's: a
//! token that was given before a restart is of no use any more, and guests ask for another one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use photon_resource::VmId;
use ring::hmac;
use ring::rand::SystemRandom;

/// For how long a token is good at most, in seconds; at least 1. As Amazon's.
pub const LONGEST: u64 = 21_600;

/// Makes and knows tokens.
pub struct Issuer(hmac::Key);

impl Issuer {
    /// One whose tokens no other knows.
    ///
    /// Errors: the system gives no random bytes.
    pub fn new() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(Self(key))
    }

    /// A token of a VM, asked for by this interface, until `end` (seconds since 1970).
    pub fn issue(&self, vm: VmId, tap: &str, end: u64) -> String {
        let end = end.to_be_bytes();
        let tag = hmac::sign(&self.0, &signed(vm, tap, end));
        URL_SAFE_NO_PAD.encode([&end, tag.as_ref()].concat())
    }

    /// Whether `token` is one of this VM and interface, and has not ended.
    pub fn knows(&self, token: &str, vm: VmId, tap: &str, now: u64) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let Some((end, tag)) = bytes.split_first_chunk::<8>() else {
            return false;
        };
        u64::from_be_bytes(*end) > now && hmac::verify(&self.0, &signed(vm, tap, *end), tag).is_ok()
    }
}

/// Both parts before the last have a length that is always the same.
fn signed(vm: VmId, tap: &str, end: [u8; 8]) -> Vec<u8> {
    [&end, &vm.uuid().as_bytes()[..], tap.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_vm_and_interface_and_ends() {
        let issuer = Issuer::new().unwrap();
        let [one, other] = [1, 2].map(|n| crate::instance::example(n, "pt1", "10.0.1.10/24").vm);
        let token = issuer.issue(one, "pt1", 100);
        assert!(issuer.knows(&token, one, "pt1", 99));
        assert!(!issuer.knows(&token, one, "pt1", 100));
        assert!(!issuer.knows(&token, other, "pt1", 99));
        assert!(!issuer.knows(&token, one, "pt2", 99));
        assert!(!Issuer::new().unwrap().knows(&token, one, "pt1", 99));
        for wrong in ["", "a", "AAAA", &token[1..], "é"] {
            assert!(!issuer.knows(wrong, one, "pt1", 0), "{wrong}");
        }
        // With another end it is another one.
        let mut bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        bytes[7] += 1;
        assert!(!issuer.knows(&URL_SAFE_NO_PAD.encode(bytes), one, "pt1", 99));
    }
}
