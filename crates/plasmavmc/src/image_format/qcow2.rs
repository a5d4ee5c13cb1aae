//! The qcow2 header (QEMU `docs/interop/qcow2.txt`), all numbers big-endian.

use std::io;

use thiserror::Error;

use super::{FormatError, MAX_VIRTUAL_SIZE, be32, be64, qcow2_begins};

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

/// QEMU opens no level 1 table of more than 32 MiB (`QCOW_MAX_L1_SIZE`).
const MAX_L1_ENTRIES: u32 = 4 << 20;

/// Bits of a level 1 entry, and of a plain level 2 entry, that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// A level 2 entry's cluster is compressed.
const COMPRESSED: u64 = 1 << 62;
/// Level 1 entries that are read at once.
const L1_PIECE: u64 = 8192;

/// What an acceptable header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Qcow2 {
    pub version: u32,
    /// Size of the disk that the guest sees, in bytes.
    pub virtual_size: u64,
    pub cluster_bits: u32,
    /// The table of tables: where it is, and how many entries it has.
    l1_offset: u64,
    l1_entries: u32,
    /// Level 2 entries have 16 bytes instead of 8.
    extended_l2: bool,
}

/// Checks a qcow2 file: `head` is its beginning (at least [`super::HEAD_BYTES`], or all of it), `size`
/// its length in bytes. What names another file is refused, and so is what the header shows to be cut off.
pub fn inspect_qcow2(head: &[u8], size: u64) -> Result<Qcow2, FormatError> {
    if size == 0 {
        return Err(FormatError::Empty);
    }
    qcow2_begins(head)?;
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
    let (l1_entries, l1_offset) = (number32(36)?, number64(40)?);
    inside(l1_offset, u64::from(l1_entries) * 8, size)?;
    if l1_entries > MAX_L1_ENTRIES {
        return Err(FormatError::BadHeader {
            field: "l1_size",
            value: l1_entries.into(),
            expected: "at most 4194304 is accepted",
        });
    }
    inside(number64(48)?, u64::from(number32(56)?) * cluster, size)?;

    let mut extended_l2 = false;
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
        extended_l2 = features & EXTENDED_L2 != 0;
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
        l1_offset,
        l1_entries,
        extended_l2,
    })
}

/// Why the clusters of a file are not known to be good.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// Walks the tables of an accepted file of `size` bytes: no cluster that the guest may read begins beyond the end of the
/// file, which is how a download that broke off looks. `read` fills a buffer from an offset that lies in the file.
///
/// Reads at most the file once, 2 MiB at a time. Of the last cluster a part may be missing, which `qemu-img check`
/// allows too: it is not always written whole.
pub fn check_clusters(
    header: &Qcow2,
    size: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<(), CheckError> {
    let cluster = 1_u64 << header.cluster_bits;
    let mut table = vec![0; 1 << header.cluster_bits];
    let mut tables = 0_u64;
    let mut first = 0;
    while first < u64::from(header.l1_entries) {
        let entries = L1_PIECE.min(u64::from(header.l1_entries) - first);
        let mut piece = vec![0; entries as usize * 8];
        read(header.l1_offset + first * 8, &mut piece)?;
        for entry in numbers(&piece, 8) {
            let offset = entry & OFFSET;
            if offset == 0 {
                continue;
            }
            inside(offset, cluster, size)?;
            // Tables are not shared, so they fit into the file together. Without this a small file could have the
            // same table read four million times.
            tables += 1;
            if tables.saturating_mul(cluster) > size {
                return Err(FormatError::SharedTables { size }.into());
            }
            read(offset, &mut table)?;
            check_table(header, &table, size)?;
        }
        first += entries;
    }
    Ok(())
}

fn check_table(header: &Qcow2, table: &[u8], size: u64) -> Result<(), FormatError> {
    let cluster = 1_u64 << header.cluster_bits;
    // "Compressed Clusters Descriptor": the offset has what the number of sectors leaves.
    let compressed_offset = (1_u64 << (62 - (header.cluster_bits - 8))) - 1;
    for entry in numbers(table, if header.extended_l2 { 16 } else { 8 }) {
        let (offset, length) = if entry & COMPRESSED == 0 {
            (entry & OFFSET, cluster)
        } else {
            (entry & compressed_offset, 1)
        };
        if offset >= size {
            let needed = offset.saturating_add(length);
            return Err(FormatError::Truncated { needed, size });
        }
    }
    Ok(())
}

/// The big-endian number at the beginning of every `width` bytes.
fn numbers(table: &[u8], width: usize) -> impl Iterator<Item = u64> {
    table.chunks_exact(width).filter_map(|entry| be64(entry, 0))
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
