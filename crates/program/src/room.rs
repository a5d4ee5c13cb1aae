//! What is left of a file system. Tenants' disks and the servers' stores may lie on the same one; what ext4 reserves of it is
//! for root and for the stores' servers (`modules/disks.nix`), and what is not a store must not take it.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

/// What images leave of a file system, in bytes, also where nothing is reserved.
pub const SPARE: u64 = 64 << 20;

/// Bytes that a program without privileges may still write to the file system of `path` (statvfs(3), `f_bavail`).
///
/// Errors: `path` is not there, or can't be reached.
pub fn left(path: &Path) -> io::Result<u64> {
    let about = statvfs(path)?;
    Ok(about.blocks_available() * about.fragment_size())
}

/// Whether `bytes` may be written to the file system of `path` without touching [`SPARE`] and the reserve.
///
/// Errors: `StorageFull`: they may not; those of [`left`].
pub fn expect(path: &Path, bytes: u64) -> io::Result<()> {
    match left(path)? {
        left if left >= bytes.saturating_add(SPARE) => Ok(()),
        _ => Err(io::ErrorKind::StorageFull.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_others_is_no_room() {
        let here = Path::new("/");
        let there = left(here).unwrap();
        assert!(
            there > 2 * SPARE,
            "{there} bytes are left: too few to test with"
        );
        expect(here, 1 << 20).unwrap();
        let much = expect(here, there * 2).unwrap_err();
        assert_eq!(much.kind(), io::ErrorKind::StorageFull);
        let missing = expect(Path::new("/not/there"), 1).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
