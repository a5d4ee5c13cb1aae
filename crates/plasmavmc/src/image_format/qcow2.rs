//! The qcow2 header (QEMU `docs/interop/qcow2.txt`), all numbers big-endian.

use super::{FormatError, MAX_VIRTUAL_SIZE, be32, be64};

/// `QFI\xfb`.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

/// Length of the version 2 header, and the least of version 3.
const V2_LENGTH: usize = 72;
const V3_LENGTH: usize = 104;

/// Incompatible features: a reader that does not know a set bit must not open the file.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_EXTERNAL_DATA: u32 = 0x4441_5441;
/// QEMU itself writes fewer than ten; more is someone playing.
const MAX_EXTENSIONS: usize = 64;

/// What an acceptable header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2 {
    pub version: u32,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    pub cluster_bits: u32,
}

/// Checks a qcow2 file: `head` is its beginning (at least [`super::HEAD_BYTES`], or all of it), `size`
/// its length in bytes. What names another file is refused, and so is what the header shows to be cut off.
pub fn inspect_qcow2(head: &[u8], size: u64) -> Result<Qcow2, FormatError> {
    if size == 0 {
        return Err(FormatError::Empty);
    }
    if !head.starts_with(&MAGIC) {
        let found = head.iter().take(4).map(|byte| format!("{byte:02x}"));
        return Err(FormatError::NotQcow2 {
            found: found.collect(),
        });
    }
    let truncated = |needed: usize| FormatError::Truncated {
        needed: needed as u64,
        size,
    };
    let number32 = |offset| be32(head, offset).ok_or(truncated(V2_LENGTH));
    let number64 = |offset| be64(head, offset).ok_or(truncated(V2_LENGTH));

    let version = number32(4)?;
    if version != 2 && version != 3 {
        return Err(FormatError::Qcow2Version(version));
    }
    if number64(8)? != 0 || number32(16)? != 0 {
        return Err(FormatError::BackingFile);
    }
    let cluster_bits = number32(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return Err(FormatError::BadHeader {
            field: "cluster_bits",
            value: cluster_bits.into(),
            expected: "9 to 21 is accepted",
        });
    }
    let virtual_size = number64(24)?;
    if virtual_size == 0 {
        return Err(FormatError::BadHeader {
            field: "size",
            value: 0,
            expected: "a disk has at least one sector",
        });
    }
    if virtual_size > MAX_VIRTUAL_SIZE {
        return Err(FormatError::TooLarge { size: virtual_size });
    }
    let encryption = number32(32)?;
    if encryption != 0 {
        return Err(FormatError::Encrypted(encryption));
    }

    // The tables that every image has must lie inside the file, else it was cut off.
    let cluster = 1u64 << cluster_bits;
    inside(number64(40)?, u64::from(number32(36)?) * 8, size)?;
    inside(number64(48)?, u64::from(number32(56)?) * cluster, size)?;

    let header_length = if version == 3 {
        let features = be64(head, 72).ok_or(truncated(V3_LENGTH))?;
        if features & CORRUPT != 0 {
            return Err(FormatError::Corrupt);
        }
        if features & EXTERNAL_DATA != 0 {
            return Err(FormatError::ExternalDataFile);
        }
        let unknown = features & !(DIRTY | COMPRESSION_TYPE | EXTENDED_L2);
        if unknown != 0 {
            return Err(FormatError::UnknownFeatures(unknown));
        }
        let length = be32(head, 100).ok_or(truncated(V3_LENGTH))?;
        if (length as usize) < V3_LENGTH || !length.is_multiple_of(8) || u64::from(length) > cluster
        {
            return Err(FormatError::BadHeader {
                field: "header_length",
                value: length.into(),
                expected: "a multiple of 8, from 104 to the size of a cluster, is accepted",
            });
        }
        length as usize
    } else {
        V2_LENGTH
    };
    refuse_extensions(head, header_length, size)?;

    Ok(Qcow2 {
        version,
        virtual_size,
        cluster_bits,
    })
}

/// A table of `length` bytes at `offset` ends within the file.
fn inside(offset: u64, length: u64, size: u64) -> Result<(), FormatError> {
    let needed = offset.saturating_add(length);
    if needed > size {
        return Err(FormatError::Truncated { needed, size });
    }
    Ok(())
}

/// Walks the header extensions: one that speaks of another file is refused even if the header's fields
/// do not, since programs differ in which of the two they believe. The list must end before what was
/// read of the file does: what cannot be read to its end is not vouched for.
fn refuse_extensions(head: &[u8], start: usize, size: u64) -> Result<(), FormatError> {
    let mut offset = start;
    for _ in 0..MAX_EXTENSIONS {
        let (Some(kind), Some(length)) = (be32(head, offset), be32(head, offset.saturating_add(4)))
        else {
            // A file may end right behind its header, without even an end mark (version 2 allows it).
            return if offset as u64 >= size {
                Ok(())
            } else {
                Err(FormatError::BadHeader {
                    field: "the position of a header extension",
                    value: offset as u64,
                    expected: "all of them within the first 64 KiB are accepted",
                })
            };
        };
        match kind {
            EXTENSION_END => return Ok(()),
            EXTENSION_EXTERNAL_DATA => return Err(FormatError::ExternalDataFile),
            EXTENSION_BACKING_FORMAT => return Err(FormatError::BackingFile),
            _ => {}
        }
        // Data is padded to a multiple of 8.
        let padded = (length as usize).saturating_add(7) & !7;
        offset = offset.saturating_add(8).saturating_add(padded);
    }
    Err(FormatError::BadHeader {
        field: "the number of header extensions",
        value: MAX_EXTENSIONS as u64 + 1,
        expected: "at most 64 are accepted",
    })
}
