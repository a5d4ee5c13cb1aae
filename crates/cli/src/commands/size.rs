//! Sizes as people write them: `20G`, `20GB`, `512MiB`. A letter means a power of 1024, whatever follows it, as it does
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
    fn memory_is_in_mib_unless_it_says_otherwise() {
        for (text, mib) in [("512", 512), ("2G", 2048), ("2GB", 2048), ("512MiB", 512)] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for bad in ["", "1K", "1.0001G", "much"] {
            assert!(parse_mib(bad).is_err(), "{bad}");
        }
    }
}
