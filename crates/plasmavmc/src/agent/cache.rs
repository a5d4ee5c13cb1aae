//! The desired state on this host's disk: what VMs are started from after a power cut, with nobody to ask.

use std::path::{Path, PathBuf};

use photon_host::durable;
use serde::{Deserialize, Serialize};

use super::desired::Desired;

/// Version of the file's form. An older form is brought up to date in [`decode`].
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    desired: &'a Desired,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    desired: serde_json::Value,
}

/// Why a desired state could not be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("read {path}: {source}", path = path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is no desired state: {reason}", path = path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error(transparent)]
    Host(#[from] photon_host::Error),
}

/// Writes it so that it survives a power cut, readable by root alone: user data may hold secrets. Blocks.
pub fn write(path: &Path, desired: &Desired) -> Result<(), CacheError> {
    let written = Written {
        version: VERSION,
        desired,
    };
    let bytes = serde_json::to_vec(&written).map_err(|error| CacheError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(durable::write(path, &bytes, 0o600)?)
}

/// Reads it; `None` when there is none yet. Blocks.
pub fn read(path: &Path) -> Result<Option<Desired>, CacheError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(CacheError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
        Ok(bytes) => bytes,
    };
    decode(&bytes)
        .map(Some)
        .map_err(|reason| CacheError::Malformed {
            path: path.to_owned(),
            reason,
        })
}

fn decode(bytes: &[u8]) -> Result<Desired, String> {
    let read: Read = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if read.version != VERSION {
        return Err(format!(
            "its version is {}, and this program knows {VERSION}",
            read.version
        ));
    }
    serde_json::from_value(read.desired).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn desired() -> Desired {
        let vm = serde_json::json!({
            "org": "acme", "project": "web", "name": "a", "hostname": "a",
            "vcpus": 1, "memory_mib": 64, "power": "on", "user_data": "password: hunter2",
            "kernel": {"kernel": {"sha256": "0".repeat(64), "size_bytes": 1, "source": {"path": "/k"}}},
        });
        Desired {
            revision: 7,
            vms: [(
                "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap(),
                serde_json::from_value(vm).unwrap(),
            )]
            .into(),
            refused: Default::default(),
        }
    }

    #[test]
    fn comes_back_as_it_was_and_is_for_root_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("desired.json");
        assert!(read(&path).unwrap().is_none());
        write(&path, &desired()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(desired()));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_newer_form_is_refused_and_not_taken_for_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("desired.json");
        std::fs::write(&path, r#"{"version": 2, "desired": {}}"#).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("version is 2"), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", desired()).contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = decode(&bytes);
        }
    }
}
