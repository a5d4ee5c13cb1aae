//! Public keys in authorized_keys form (`sshd(8)`, RFC 4253 section 6.6), and those that a project keeps by name.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use photon_resource::{Changes, Error, Meta, NewMeta, SshKeyId, is_private_key};
use sha2::{Digest as _, Sha256};

#[cfg(test)]
mod tests;

/// The key types that a current OpenSSH accepts for signing in.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    RSA,
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];
const RSA: &str = "ssh-rsa";
/// NIST SP 800-57 part 1 takes less for broken; OpenSSH makes 3072.
const LEAST_RSA_BITS: usize = 2048;
/// Twice what an RSA key of 16384 bits has, which is the most that OpenSSH takes.
const MAX_BYTES: usize = 8192;

/// What is accepted, for people.
const EXPECTED: &str = "one public key in authorized_keys form without options, such as \
     'ssh-ed25519 AAAAC3Nz… me@laptop' (types ssh-ed25519, ssh-rsa of 2048 bits or more, ecdsa-sha2-nistp256/384/521, \
     sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com), at most 8192 bytes";

/// One public key: `TYPE BASE64 [COMMENT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    line: String,
    kind: &'static str,
    fingerprint: String,
}

/// A public key that a project keeps under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshKey {
    pub id: SshKeyId,
    pub meta: Meta,
    pub key: PublicKey,
}

/// One that is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSshKey {
    pub meta: NewMeta,
    pub key: PublicKey,
}

/// What an update changes; never the key.
pub type SshKeyChanges = Changes;

impl PublicKey {
    /// Reads a line of authorized_keys.
    ///
    /// Errors: `InvalidArgument` about `field`. Of a private key that was given by mistake it does not repeat anything.
    pub fn parse(field: &str, text: &str) -> Result<Self, Error> {
        if is_private_key(text) {
            let expected = "the public key, as in the file whose name ends in .pub: this is a private key, which is secret and \
                            was not kept";
            return Err(Error::invalid(field, "(a private key)", expected));
        }
        let line = text.trim();
        Self::read(line).ok_or_else(|| Error::invalid(field, line, EXPECTED))
    }

    fn read(line: &str) -> Option<Self> {
        // Line breaks would smuggle further lines, with options, into the guest's file.
        if line.len() > MAX_BYTES || line.chars().any(char::is_control) {
            return None;
        }
        let mut words = line.split_ascii_whitespace();
        let (kind, encoded) = (words.next()?, words.next()?);
        let kind = TYPES.into_iter().find(|known| *known == kind)?;
        let blob = STANDARD.decode(encoded).ok()?;
        // The key itself follows the type.
        let (said, mut rest) = string(&blob)?;
        if said != kind.as_bytes() || rest.len() <= 4 {
            return None;
        }
        if kind == RSA {
            let (_exponent, after) = string(rest)?;
            let (modulus, end) = string(after)?;
            rest = end;
            if bits(modulus) < LEAST_RSA_BITS || !rest.is_empty() {
                return None;
            }
        }
        let digest = STANDARD_NO_PAD.encode(Sha256::digest(&blob));
        Some(Self {
            line: line.to_owned(),
            kind,
            fingerprint: format!("SHA256:{digest}"),
        })
    }

    /// As it stands in authorized_keys.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// `ssh-ed25519`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// As `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// The first string of a blob, and what follows (RFC 4251 section 5).
fn string(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// How many bits a number has, which is written with its highest byte first.
fn bits(number: &[u8]) -> usize {
    let mut bytes = number.iter().skip_while(|byte| **byte == 0);
    let Some(first) = bytes.next() else {
        return 0;
    };
    8 * bytes.count() + 8 - first.leading_zeros() as usize
}
