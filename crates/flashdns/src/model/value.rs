//! What records say: as people write it, and as DNS carries it. Each value is kept in one form, so that equal ones are the
//! same.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use photon_resource::Error;

use super::domain::{canonical, octets};

/// The most values of a set.
const MOST: usize = 100;
/// The most that the values of a set may have together, in bytes.
const MOST_BYTES: usize = 4096;
/// The longest string of DNS (RFC 1035 section 3.3).
const STRING: usize = 255;

/// What a record says. The numbers are DNS's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordType {
    A = 1,
    Cname = 5,
    Ptr = 12,
    Mx = 15,
    Txt = 16,
    Aaaa = 28,
    Srv = 33,
    Caa = 257,
}

impl RecordType {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::A,
        Self::Cname,
        Self::Ptr,
        Self::Mx,
        Self::Txt,
        Self::Aaaa,
        Self::Srv,
        Self::Caa,
    ];

    /// Its number in DNS.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The type of this number.
    pub fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    fn expected(self) -> &'static str {
        match self {
            Self::A => "IPv4 addresses such as 10.0.1.10",
            Self::Aaaa => "IPv6 addresses such as fd00:1::10",
            Self::Cname | Self::Ptr => "a name such as web-1.shop.example",
            Self::Mx => "a preference and a name, such as 10 mail.shop.example",
            Self::Txt => "text that is not empty",
            Self::Srv => "priority, weight, port and name, such as 10 5 5432 db.shop.example",
            Self::Caa => "flags (0 or 128), tag and value, such as 0 issue \"ca.example\"",
        }
    }
}

/// Values in the form in which they are kept, in their order.
///
/// Errors: `InvalidArgument` naming the value; none, too many or too long ones; one twice; several of a CNAME.
pub fn validate_values(kind: RecordType, values: &[String]) -> Result<Vec<String>, Error> {
    if !(1..=MOST).contains(&values.len()) {
        return Err(Error::invalid(
            "values",
            values.len(),
            format!("1 to {MOST} values"),
        ));
    }
    if kind == RecordType::Cname && values.len() > 1 {
        return Err(Error::invalid(
            "values",
            values.len(),
            "one name: an alias has no other",
        ));
    }
    let bytes: usize = values.iter().map(String::len).sum();
    if bytes > MOST_BYTES {
        let expected = format!("at most {MOST_BYTES} bytes in all values together");
        return Err(Error::invalid("values", format!("{bytes} bytes"), expected));
    }
    let mut kept = Vec::new();
    for value in values {
        let Some((text, _)) = read(kind, value) else {
            return Err(Error::invalid("values", value, kind.expected()));
        };
        if kept.contains(&text) {
            return Err(Error::invalid("values", value, "each value once"));
        }
        kept.push(text);
    }
    Ok(kept)
}

/// A value that was kept, as DNS carries it (RDATA). `None`: it is none of this type, which a store that was changed by hand
/// may have.
pub fn rdata(kind: RecordType, value: &str) -> Option<Vec<u8>> {
    read(kind, value).map(|(_, octets)| octets)
}

/// The form in which a value is kept, and what of it is carried.
fn read(kind: RecordType, value: &str) -> Option<(String, Vec<u8>)> {
    match kind {
        RecordType::A => {
            let address: Ipv4Addr = value.parse().ok()?;
            Some((address.to_string(), address.octets().to_vec()))
        }
        RecordType::Aaaa => {
            let address: Ipv6Addr = value.parse().ok()?;
            Some((address.to_string(), address.octets().to_vec()))
        }
        RecordType::Cname | RecordType::Ptr => {
            let name = canonical(value)?;
            let octets = octets(&name);
            Some((name, octets))
        }
        RecordType::Mx => {
            let [preference, name] = words(value)?;
            let (preference, name): (u16, _) = (number(preference)?, canonical(name)?);
            let carried = [&preference.to_be_bytes()[..], &octets(&name)].concat();
            Some((format!("{preference} {name}"), carried))
        }
        RecordType::Srv => {
            let [priority, weight, port, name] = words(value)?;
            let numbers: [u16; 3] = [number(priority)?, number(weight)?, number(port)?];
            let name = canonical(name)?;
            let [priority, weight, port] = numbers;
            let mut carried: Vec<u8> = numbers.into_iter().flat_map(u16::to_be_bytes).collect();
            carried.extend(octets(&name));
            Some((format!("{priority} {weight} {port} {name}"), carried))
        }
        RecordType::Txt => {
            let text = value.as_bytes();
            let strings = text.chunks(STRING);
            let carried = strings
                .flat_map(|part| std::iter::once(part.len() as u8).chain(part.iter().copied()));
            (!text.is_empty()).then(|| (value.to_owned(), carried.collect()))
        }
        RecordType::Caa => caa(value),
    }
}

