//! Files of the netboot image, streamed, whole or a range of them.

use std::io::SeekFrom;
use std::path::Path;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// How much is read at once.
const PIECE: usize = 64 << 10;

/// The file `name` of `directory`, or the part of it that `range` asks for (RFC 9110, 14.2: one range of bytes; others
/// are answered with the whole).
pub async fn serve(directory: &Path, name: &str, range: Option<&HeaderValue>) -> Response {
    let absent = || (StatusCode::NOT_FOUND, "there is no such file\n").into_response();
    if !is_plain(name) {
        return absent();
    }
    let Ok(mut file) = File::open(directory.join(name)).await else {
        return absent();
    };
    let size = match file.metadata().await {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => return absent(),
    };
    let part = range
        .and_then(|value| value.to_str().ok())
        .and_then(|text| parse(text, size));
    let (status, first, length) = match part {
        None => (StatusCode::OK, 0, size),
        Some(Part::Bytes(first, last)) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Some(Part::Unsatisfiable) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response();
        }
    };
    if first > 0 && file.seek(SeekFrom::Start(first)).await.is_err() {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the file can't be read\n",
        )
            .into_response();
    }
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + length - 1;
        headers.push((
            header::CONTENT_RANGE,
            format!("bytes {first}-{last}/{size}"),
        ));
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), PIECE));
    let mut response = (status, body).into_response();
    for (name, value) in headers {
        // Numbers and constants.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Whether a name is of a file in the directory itself, and not hidden.
fn is_plain(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// First and last.
    Bytes(u64, u64),
    Unsatisfiable,
}

/// `None`: not one range of bytes, so the whole.
fn parse(text: &str, size: u64) -> Option<Part> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = match (first.trim(), last.trim()) {
        // The last so many.
        ("", suffix) => {
            let count = number(suffix)?.min(size);
            (size - count, size.saturating_sub(1))
        }
        (first, "") => (number(first)?, size.saturating_sub(1)),
        (first, last) => (number(first)?, number(last)?.min(size.saturating_sub(1))),
    };
    if first >= size {
        return Some(Part::Unsatisfiable);
    }
    (first <= last).then_some(Part::Bytes(first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-4", Some(Part::Bytes(0, 4))),
            ("bytes=5-", Some(Part::Bytes(5, 9))),
            ("bytes=-3", Some(Part::Bytes(7, 9))),
            ("bytes=-30", Some(Part::Bytes(0, 9))),
            ("bytes=8-100", Some(Part::Bytes(8, 9))),
            ("bytes=10-", Some(Part::Unsatisfiable)),
            ("bytes=-0", Some(Part::Unsatisfiable)),
            ("bytes=5-2", None),
            ("bytes=0-1,3-4", None),
            ("bytes=a-b", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(parse(text, 10), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Some(Part::Unsatisfiable));
    }

    #[test]
    fn nothing_but_the_directorys_own_files_has_a_plain_name() {
        for name in ["bzImage", "initrd", "ipxe-x86_64.efi"] {
            assert!(is_plain(name));
        }
        for name in [
            "",
            ".",
            "..",
            "../ca-key.pem",
            "a/b",
            "a\\b",
            ".hidden",
            "a%2fb",
            "a\0b",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_range_is_within_the_file(text in "bytes=[0-9]{0,21}-[0-9]{0,21}", size in 0_u64..100) {
            if let Some(Part::Bytes(first, last)) = parse(&text, size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }
}
