//! What client and server both know of SSH keys.

/// In which private keys are known: OpenSSH's and OpenSSL's (RFC 7468), and PuTTY's.
const PRIVATE: [&str; 2] = ["PRIVATE KEY", "PuTTY-User-Key-File"];

/// Whether a text is, or has in it, a private key, so that it is neither sent nor repeated.
pub fn is_private_key(text: &str) -> bool {
    PRIVATE.iter().any(|mark| text.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_are_known_and_public_ones_are_none() {
        for private in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt",
            "# mine\n-----BEGIN EC PRIVATE KEY-----",
            "PuTTY-User-Key-File-3: ssh-ed25519",
        ] {
            assert!(is_private_key(private), "{private}");
        }
        assert!(!is_private_key(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA me@laptop"
        ));
    }
}
