//! Files that are, after a power cut, either as they were or as they should be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::{Error, Result};

/// Replaces `path` by `contents` with mode `mode` (for example `0o600`): a temporary file beside it is
/// written and synced, renamed over it, and the directory synced. When this returns, the change survives a
/// power cut. Blocks; the directory must exist.
///
/// Errors: [`Error::File`]; the old contents are still there then.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    replace(path, contents, mode, true)
}

/// Like [`write`], without waiting for the disk: for `/run`, which a power cut empties anyway.
///
/// Errors: [`Error::File`]; the old contents are still there then.
pub fn write_volatile(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    replace(path, contents, mode, false)
}

/// Removes `path` if it is there.
///
/// Errors: [`Error::File`], not if it was absent.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn replace(path: &Path, contents: &[u8], mode: u32, sync: bool) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Begins with a dot: networkd and others skip hidden files.
    name.push(format!(".{}.new", std::process::id()));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = directory.join(hidden);
    let result = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(contents)?;
        if sync {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if sync {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    })();
    result.map_err(|error| {
        // What is left of the attempt is of no use; if it can't be removed, the next attempt truncates it.
        let _ = fs::remove_file(&temporary);
        Error::file("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        write(&path, b"a longer first state", 0o600).unwrap();
        write(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_the_file_that_can_not_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let error = write(&directory.path().join("absent/state"), b"", 0o600).unwrap_err();
        assert!(error.to_string().contains("absent/state"), "{error}");
    }
}