/// RFC 8659 section 4.1.
fn caa(value: &str) -> Option<(String, Vec<u8>)> {
    let mut parts = value.splitn(3, ' ');
    let (flags, tag, says) = (parts.next()?, parts.next()?, parts.next()?);
    let flags: u8 = number(flags)?;
    let says = says
        .strip_prefix('"')
        .map_or(Some(says), |rest| rest.strip_suffix('"'))?;
    let is_tag = (1..=15).contains(&tag.len())
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_text = says
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"');
    if ![0, 128].contains(&flags) || !is_tag || !is_text || says.len() > STRING {
        return None;
    }
    let carried = [
        &[flags, tag.len() as u8][..],
        tag.as_bytes(),
        says.as_bytes(),
    ]
    .concat();
    Some((format!("{flags} {tag} \"{says}\""), carried))
}

fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.try_into().ok()
}

/// Digits alone: no sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(kind: RecordType, value: &str) -> Option<String> {
        read(kind, value).map(|(text, _)| text)
    }

    #[test]
    fn values_are_kept_in_one_form() {
        use RecordType::{A, Aaaa, Caa, Cname, Mx, Ptr, Srv, Txt};
        for (kind, value, form) in [
            (A, "10.0.1.10", Some("10.0.1.10")),
            (A, "10.0.1", None),
            (A, "10.0.1.010", None),
            (Aaaa, "FD00:1:0::10", Some("fd00:1::10")),
            (Aaaa, "10.0.1.10", None),
            (Cname, "Web-1.Shop.Example.", Some("web-1.shop.example")),
            (Cname, "two words", None),
            (Ptr, "web.shop.example", Some("web.shop.example")),
            (Mx, "10  Mail.shop.example", Some("10 mail.shop.example")),
            (Mx, "mail.shop.example", None),
            (Mx, "+10 mail.shop.example", None),
            (Mx, "70000 mail.shop.example", None),
            (
                Srv,
                "10 5 5432 db.shop.example",
                Some("10 5 5432 db.shop.example"),
            ),
            (Srv, "10 5 db.shop.example", None),
            (Txt, "v=spf1 -all", Some("v=spf1 -all")),
            (Txt, "", None),
            (Caa, "0 issue ca.example", Some("0 issue \"ca.example\"")),
            (
                Caa,
                "0 issue \"ca.example\"",
                Some("0 issue \"ca.example\""),
            ),
            (Caa, "1 issue ca.example", None),
            (Caa, "0 is-sue ca.example", None),
            (Caa, "0 issue \"a\"b\"", None),
        ] {
            assert_eq!(kept(kind, value).as_deref(), form, "{kind:?} {value}");
            if let Some(form) = form {
                assert_eq!(kept(kind, form).as_deref(), Some(form), "{kind:?} {form}");
            }
        }
    }

    #[test]
    fn values_are_carried_as_dns_has_them() {
        assert_eq!(rdata(RecordType::A, "10.0.1.10"), Some(vec![10, 0, 1, 10]));
        assert_eq!(
            rdata(RecordType::Mx, "10 m.x"),
            Some(vec![0, 10, 1, b'm', 1, b'x', 0])
        );
        let long = rdata(RecordType::Txt, &"a".repeat(300)).unwrap();
        assert_eq!((long.len(), long[0], long[256]), (302, 255, 45));
        assert_eq!(
            rdata(RecordType::Caa, "128 iodef \"x\"").unwrap(),
            [&[128, 5][..], b"iodefx"].concat()
        );
    }

    #[test]
    fn a_set_is_bounded_and_has_each_value_once() {
        let texts = |values: &[&str]| values.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let check = |kind, values: &[&str]| validate_values(kind, &texts(values));
        assert_eq!(
            check(RecordType::A, &["10.0.0.1", "10.0.0.2"])
                .unwrap()
                .len(),
            2
        );
        for (kind, values, word) in [
            (RecordType::A, vec![], "1 to 100"),
            (
                RecordType::A,
                vec!["10.0.0.1", "10.0.0.1"],
                "each value once",
            ),
            (RecordType::A, vec!["x"], "IPv4"),
            (RecordType::Cname, vec!["a.b", "c.d"], "one name"),
        ] {
            let error = check(kind, &values).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let long = "a".repeat(MOST_BYTES + 1);
        let error = check(RecordType::Txt, &[&long]).unwrap_err().to_string();
        assert!(error.contains("4096 bytes"), "{error}");
    }

    #[test]
    fn types_have_the_numbers_of_dns() {
        for kind in RecordType::ALL {
            assert_eq!(RecordType::of(kind.number()), Some(kind));
        }
        assert_eq!(RecordType::of(2), None);
    }
}
