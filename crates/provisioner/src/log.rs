//! What installers write, for people: read in pieces as it grows, and its end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The most that is read at once.
const PIECE: u64 = 64 << 10;

/// Follows a file that grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    at: u64,
    /// The beginning of a character whose rest has not been written yet.
    rest: Vec<u8>,
}

impl Follower {
    /// From the beginning of `path`, which need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            at: 0,
            rest: Vec::new(),
        }
    }

    /// What was written since the last call, at most 64 KiB; empty: nothing. A file that became shorter is read from
    /// its beginning. Blocks.
    pub fn more(&mut self) -> std::io::Result<String> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
            file => file?,
        };
        if file.metadata()?.len() < self.at {
            self.at = 0;
            self.rest.clear();
        }
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = std::mem::take(&mut self.rest);
        self.at += u64::try_from(file.take(PIECE).read_to_end(&mut bytes)?).unwrap_or(0);
        let whole = whole_characters(&bytes);
        self.rest = bytes.split_off(whole);
        Ok(readable(&bytes))
    }
}

/// How many bytes at the beginning are not part of a character that is cut off at the end.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // Invalid in the middle: what is cut off at the end may be at most three bytes.
        Err(_) => bytes.len(),
        Ok(_) => bytes.len(),
    }
}

/// The last lines of a file, at most `most` bytes; empty if it can't be read.
pub fn tail(path: &Path, most: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        if length > most {
            // Not from the middle of a line, unless there is but one.
            let line = bytes.iter().position(|byte| *byte == b'\n');
            bytes.drain(..line.map_or(0, |at| at + 1));
        }
        Ok(bytes)
    };
    let text = readable(&read().unwrap_or_default());
    text.trim_end().to_owned()
}

/// Text without what would drive a terminal: control characters but line ends and tabs, and ANSI sequences (ECMA-48).
fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                // CSI: parameters, then one final byte of @ to ~.
                if chars.next_if_eq(&'[').is_some() {
                    while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                }
                chars.next();
            }
            '\n' | '\t' => kept.push(c),
            '\r' => {
                if chars.peek() != Some(&'\n') {
                    kept.push('\n');
                }
            }
            c if c.is_control() => {}
            c => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_growing_file_is_read_once_and_characters_stay_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut follower = Follower::new(path.clone());
        assert_eq!(follower.more().unwrap(), "");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\n\xc3").unwrap();
        assert_eq!(follower.more().unwrap(), "one\n");
        file.write_all(b"\xbc\x1b[31mred\x1b[0m\n").unwrap();
        assert_eq!(follower.more().unwrap(), "üred\n");
        assert_eq!(follower.more().unwrap(), "");
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(follower.more().unwrap(), "new\n");
    }

    #[test]
    fn a_tail_is_of_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(tail(&path, 10), "");
        std::fs::write(&path, "first line\nsecond\nthird\n").unwrap();
        assert_eq!(tail(&path, 4096), "first line\nsecond\nthird");
        assert_eq!(tail(&path, 16), "second\nthird");
        std::fs::write(&path, "x".repeat(100)).unwrap();
        assert_eq!(tail(&path, 16), "x".repeat(16));
    }

    proptest! {
        #[test]
        fn nothing_that_drives_a_terminal_passes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = readable(&bytes);
            prop_assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
        }
    }
}
