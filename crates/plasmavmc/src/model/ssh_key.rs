//! Public keys in authorized_keys form (`sshd(8)`, RFC 4253 section 6.6).

/// The key types that a current OpenSSH accepts for signing in.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// What is accepted, for people.
pub(super) const EXPECTED: &str = "one public key in authorized_keys form without options, such as \
     'ssh-ed25519 AAAAC3Nz… me@laptop' (types ssh-ed25519, ssh-rsa, ecdsa-sha2-nistp256/384/521, \
     sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@openssh.com), at most 8192 bytes";

/// Whether `line` is one public key: `TYPE BASE64 [COMMENT]`, where the blob begins with the same type.
pub fn check_ssh_key(line: &str) -> bool {
    // Line breaks would smuggle further lines, with options, into the guest's file.
    if line.len() > 8192 || line.chars().any(char::is_control) {
        return false;
    }
    let mut words = line.split_ascii_whitespace();
    let (Some(kind), Some(encoded)) = (words.next(), words.next()) else {
        return false;
    };
    if !TYPES.contains(&kind) {
        return false;
    }
    let Some(blob) = from_base64(encoded) else {
        return false;
    };
    let Some((length, rest)) = blob.split_first_chunk::<4>() else {
        return false;
    };
    let length = u32::from_be_bytes(*length) as usize;
    // The key itself follows the type.
    rest.get(..length) == Some(kind.as_bytes()) && rest.len() > length + 4
}

/// Standard base64 with padding (RFC 4648 section 4).
fn from_base64(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r";

    #[test]
    fn keys_are_accepted_with_and_without_comment() {
        assert!(check_ssh_key(ED25519));
        assert!(check_ssh_key(&format!("{ED25519} me@laptop, the old one")));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let bad = [
            String::new(),
            "ssh-ed25519".into(),
            "ssh-ed25519 AAAA".into(),
            ED25519.replace("ssh-ed25519 ", "ssh-rsa "),
            ED25519.replace("oL4r", "oL4!"),
            format!("command=\"x\" {ED25519}"),
            format!("{ED25519}\n{ED25519}"),
            "-----BEGIN OPENSSH PRIVATE KEY-----".into(),
            format!("{ED25519} {}", "x".repeat(9000)),
        ];
        for key in bad {
            assert!(!check_ssh_key(&key), "{key:.80}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = check_ssh_key(&text);
        }
    }
}
