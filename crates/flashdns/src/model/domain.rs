//! Names of DNS, as they are written and as they are carried.

use photon_resource::Error;

/// The longest name without the root's dot (RFC 1035 section 2.3.4: 255 octets with all lengths).
const LONGEST: usize = 253;

/// What is nobody's in DNS, and answered so on every host: RFC 6761, 6762, 7686. Zones of addresses are worked out.
const SPECIAL: [&str; 6] = ["localhost", "local", "onion", "invalid", "test", "arpa"];

/// Whether a label is one that zones and their records may have: also `_` for services (RFC 8552).
fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    (1..=63).contains(&label.len()) && label.chars().all(allowed)
}

/// Whether a text can be the name of a zone, wherever that lies.
pub fn is_zone_name(text: &str) -> bool {
    text.len() <= LONGEST && text.contains('.') && text.split('.').all(is_label)
}

/// A zone's name that a tenant may have in a cloud whose names end with `suffix`.
///
/// Errors: `InvalidArgument` saying what is wrong with it.
pub fn validate_zone_name(text: &str, suffix: &str) -> Result<(), Error> {
    if !is_zone_name(text) {
        return Err(Error::invalid(
            "name",
            text,
            "a domain in lower case such as shop.example: at least two labels of a-z, 0-9, '-' and '_', without a dot at the end",
        ));
    }
    let within = |top: &str| text == top || text.ends_with(&format!(".{top}"));
    if within(suffix) {
        let expected =
            format!("a domain that is not below {suffix}, where the cloud's own names are");
        return Err(Error::invalid("name", text, expected));
    }
    if SPECIAL.iter().any(|special| within(special)) {
        let expected = format!(
            "a domain that is not below one of {}, which are not for zones (RFC 6761)",
            SPECIAL.join(", ")
        );
        return Err(Error::invalid("name", text, expected));
    }
    Ok(())
}

/// A name below a zone, as a record set has it: `@` for the zone's own, `*` as the first label or alone.
///
/// Errors: `InvalidArgument`, also when it and the zone's name are too long together.
pub fn validate_record_name(text: &str, zone: &str) -> Result<(), Error> {
    let rest = match text.strip_prefix("*.") {
        Some(rest) => rest,
        None if ["@", "*"].contains(&text) => return Ok(()),
        None => text,
    };
    if text.len() + 1 + zone.len() <= LONGEST && rest.split('.').all(is_label) {
        return Ok(());
    }
    let expected = format!(
        "@, or a name below {zone} of labels of a-z, 0-9, '-' and '_', of which the first may be *, with the zone's at most {LONGEST} characters"
    );
    Err(Error::invalid("name", text, expected))
}

/// The full name in a value, as it is stored: in lower case, without a dot at the end. `None`: it is none.
pub fn canonical(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let good = !name.is_empty() && name.len() <= LONGEST && name.split('.').all(is_label);
    good.then_some(name)
}

/// A canonical name as DNS carries it, without compression (RFC 1035 section 3.1).
pub fn octets(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut octets: Vec<u8> = labels
        .flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()))
        .collect();
    octets.push(0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_domain_of_its_own() {
        let check = |text: &str| validate_zone_name(text, "cloud.internal");
        for good in [
            "shop.example",
            "a.b.c",
            "metadata.google.internal",
            "_tcp.example",
            "mycloud.internal",
        ] {
            check(good).unwrap();
        }
        for (wrong, word) in [
            ("com", "two labels"),
            ("Shop.example", "lower case"),
            ("shop.example.", "without a dot"),
            ("a..b", "two labels"),
            ("", "two labels"),
            ("shop/x.example", "two labels"),
            ("cloud.internal", "cloud's own"),
            ("web.acme.cloud.internal", "cloud's own"),
            ("10.in-addr.arpa", "RFC 6761"),
            ("printer.local", "RFC 6761"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(word), "{wrong}: {error}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert!(check(&long).is_err());
    }

    #[test]
    fn a_record_has_a_name_below_its_zone() {
        for good in ["@", "www", "*", "*.www", "_ldap._tcp", "a.b"] {
            validate_record_name(good, "shop.example").unwrap();
        }
        for wrong in ["", ".", "a.", "www.*", "a*", "@.a", "W", "a b"] {
            assert!(
                validate_record_name(wrong, "shop.example").is_err(),
                "{wrong}"
            );
        }
        let long = [
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(60),
            "d".repeat(60),
        ]
        .join(".");
        assert!(validate_record_name(&long, "shop.example").is_err());
    }

    #[test]
    fn names_are_carried_by_their_labels() {
        assert_eq!(
            canonical("Web-1.Shop.Example.").unwrap(),
            "web-1.shop.example"
        );
        assert_eq!(canonical(""), None);
        assert_eq!(canonical("."), None);
        assert_eq!(octets("ab.c"), [2, b'a', b'b', 1, b'c', 0]);
    }
}
