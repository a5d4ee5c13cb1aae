//! The server's own key, under which secrets are stored that must be had again: signing keys and S3 secrets.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

const KEY_BYTES: usize = 32;

/// Why the server's key can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    #[error("the server key {} can't be used: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the server key {} can be read by others (mode {mode:o}): make it 0600 and, if others had access, \
         rotate the signing keys and S3 access keys",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the server key {} has {found} bytes, not {KEY_BYTES}: restore it from a backup", path.display())]
    Damaged { path: PathBuf, found: usize },
    #[error(
        "the server key {} is missing, but the store holds secrets that are sealed under it: restore it \
         from a backup",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error("the system gives no random numbers")]
    NoRandomness,
}

/// A secret can't be sealed or opened: another key sealed it, or for another place, or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed secret can't be opened with this server's key")]
pub struct SealError;

/// Seals secrets with AES-256-GCM (NIST SP 800-38D) under a random nonce each.
pub struct ServerKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(secret)")
    }
}

impl ServerKey {
    /// Reads the key, or makes it (mode 0600) where `may_create` says that nothing is sealed yet.
    pub fn open(path: &Path, may_create: bool) -> Result<Self, ServerKeyError> {
        let io = |source| ServerKeyError::Io {
            path: path.to_owned(),
            source,
        };
        match fs::metadata(path) {
            Ok(metadata) => {
                let mode = metadata.mode() & 0o7777;
                if mode & 0o077 != 0 {
                    return Err(ServerKeyError::Exposed {
                        path: path.to_owned(),
                        mode,
                    });
                }
                Self::from_bytes(path, &fs::read(path).map_err(io)?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                let bytes = random_bytes::<KEY_BYTES>().ok_or(ServerKeyError::NoRandomness)?;
                create_durably(path, &bytes).map_err(io)?;
                Self::from_bytes(path, &bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ServerKeyError::Missing {
                path: path.to_owned(),
            }),
            Err(error) => Err(io(error)),
        }
    }

    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ServerKeyError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| ServerKeyError::Damaged {
            path: path.to_owned(),
            found: bytes.len(),
        })?;
        Ok(Self {
            key: LessSafeKey::new(key),
            random: SystemRandom::new(),
        })
    }

    /// Seals `secret` for the record at `place`; elsewhere it can't be opened.
    pub fn seal(&self, place: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError)?;
        let mut sealed = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| SealError)?;
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        Ok(out)
    }

    /// The secret that [`seal`](Self::seal) sealed for `place`.
    pub fn open_sealed(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError)?;
        let mut buffer = sealed.to_vec();
        let secret = self
            .key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut buffer)
            .map_err(|_| SealError)?;
        Ok(secret.to_vec())
    }
}

/// Random bytes from the system; `None` if it gives none.
pub(crate) fn random_bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// Makes a file of mode 0600 that was not there, complete or not at all, and on the disk when this returns.
pub(crate) fn create_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = directory.join(format!(".{name}.{}", uuid::Uuid::new_v4()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        // Unlike a rename, a link does not replace what is there.
        fs::hard_link(&partial, path)?;
        fs::File::open(directory)?.sync_all()
    })();
    let removed = fs::remove_file(&partial);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_opens_at_its_place_with_its_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server-key");
        let key = ServerKey::open(&path, true).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let sealed = key.seal("signing-key/1", b"secret").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let again = ServerKey::open(&path, false).unwrap();
        assert_eq!(
            again.open_sealed("signing-key/1", &sealed).unwrap(),
            b"secret"
        );
        assert_eq!(again.open_sealed("signing-key/2", &sealed), Err(SealError));
        let other = ServerKey::open(&dir.path().join("other"), true).unwrap();
        assert_eq!(other.open_sealed("signing-key/1", &sealed), Err(SealError));
        for end in 0..sealed.len() {
            assert_eq!(
                key.open_sealed("signing-key/1", &sealed[..end]),
                Err(SealError)
            );
        }
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_gone_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server-key");
        let missing = ServerKey::open(&path, false).unwrap_err();
        assert!(
            matches!(missing, ServerKeyError::Missing { .. }),
            "{missing}"
        );
        ServerKey::open(&path, true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = ServerKey::open(&path, true).unwrap_err().to_string();
        assert!(exposed.contains("mode 640"), "{exposed}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        let damaged = ServerKey::open(&path, true).unwrap_err().to_string();
        assert!(damaged.contains("5 bytes"), "{damaged}");
    }

    #[test]
    fn a_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        create_durably(&path, b"first").unwrap();
        create_durably(&path, b"second").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
