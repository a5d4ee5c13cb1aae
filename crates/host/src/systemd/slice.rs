//! Names of nested slices.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Longest escaped segment that is kept as it is; systemd allows 255 bytes for the whole name (`UNIT_NAME_MAX`).
const LONGEST_SEGMENT: usize = 72;

/// The slice that nests by these segments: `["photon", "tenants", "acme"]` is
/// `photon-tenants-acme.slice`, which systemd puts below `photon-tenants.slice` (systemd.slice(5)).
///
/// A dash inside a segment would nest one deeper, so everything but letters, digits, `_` and `.` is escaped
/// as systemd-escape(1) does. A segment that gets too long by that is replaced by its digest.
pub fn nested_slice(segments: &[&str]) -> String {
    let escaped: Vec<String> = segments.iter().map(|segment| escape(segment)).collect();
    format!("{}.slice", escaped.join("-"))
}

fn escape(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for (at, byte) in segment.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'_' || (byte == b'.' && at > 0);
        if plain {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(escaped, "\\x{byte:02x}");
        }
    }
    if escaped.len() <= LONGEST_SEGMENT {
        return escaped;
    }
    let digest = Sha256::digest(segment.as_bytes());
    format!("h_{}", hex::encode(&digest[..16]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dash_inside_a_segment_does_not_nest() {
        assert_eq!(
            nested_slice(&["photon", "tenants", "acme-corp", "web"]),
            "photon-tenants-acme\\x2dcorp-web.slice"
        );
    }

    proptest! {
        #[test]
        fn nests_exactly_as_deep_as_asked(tenant in prop::collection::vec("[a-z][a-z0-9-]{1,38}", 1..=2)) {
            let mut segments = vec!["photon", "tenants"];
            segments.extend(tenant.iter().map(String::as_str));
            let name = nested_slice(&segments);
            prop_assert!(name.len() <= 255, "{name}");
            let stem = name.strip_suffix(".slice").unwrap();
            prop_assert_eq!(stem.split('-').count(), segments.len());
            prop_assert!(!stem.split('-').any(str::is_empty));
        }

        #[test]
        fn different_segments_never_share_a_slice(a in "[a-z-]{1,40}", b in "[a-z-]{1,40}") {
            prop_assume!(a != b);
            prop_assert_ne!(nested_slice(&[&a]), nested_slice(&[&b]));
        }
    }
}
