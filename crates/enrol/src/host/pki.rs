//! The directory with a host's certificates and key.
//!
//! A key is of no use without its certificate, so the two change together: both are written to `next.new/`, which
//! becomes `next/` by one rename. From then on the change has happened; [`Pki::finish`] moves the files to their
//! places, `host.pem` last, and a move that was cut short is finished by the next command.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Failure;

const CA: &str = "ca.pem";
const CERTIFICATE: &str = "host.pem";
const KEY: &str = "host-key.pem";
/// What a host enrols with: from its installation, or from an operator.
pub const TOKEN: &str = "join-token";
/// The key of a certificate that was asked for by token and has not come yet.
const ENROLMENT_KEY: &str = "enrolment-key.pem";
const NEXT: &str = "next";
const UNFINISHED: &str = "next.new";

/// In this order, so that who watches `host.pem` sees the change when it is complete.
const MOVED: [&str; 3] = [CA, KEY, CERTIFICATE];

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key: never shown.
    pub key: String,
}

/// See the module.
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Nothing is read yet.
    pub fn at(dir: &Path) -> Self {
        Pki {
            dir: dir.to_owned(),
        }
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Finishes a change that was decided and then cut short, and takes away what was never decided.
    ///
    /// # Errors
    /// Passing: what the file system says.
    pub fn finish(&self) -> Result<(), Failure> {
        if !self.has_token() {
            // Its token is gone: it must not be taken for the key of the next one.
            self.remove(ENROLMENT_KEY)?;
        }
        let unfinished = self.path(UNFINISHED);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Failure::io("remove", &unfinished, &error));
            }
            _ => {}
        }
        let next = self.path(NEXT);
        if !next.is_dir() {
            return Ok(());
        }
        for name in MOVED {
            match fs::rename(next.join(name), self.path(name)) {
                // Moved already, when this was cut short.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::io("move", &next.join(name), &error)),
                Ok(()) => self.sync()?,
            }
        }
        fs::remove_dir(&next).map_err(|error| Failure::io("remove", &next, &error))?;
        self.sync()
    }

    /// Changes key, certificate and authority together.
    ///
    /// # Errors
    /// Passing: what the file system says. Before the change is decided, all stays as it was.
    pub fn replace(&self, pair: &Pair, ca: &str) -> Result<(), Failure> {
        self.finish()?;
        let unfinished = self.path(UNFINISHED);
        DirBuilder::new()
            .mode(0o700)
            .create(&unfinished)
            .map_err(|error| Failure::io("make", &unfinished, &error))?;
        for (name, content, mode) in [
            (CA, ca, 0o644),
            (KEY, &pair.key, 0o600),
            (CERTIFICATE, &pair.certificate, 0o644),
        ] {
            write(&unfinished.join(name), content, mode)?;
        }
        let opened = File::open(&unfinished).and_then(|directory| directory.sync_all());
        opened.map_err(|error| Failure::io("write", &unfinished, &error))?;
        let next = self.path(NEXT);
        fs::rename(&unfinished, &next).map_err(|error| Failure::io("move", &unfinished, &error))?;
        self.sync()?;
        self.finish()
    }

    /// The authority that the installation pinned.
    ///
    /// # Errors
    /// Lasting: it is not there.
    pub fn authority(&self) -> Result<String, Failure> {
        self.read(CA)?.ok_or_else(|| {
            Failure::lasting(format!(
                "{} is missing: the installation puts the cluster's authority there, and without it nobody can be \
                 trusted; run `photon machine reinstall` for this machine",
                self.path(CA).display()
            ))
        })
    }

    /// The host's certificate and key, if both are there.
    ///
    /// # Errors
    /// Passing: what the file system says.
    pub fn pair(&self) -> Result<Option<Pair>, Failure> {
        let (certificate, key) = (self.read(CERTIFICATE)?, self.read(KEY)?);
        Ok(certificate
            .zip(key)
            .map(|(certificate, key)| Pair { certificate, key }))
    }

    /// Whether `pair` is what the token brought: the power went before both were forgotten.
    ///
    /// # Errors
    /// Passing: what the file system says.
    pub fn is_enrolled_as(&self, pair: &Pair) -> Result<bool, Failure> {
        Ok(self.read(ENROLMENT_KEY)?.is_some_and(|key| key == pair.key))
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.path(TOKEN).exists()
    }

    /// The token.
    ///
    /// # Errors
    /// Lasting: there is none.
    pub fn token(&self) -> Result<String, Failure> {
        let token = self.read(TOKEN)?.ok_or_else(|| {
            Failure::lasting(format!(
                "{} is missing: an installation by the provisioner leaves one, see `photon machine approve` and \
                 `photon machine reinstall`; for a machine that was a host, `photon machine token` prints one",
                self.path(TOKEN).display()
            ))
        })?;
        Ok(token.trim().to_owned())
    }

    /// Once there is a certificate, the token and the key that it came with are of no more use.
    ///
    /// # Errors
    /// Passing: what the file system says.
    pub fn forget_token(&self) -> Result<(), Failure> {
        // In this order: with the key alone nothing happens, see `finish`.
        for name in [TOKEN, ENROLMENT_KEY] {
            self.remove(name)?;
        }
        self.sync()
    }

    fn remove(&self, name: &str) -> Result<(), Failure> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Failure::io("remove", &self.path(name), &error))
            }
            _ => Ok(()),
        }
    }

    /// The key to enrol with: what an earlier try made, else one that `make` makes and that is on the disk before it
    /// is used.
    ///
    /// # Errors
    /// Those of `make`. Passing: what the file system says.
    pub fn enrolment_key(
        &self,
        make: impl FnOnce() -> Result<String, Failure>,
    ) -> Result<String, Failure> {
        if let Some(key) = self.read(ENROLMENT_KEY)? {
            return Ok(key);
        }
        let key = make()?;
        let (path, new) = (
            self.path(ENROLMENT_KEY),
            self.path(&format!("{ENROLMENT_KEY}.new")),
        );
        write(&new, &key, 0o600)?;
        fs::rename(&new, &path).map_err(|error| Failure::io("move", &new, &error))?;
        self.sync()?;
        Ok(key)
    }

    fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::io("read", &path, &error)),
        }
    }

    /// Makes renames last over a power cut.
    fn sync(&self) -> Result<(), Failure> {
        File::open(&self.dir)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| Failure::io("write", &self.dir, &error))
    }
}

/// A whole file, on the disk when this returns; nobody else can have read it before it has its mode.
fn write(path: &Path, content: &str, mode: u32) -> Result<(), Failure> {
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        // A umask takes away from what open(2) was asked for; a leftover has the mode that it had.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|error| Failure::io("write", path, &error))
}

#[cfg(test)]
mod tests;
