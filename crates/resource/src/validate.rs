//! The forms that names, descriptions, labels and page requests have in every API.

use crate::{Error, Labels, is_hidden};

/// Checks a tenant-chosen name: RFC 1123 label, so that it can be a host name.
///
/// Errors: `InvalidArgument` for `field`.
pub fn validate_resource_name(field: &str, name: &str) -> Result<(), Error> {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let ok = (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-';
    // What looks like an id could never be addressed by name.
    if ok && uuid::Uuid::try_parse(name).is_err() {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            name,
            "1 to 63 of a-z, 0-9 and '-', neither beginning nor ending with '-', and not a UUID",
        ))
    }
}

/// Checks a description: at most 1024 characters, none [hidden](is_hidden) but line breaks.
pub fn validate_description(description: &str) -> Result<(), Error> {
    let wrong = |c: char| is_hidden(c) && c != '\n';
    if description.chars().count() > 1024 || description.chars().any(wrong) {
        return Err(Error::invalid(
            "description",
            description,
            "at most 1024 characters, none that is invisible or turns the direction of writing",
        ));
    }
    Ok(())
}

/// Checks labels: at most 64; keys of 1 to 63 of a-z, A-Z, 0-9, '-', '_', '.', '/'; values of at most 255
/// characters, none [hidden](is_hidden).
pub fn validate_labels(labels: &Labels) -> Result<(), Error> {
    if labels.len() > 64 {
        return Err(Error::invalid(
            "labels",
            format!("{} labels", labels.len()),
            "at most 64",
        ));
    }
    for (key, value) in labels {
        let key_ok = (1..=63).contains(&key.len())
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
        if !key_ok {
            return Err(Error::invalid(
                "labels",
                key,
                "keys of 1 to 63 letters, digits, '-', '_', '.', '/'",
            ));
        }
        if value.chars().count() > 255 || value.chars().any(is_hidden) {
            return Err(Error::invalid(
                format!("labels[{key}]"),
                value,
                "at most 255 characters, none that is invisible or turns the direction of writing",
            ));
        }
    }
    Ok(())
}

/// Which page of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// 1 to 1000.
    pub size: usize,
    /// The key after which the page begins; `None`: the first page.
    pub after: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Gives the next page; empty on the last one.
    pub next_page_token: String,
}

impl PageRequest {
    /// Reads `page_size` (0: 100) and `page_token` as [`PageRequest::token`] made it.
    pub fn parse(page_size: u32, page_token: &str) -> Result<Self, Error> {
        let size = match page_size {
            0 => 100,
            1..=1000 => page_size as usize,
            _ => return Err(Error::invalid("page_size", page_size, "0 to 1000")),
        };
        let after = if page_token.is_empty() {
            None
        } else {
            Some(key(page_token).ok_or_else(|| {
                Error::invalid(
                    "page_token",
                    page_token,
                    "the next_page_token of the previous page",
                )
            })?)
        };
        Ok(Self { size, after })
    }

    /// The key after which the page begins, of a list whose keys all begin with `prefix`: the token of another list must
    /// not lead out of this one.
    ///
    /// Errors: `InvalidArgument`.
    pub fn after_in(&self, prefix: &str) -> Result<Option<&str>, Error> {
        match self.after.as_deref() {
            Some(after) if !after.starts_with(prefix) => Err(Error::invalid(
                "page_token",
                Self::token(after),
                "the next_page_token of a page of the same list",
            )),
            after => Ok(after),
        }
    }

    /// The token of the page that begins after `key`: opaque to clients.
    pub fn token(key: &str) -> String {
        hex::encode(key)
    }
}

/// The key that a token stands for.
fn key(token: &str) -> Option<String> {
    const LONGEST: usize = 2048;
    if token.len() > LONGEST {
        return None;
    }
    String::from_utf8(hex::decode(token).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_host_labels() {
        for good in ["a", "web-1", "0x"] {
            validate_resource_name("name", good).unwrap();
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a b",
            "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e",
        ] {
            let error = validate_resource_name("name", bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("name '{bad}'")), "{error}");
        }
    }

    #[test]
    fn a_text_that_looks_like_another_is_refused_where_it_stands() {
        for trick in [
            "web\u{202e}bd",
            "we\u{200b}b",
            "web\u{1b}[2J",
            "\u{feff}web",
            "web\u{2066}",
        ] {
            validate_description(trick).unwrap_err();
            let labels = Labels::from([("env".to_owned(), trick.to_owned())]);
            let error = validate_labels(&labels).unwrap_err().to_string();
            assert!(error.contains("labels[env]"), "{error}");
        }
        validate_description("two\nlines, in Ελληνικά").unwrap();
        let labels = Labels::from([("env".to_owned(), "本番".to_owned())]);
        validate_labels(&labels).unwrap();
    }

    proptest! {
        #[test]
        fn a_page_token_gives_its_key_back(key in "\\PC{1,40}") {
            let page = PageRequest::parse(10, &PageRequest::token(&key)).unwrap();
            prop_assert_eq!(page.after, Some(key));
        }

        #[test]
        fn a_wrong_page_token_is_refused_not_a_panic(token in "\\PC*") {
            let _ = PageRequest::parse(0, &token);
        }
    }
}
