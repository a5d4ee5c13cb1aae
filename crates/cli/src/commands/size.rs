//! Sizes and lengths of time as people write them: `20G`, `20GB`, `512MiB`. A letter means a power of 1024, whatever follows it, as it does
//! for qemu-img, LVM and most who sell memory.

use parse_size::Config;

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// Bytes; a number alone is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|_| "expected bytes or a number with K, M, G or T, such as 20G".to_owned())
}

/// MiB; a number alone is MiB.
pub fn parse_mib(text: &str) -> Result<u64, String> {
    if let Ok(mib) = text.parse() {
        return Ok(mib);
    }
    let wrong = || "expected MiB or a number with M, G or T, such as 2G".to_owned();
    let bytes = parse_bytes(text).map_err(|_| wrong())?;
    if bytes.is_multiple_of(MIB) {
        Ok(bytes / MIB)
    } else {
        Err(wrong())
    }
}

/// Bytes for people, in the largest unit of which there is one: `20GiB`, `1.5TiB`. Tenths are cut off, not rounded up.
pub fn show_bytes(bytes: u64) -> String {
    let units = ["", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let at = bytes.checked_ilog2().unwrap_or(0) as usize / 10;
    let one = 1_u64 << (10 * at);
    let (whole, rest) = (bytes / one, bytes % one);
    // In 128 bits, because ten times a part of an EiB has more than 64.
    let tenths = u128::from(rest) * 10 / u128::from(one);
    match tenths {
        0 => format!("{whole}{}", units[at]),
        tenths => format!("{whole}.{tenths}{}", units[at]),
    }
}

/// MiB for people.
pub fn show_mib(mib: u64) -> String {
    show_bytes(mib.saturating_mul(MIB))
}

/// Seconds of a length of time: a number alone is seconds, `90s`, `5m` and `8h` say what they are.
pub fn parse_seconds(text: &str) -> Result<u32, String> {
    let wrong = || "expected seconds or a number with s, m, h or d, such as 5m".to_owned();
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let seconds = match days {
        Some(days) => i64::checked_mul(days, 86_400).ok_or_else(wrong)?,
        None => text
            .parse::<jiff::SignedDuration>()
            .map_err(|_| wrong())?
            .as_secs(),
    };
    u32::try_from(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("20G", 20 << 30),
            ("20GB", 20 << 30),
            ("20 GiB", 20 << 30),
            ("512", 512),
            ("1MiB", 1 << 20),
            ("1.5g", 3 << 29),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "G", "-1", "10X", "99999999T"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_units_that_they_are_read_with() {
        for (bytes, text) in [
            (0, "0"),
            (512, "512"),
            (1 << 20, "1MiB"),
            (20 << 40, "20TiB"),
            (3 << 29, "1.5GiB"),
            ((1 << 30) + 1, "1GiB"),
            (u64::MAX, "15.9EiB"),
        ] {
            assert_eq!(show_bytes(bytes), text, "{bytes}");
        }
        assert_eq!(parse_bytes(&show_bytes(3 << 29)), Ok(3 << 29));
        assert_eq!(show_mib(1 << 20), "1TiB");
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("30", 30),
            ("90s", 90),
            ("5m", 300),
            ("8h", 28_800),
            ("1d", 86_400),
        ] {
            assert_eq!(parse_seconds(text), Ok(seconds), "{text}");
        }
        for bad in ["", "-5m", "soon", "5x", "99999999999h"] {
            assert!(parse_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn memory_is_in_mib_unless_it_says_otherwise() {
        for (text, mib) in [("512", 512), ("2G", 2048), ("2GB", 2048), ("512MiB", 512)] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for bad in ["", "1K", "1.0001G", "much"] {
            assert!(parse_mib(bad).is_err(), "{bad}");
        }
    }
}
