//! S3 access key pairs, in the form that S3 clients accept.

use crate::token::random_bytes;

/// 32 characters without 0, 1, I and O, so that five bits of a byte choose one evenly.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";

fn letters<const N: usize>() -> Option<String> {
    let bytes = random_bytes::<N>()?;
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte & 31)]);
    Some(bytes.into_iter().map(letter).collect())
}

/// A new access key id (`PHOTON` and 14 characters) and secret access key (40 characters, 200 bits of entropy).
/// `None`: the system gives no random numbers.
pub fn new_s3_pair() -> Option<(String, String)> {
    Some((format!("PHOTON{}", letters::<14>()?), letters::<40>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_the_form_that_is_promised() {
        let (id, secret) = new_s3_pair().unwrap();
        assert_eq!((id.len(), secret.len()), (20, 40));
        assert!(id.starts_with("PHOTON"));
        assert_ne!(new_s3_pair().unwrap(), (id, secret));
    }
}
