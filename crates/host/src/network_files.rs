//! networkd's configuration files that one agent owns: all files of a directory whose name has its prefix.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::{Error, Result, durable};

/// Where networkd looks for configuration that does not outlive a boot (`systemd.network(5)`).
pub const RUNTIME_DIRECTORY: &str = "/run/systemd/network";

/// The files with a prefix, by name.
pub trait NetworkFiles: Send + Sync {
    /// Names and contents. A file that can't be read as text has the contents `None`.
    fn read(&self) -> Result<BTreeMap<String, Option<String>>>;
    /// Replaces or adds one. It is whole or not there, never half.
    fn write(&self, name: &str, contents: &str) -> Result<()>;
    /// Removes one, if it is there.
    fn remove(&self, name: &str) -> Result<()>;
}

/// The files of a directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    prefix: &'static str,
}

impl Directory {
    /// Those in `path` whose name begins with `prefix`; others are neither read nor touched.
    pub fn new(path: impl Into<PathBuf>, prefix: &'static str) -> Self {
        Self {
            path: path.into(),
            prefix,
        }
    }
}

impl NetworkFiles for Directory {
    fn read(&self) -> Result<BTreeMap<String, Option<String>>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            other => other.map_err(Error::file("read", &self.path))?,
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(Error::file("read", &self.path))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.starts_with(self.prefix) {
                continue;
            }
            let contents = match fs::read(entry.path()) {
                Ok(bytes) => String::from_utf8(bytes).ok(),
                // Removed meanwhile, or a dangling link: both are "not as it should be".
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Error::file("read", entry.path())(error)),
            };
            files.insert(name, contents);
        }
        Ok(files)
    }

    fn write(&self, name: &str, contents: &str) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::file("create", &self.path))?;
        durable::write_volatile(&self.path.join(name), contents.as_bytes(), 0o644)
    }

    fn remove(&self, name: &str) -> Result<()> {
        durable::remove(&self.path.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_and_touches_only_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("network");
        let files = Directory::new(&path, "50-photon-");
        assert!(files.read().unwrap().is_empty(), "no directory yet");
        files.write("50-photon-pb1.netdev", "[NetDev]\n").unwrap();
        fs::write(path.join("10-uplink.network"), "[Match]\n").unwrap();
        fs::write(path.join("50-photon-odd.network"), [0xff, 0xfe]).unwrap();
        let seen = files.read().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen["50-photon-pb1.netdev"].as_deref(), Some("[NetDev]\n"));
        assert_eq!(seen["50-photon-odd.network"], None);
        files.remove("50-photon-pb1.netdev").unwrap();
        files.remove("50-photon-pb1.netdev").unwrap();
        assert_eq!(files.read().unwrap().len(), 1);
    }
}
