//! What an image's bytes say about themselves, read from untrusted input.
//!
//! Tenants bring images, and a host opens them. A qcow2 header can name another file to read through
//! (a backing file, an external data file), which on a host would be another tenant's disk or a secret;
//! so the header is read here, before anything is registered, and what names another file is refused.
//!
//! Sources: QEMU `docs/interop/qcow2.txt`; Linux `Documentation/arch/x86/boot.rst`; `elf(5)`.

use photon_resource::disk_format::{Foreign, is_qcow2};
use thiserror::Error;

#[cfg(test)]
mod tests;

mod kernel;
mod qcow2;

pub use kernel::{Kernel, check_initrd, inspect_kernel};
pub use qcow2::{CheckError, Qcow2, check_clusters, inspect_qcow2};

/// How much of a file's beginning the checks need: QEMU keeps a qcow2 header and its extensions within
/// the first cluster, at most 2 MiB; those that matter come first.
pub const HEAD_BYTES: usize = 64 * 1024;

/// The largest disk that a guest may see, in bytes (16 TiB, as for `Disk.size_bytes`).
pub const MAX_VIRTUAL_SIZE: u64 = 16 << 40;

/// Why content is not an acceptable image. Each reads as the end of "the image's disk …".
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    #[error("is empty")]
    Empty,
    #[error("is not qcow2: it begins with {found}, a qcow2 file with 514649fb")]
    NotQcow2 { found: String },
    /// A container that hosts do not read.
    #[error("is {0}")]
    Foreign(Foreign),
    #[error("is qcow2, but was announced as raw: import it with format IMAGE_FORMAT_QCOW2")]
    Qcow2AsRaw,
    #[error(
        "has {size} bytes, which is no multiple of 512: a raw disk has whole sectors, so it was cut off"
    )]
    RawNotSectors { size: u64 },
    #[error(
        "has qcow2 version {0}; versions 2 and 3 are accepted: qemu-img convert -O qcow2 IMAGE DISK.qcow2 makes one of them"
    )]
    Qcow2Version(u32),
    #[error(
        "has a backing file; flatten it first: qemu-img convert -O qcow2 IMAGE FLAT, and import FLAT"
    )]
    BackingFile,
    #[error(
        "keeps its data in an external file; put it into one: qemu-img convert -O qcow2 IMAGE FLAT, and import FLAT"
    )]
    ExternalDataFile,
    #[error("is encrypted (method {0}); import it decrypted")]
    Encrypted(u32),
    #[error(
        "has more tables than its {size} bytes can hold; repair it first: qemu-img check -r all IMAGE"
    )]
    SharedTables { size: u64 },
    #[error("is marked corrupt; repair it first: qemu-img check -r all IMAGE")]
    Corrupt,
    #[error("uses qcow2 features that are not known here (incompatible features {0:#x})")]
    UnknownFeatures(u64),
    #[error("has a qcow2 header in which {field} is {value}; {expected}")]
    BadHeader {
        field: &'static str,
        value: u64,
        expected: &'static str,
    },
    #[error("is larger for the guest than accepted: {size} bytes, at most 17592186044416 (16 TiB)")]
    TooLarge { size: u64 },
    #[error("is cut off: it speaks of {needed} bytes of itself, and has {size}")]
    Truncated { needed: u64, size: u64 },
    #[error("is neither a Linux bzImage nor a 64-bit x86 ELF vmlinux")]
    NotKernel,
    #[error(
        "is neither a cpio archive nor one compressed with gzip, xz, zstd, lz4, lzma, lzo or bzip2"
    )]
    NotInitrd,
}

/// What the first bytes already tell of a raw disk: [`photon_resource::disk_format::HEAD`] of them all, and
/// [`photon_resource::disk_format::SECTOR`] most.
pub fn raw_begins(head: &[u8]) -> Result<(), FormatError> {
    if is_qcow2(head) {
        return Err(FormatError::Qcow2AsRaw);
    }
    refuse(Foreign::in_head(head))
}

/// What the first bytes already tell of a qcow2 file, as for [`raw_begins`].
pub fn qcow2_begins(head: &[u8]) -> Result<(), FormatError> {
    if is_qcow2(head) {
        return Ok(());
    }
    refuse(Foreign::in_head(head))?;
    let found = head.iter().take(4).map(|byte| format!("{byte:02x}"));
    Err(FormatError::NotQcow2 {
        found: found.collect(),
    })
}

fn refuse(foreign: Option<Foreign>) -> Result<(), FormatError> {
    foreign.map_or(Ok(()), |foreign| Err(FormatError::Foreign(foreign)))
}

/// Checks a raw disk: `head` is its beginning, `tail` its last [`photon_resource::disk_format::TAIL`] bytes, `size` its
/// length in bytes. Gives the size a guest sees.
pub fn inspect_raw(head: &[u8], tail: &[u8], size: u64) -> Result<u64, FormatError> {
    if size == 0 {
        return Err(FormatError::Empty);
    }
    raw_begins(head)?;
    refuse(Foreign::in_tail(tail))?;
    if !size.is_multiple_of(512) {
        return Err(FormatError::RawNotSectors { size });
    }
    if size > MAX_VIRTUAL_SIZE {
        return Err(FormatError::TooLarge { size });
    }
    Ok(size)
}

/// A big-endian number at `offset`; `None` past the end.
fn be32(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

fn be64(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_be_bytes(field.try_into().ok()?))
}

fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    let field = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_le_bytes(field.try_into().ok()?))
}

fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(field.try_into().ok()?))
}
