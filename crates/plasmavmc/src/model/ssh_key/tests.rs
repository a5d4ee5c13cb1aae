use proptest::prelude::*;

use super::*;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r";

/// An RSA key whose modulus has so many bits.
fn rsa(modulus_bits: usize) -> String {
    let mut modulus = vec![0u8];
    modulus.extend(vec![0xff; modulus_bits / 8]);
    let mut blob = Vec::new();
    for part in [RSA.as_bytes(), &[1, 0, 1], &modulus] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    format!("{RSA} {}", STANDARD.encode(blob))
}

#[test]
fn keys_are_accepted_with_and_without_comment() {
    let key = PublicKey::parse("k", ED25519).unwrap();
    assert_eq!((key.kind(), key.line()), ("ssh-ed25519", ED25519));
    let told = PublicKey::parse("k", &format!("{ED25519} me@laptop, the old one\n")).unwrap();
    assert_eq!(told.fingerprint(), key.fingerprint());
    assert!(told.line().ends_with("the old one"));
    PublicKey::parse("k", &rsa(2048)).unwrap();
}

/// `ssh-keygen -l` of OpenSSH 9.2 said so of that key.
#[test]
fn a_fingerprint_is_that_which_openssh_shows() {
    let key = PublicKey::parse("k", ED25519).unwrap();
    assert_eq!(
        key.fingerprint(),
        "SHA256:Q73qpMFpgEwuGqC8pXW/MEbZIrp6jTjJuJj0QkYVgZQ"
    );
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
        "ssh-dss AAAAB3NzaC1kc3MAAAAB".into(),
        rsa(1024),
        format!("{ED25519} {}", "x".repeat(9000)),
    ];
    for key in bad {
        let error = PublicKey::parse("public_key", &key)
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected one public key"), "{error}");
    }
}

#[test]
fn a_private_key_is_refused_by_name_and_not_repeated() {
    for private in [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXkt\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nb3BlbnNzaC1rZXkt",
        "PuTTY-User-Key-File-3: ssh-ed25519\nb3BlbnNzaC1rZXkt",
    ] {
        let error = PublicKey::parse("public_key", private)
            .unwrap_err()
            .to_string();
        assert!(error.contains("this is a private key"), "{error}");
        assert!(error.contains(".pub"), "{error}");
        assert!(!error.contains("b3BlbnNzaC1rZXkt"), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        let _ = PublicKey::parse("k", &text);
    }

    #[test]
    fn any_bytes_of_a_known_type_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for kind in TYPES {
            let _ = PublicKey::parse("k", &format!("{kind} {}", STANDARD.encode(&bytes)));
        }
    }
}
