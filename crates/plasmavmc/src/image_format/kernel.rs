//! Linux kernels and initrds, as far as a direct boot needs them to be what they claim.

use super::{FormatError, le16, le32, le64};

/// What kind of kernel the content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A bzImage with this version of the boot protocol (`0x020f` is 2.15).
    BzImage { protocol: u16 },
    /// An uncompressed vmlinux, entered by its PVH note.
    Elf,
}

/// Checks a kernel: `head` is its beginning, `size` its length in bytes.
pub fn inspect_kernel(head: &[u8], size: u64) -> Result<Kernel, FormatError> {
    if size == 0 {
        return Err(FormatError::Empty);
    }
    if head.starts_with(b"\x7fELF") {
        return elf(head, size);
    }
    bz_image(head, size)
}

/// The setup header of the x86 boot protocol, at 0x1f1.
fn bz_image(head: &[u8], size: u64) -> Result<Kernel, FormatError> {
    let marked = le16(head, 0x1fe) == Some(0xaa55) && head.get(0x202..0x206) == Some(b"HdrS");
    let (Some(protocol), Some(paragraphs)) = (le16(head, 0x206), le32(head, 0x1f4)) else {
        return Err(FormatError::NotKernel);
    };
    if !marked {
        return Err(FormatError::NotKernel);
    }
    // "If the setup_sects field contains 0, the real value is 4"; plus the boot sector itself.
    let setup_sectors = match head[0x1f1] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let needed = (setup_sectors + 1) * 512 + u64::from(paragraphs) * 16;
    // syssize counts 16-byte paragraphs, rounded up.
    if size + 15 < needed {
        return Err(FormatError::Truncated { needed, size });
    }
    Ok(Kernel::BzImage { protocol })
}

/// ELF64, little-endian, x86-64; its program headers must lie inside the file.
fn elf(head: &[u8], size: u64) -> Result<Kernel, FormatError> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    const MACHINE_X86_64: u16 = 62;
    if head.get(4) != Some(&CLASS_64)
        || head.get(5) != Some(&LITTLE_ENDIAN)
        || le16(head, 18) != Some(MACHINE_X86_64)
    {
        return Err(FormatError::NotKernel);
    }
    let (Some(offset), Some(entry), Some(count)) = (le64(head, 32), le16(head, 54), le16(head, 56))
    else {
        return Err(FormatError::NotKernel);
    };
    let needed = offset.saturating_add(u64::from(entry) * u64::from(count));
    if needed > size {
        return Err(FormatError::Truncated { needed, size });
    }
    Ok(Kernel::Elf)
}

/// Checks that an initrd begins as one does that the kernel unpacks (`lib/decompress.c`,
/// `init/initramfs.c`).
pub fn check_initrd(head: &[u8], size: u64) -> Result<(), FormatError> {
    const BEGINNINGS: [&[u8]; 10] = [
        b"070701",
        b"070702",
        b"\x1f\x8b",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
        b"\x02\x21\x4c\x18",
        b"\x04\x22\x4d\x18",
        b"\x5d\0\0",
        b"\x89LZO",
        b"BZh",
    ];
    if size == 0 {
        return Err(FormatError::Empty);
    }
    if BEGINNINGS
        .iter()
        .any(|beginning| head.starts_with(beginning))
    {
        return Ok(());
    }
    Err(FormatError::NotInitrd)
}
