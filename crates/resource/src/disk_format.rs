//! What a disk's file is, told from its first bytes and its last: for what `photon` sends and what the server takes.
//!
//! Whatever is nothing of this counts as raw, and a guest would be given the container instead of the disk in it.
//! An ISO 9660 image is no container: it is a disk's bytes, a hybrid one boots as it is, and one with data alone can be
//! mounted. One that boots as a CD alone never does here, where VMs have no CD drive.
//!
//! Sources: the `*_probe` functions of QEMU's `block/` say what each format begins with; for what is no disk,
//! RFC 1952 (gzip), RFC 8878 (zstd), the formats' own descriptions, POSIX `pax` (tar), and "El Torito" Bootable CD-ROM
//! Format Specification 1.0, section 2.0.

use std::fmt;

/// Bytes of a file's beginning that tell most of what [`Foreign::in_head`] knows.
pub const SECTOR: usize = 512;
/// Bytes of a file's beginning that [`Foreign::in_head`] wants: as many as there are, up to these, which are the eighteen
/// sectors of a CD in the last of which the boot record is.
pub const HEAD: usize = 18 * 2048;
/// Bytes of a file's end that [`Foreign::in_tail`] wants.
pub const TAIL: usize = 512;

/// Whether a file with this beginning is QEMU's qcow2 (in its first version too).
pub fn is_qcow2(head: &[u8]) -> bool {
    head.starts_with(b"QFI\xfb")
}

