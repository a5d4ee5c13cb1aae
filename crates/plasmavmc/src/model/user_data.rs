//! cloud-init user data, as the guest is given them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use photon_resource::Error;

/// The most of them, in bytes, as they are stored: a VM is one record, and its host is told all of it with each change.
/// What is larger fits when it is compressed, which cloud-init takes.
const MOST: usize = 64 * 1024;

/// What gzip begins with, its header's length in bytes (RFC 1952), and what the beginning is in base64.
const GZIP: &[u8] = b"\x1f\x8b\x08";
const GZIP_HEADER: usize = 10;
const GZIP_IN_BASE64: &str = "H4sI";

/// User data: a text, or bytes that cloud-init unpacks. Often they hold secrets: they are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserData(Vec<u8>);

impl UserData {
    /// What a caller wrote as a text. Compressed data in base64, as tools make them for interfaces that take text
    /// alone, become what they stand for: no user data begin like that, and cloud-init would leave them aside.
    pub fn from_text(text: String) -> Self {
        let trimmed = text.trim();
        if trimmed.starts_with(GZIP_IN_BASE64) {
            let lines: String = trimmed.split_ascii_whitespace().collect();
            if let Ok(bytes) = STANDARD.decode(lines)
                && bytes.starts_with(GZIP)
                && bytes.len() >= GZIP_HEADER
            {
                return Self(bytes);
            }
        }
        Self(text.into_bytes())
    }

    /// What a caller gave as bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same as text, if they are one.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Errors: `InvalidArgument`.
    pub fn check(&self, field: &str) -> Result<(), Error> {
        if self.0.len() <= MOST {
            return Ok(());
        }
        // The data itself may hold secrets: its length is what is wrong, and all that is repeated.
        let value = format!("({} bytes)", self.0.len());
        let expected = "at most 65536 bytes; compressed with gzip more fits in";
        Err(Error::invalid(field, value, expected))
    }
}

impl fmt::Debug for UserData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserData({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_as_it_is_and_compressed_data_in_base64_become_bytes() {
        let text = "#cloud-config\npassword: H4sI\n";
        assert_eq!(UserData::from_text(text.into()).text(), Some(text));
        let gzip = [GZIP, &[0, 0, 0, 0, 0, 0, 3, 0xff, 0xfe]].concat();
        let encoded = STANDARD.encode(&gzip);
        let (first, second) = encoded.split_at(5);
        for written in [encoded.clone(), format!("{first}\n{second}\n")] {
            let data = UserData::from_text(written);
            assert_eq!(data.as_bytes(), gzip);
            assert_eq!(data.text(), None);
        }
        // Begins like it, and is not.
        for text in ["H4sI", "H4sI is no base64!"] {
            assert_eq!(UserData::from_text(text.into()).as_bytes(), text.as_bytes());
        }
        assert!(!format!("{:?}", UserData::from_text(text.into())).contains("password"));
    }
}