/// A file that holds a disk in a way that hosts do not read. Reads as "a … ; what to do first".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    name: &'static str,
    remedy: Remedy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remedy {
    /// `qemu-img` reads it, under this name.
    Convert(&'static str),
    /// This command makes files of it, or says how to.
    Unpack(&'static str),
    /// There is another file to take.
    Instead(&'static str),
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remedy {
            Remedy::Convert(format) => write!(
                f,
                "{}; convert it first: qemu-img convert -f {format} -O qcow2 IMAGE DISK.qcow2, and import DISK.qcow2",
                self.name
            ),
            Remedy::Unpack(command) => {
                write!(
                    f,
                    "{}; unpack it first: {command}, and import the disk in it",
                    self.name
                )
            }
            Remedy::Instead(other) => write!(f, "{}; {other}", self.name),
        }
    }
}

const fn image(name: &'static str, format: &'static str) -> Foreign {
    Foreign {
        name,
        remedy: Remedy::Convert(format),
    }
}

const fn packed(name: &'static str, command: &'static str) -> Foreign {
    Foreign {
        name,
        remedy: Remedy::Unpack(command),
    }
}

const VHD: Foreign = image("a VHD disk of Virtual PC, Hyper-V or Azure", "vpc");
const VMDK: Foreign = image("a VMware disk (VMDK)", "vmdk");
const PARALLELS: Foreign = image("a Parallels disk", "parallels");

const CD: Foreign = Foreign {
    name: "a CD to install from (ISO), which does not boot from a disk, and VMs have no CD drive",
    remedy: Remedy::Instead(
        "import the disk image (\"cloud image\") of the same system instead, or a disk that it was installed to",
    ),
};

/// Where the boot record of a CD begins: its sector 17, of 2048 bytes.
const BOOT_RECORD: usize = 17 * 2048;
/// Type, standard's identifier and version of a boot record, and the system that it is for.
const EL_TORITO: &[u8] = b"\0CD001\x01EL TORITO SPECIFICATION";

/// Whether a file with this beginning boots from a CD drive and from nothing else: a hybrid one has a partition table too.
fn boots_as_cd_alone(head: &[u8]) -> bool {
    let record = head.get(BOOT_RECORD..).unwrap_or_default();
    record.starts_with(EL_TORITO) && head.get(510..512) != Some(b"\x55\xaa")
}

/// Offset, bytes that stand there, and what a file with them is.
const BEGINNINGS: [(usize, &[u8], Foreign); 20] = [
    (0, b"KDMV", VMDK),
    (0, b"COWD", VMDK),
    (0, b"# Disk DescriptorFile", VMDK),
    (0, b"conectix", VHD),
    (0, b"vhdxfile", image("a VHDX disk of Hyper-V", "vhdx")),
    (
        64,
        b"\x7f\x10\xda\xbe",
        image("a VirtualBox disk (VDI)", "vdi"),
    ),
    (0, b"QED\0", image("a QED disk of QEMU", "qed")),
    (0, b"WithoutFreeSpace", PARALLELS),
    (0, b"WithouFreSpacExt", PARALLELS),
    (
        0,
        b"Bochs Virtual HD Image",
        image("a disk of Bochs", "bochs"),
    ),
    // With the method of compression, 8: there is no other.
    (
        0,
        b"\x1f\x8b\x08",
        packed("compressed with gzip", "gunzip IMAGE.gz"),
    ),
    (
        0,
        b"\xfd7zXZ\0",
        packed("compressed with xz", "unxz IMAGE.xz"),
    ),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        packed("compressed with zstd", "unzstd IMAGE.zst"),
    ),
    (
        0,
        b"\x04\x22\x4d\x18",
        packed("compressed with lz4", "unlz4 IMAGE.lz4"),
    ),
    (
        0,
        b"BZh",
        packed("compressed with bzip2", "bunzip2 IMAGE.bz2"),
    ),
    (
        0,
        b"LZIP",
        packed("compressed with lzip", "lzip -d IMAGE.lz"),
    ),
    (0, b"PK\x03\x04", packed("a zip archive", "unzip IMAGE.zip")),
    (
        0,
        b"7z\xbc\xaf\x27\x1c",
        packed("a 7-Zip archive", "7z x IMAGE.7z"),
    ),
    (
        0,
        b"Rar!\x1a\x07",
        packed("a RAR archive", "unrar x IMAGE.rar"),
    ),
    (
        257,
        b"ustar",
        packed(
            "a tar archive (as an OVA is)",
            "tar -xf IMAGE; a .vmdk in it is then to be converted with qemu-img convert -f vmdk -O qcow2",
        ),
    ),
];

impl Foreign {
    /// What a file with this beginning is, if it is foreign. `head` is the first [`HEAD`] bytes or more, or all; with fewer,
    /// less is known.
    pub fn in_head(head: &[u8]) -> Option<Self> {
        BEGINNINGS
            .iter()
            .find(|(offset, bytes, _)| {
                head.get(*offset..)
                    .is_some_and(|rest| rest.starts_with(bytes))
            })
            .map(|(_, _, foreign)| *foreign)
            .or_else(|| boots_as_cd_alone(head).then_some(CD))
    }

    /// What a file with this end is, if it is foreign: some formats put a trailer behind the disk's bytes. `tail` is
    /// the last [`TAIL`] bytes, or all.
    pub fn in_tail(tail: &[u8]) -> Option<Self> {
        // Of 512 bytes; Virtual PC before 2004 wrote 511.
        if tail.starts_with(b"conectix")
            || tail.get(1..).is_some_and(|it| it.starts_with(b"conectix"))
        {
            return Some(VHD);
        }
        tail.starts_with(b"koly")
            .then_some(image("a disk image of macOS (DMG)", "dmg"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: usize, bytes: &[u8]) -> Vec<u8> {
        let mut head = vec![0; HEAD];
        head[offset..offset + bytes.len()].copy_from_slice(bytes);
        head
    }

    #[test]
    fn each_format_is_known_by_its_beginning_and_says_what_to_do() {
        for (offset, bytes, _) in BEGINNINGS {
            let said = Foreign::in_head(&at(offset, bytes)).unwrap().to_string();
            assert!(
                said.contains("; convert it first: qemu-img convert -f ")
                    || said.contains("; unpack it first: "),
                "{said}"
            );
        }
        assert_eq!(
            Foreign::in_head(&at(64, &0xbeda_107f_u32.to_le_bytes()))
                .unwrap()
                .to_string(),
            "a VirtualBox disk (VDI); convert it first: qemu-img convert -f vdi -O qcow2 IMAGE DISK.qcow2, and import \
             DISK.qcow2"
        );
    }

    #[test]
    fn an_iso_boots_only_if_it_is_a_hybrid_one() {
        let mut iso = at(BOOT_RECORD, EL_TORITO);
        let said = Foreign::in_head(&iso).unwrap().to_string();
        assert!(
            said.contains("(ISO)") && said.contains("cloud image"),
            "{said}"
        );
        iso[510..512].copy_from_slice(b"\x55\xaa");
        assert_eq!(Foreign::in_head(&iso), None);
        // With data alone it is a disk to be mounted.
        assert_eq!(Foreign::in_head(&at(16 * 2048, b"\x01CD001\x01")), None);
        assert_eq!(Foreign::in_head(&[0; 512]), None);
    }

    #[test]
    fn a_fixed_vhd_is_known_by_its_end_alone() {
        assert_eq!(Foreign::in_tail(&at(0, b"conectix")), Some(VHD));
        assert_eq!(Foreign::in_tail(&at(1, b"conectix")), Some(VHD));
        assert!(Foreign::in_tail(&at(0, b"koly")).is_some());
        assert_eq!(Foreign::in_tail(&at(2, b"conectix")), None);
        assert_eq!(Foreign::in_tail(&[]), None);
    }

    #[test]
    fn a_disks_own_bytes_are_no_container() {
        let boot_sector = b"\xeb\x63\x90";
        let encrypted = b"LUKS\xba\xbe";
        for head in [
            at(0, boot_sector),
            at(0, encrypted),
            at(510, b"\x55\xaa"),
            b"\x1f".to_vec(),
            vec![],
        ] {
            assert_eq!(Foreign::in_head(&head), None);
        }
    }
}
