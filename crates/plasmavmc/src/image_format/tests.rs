use super::*;
use proptest::prelude::*;

/// A version 3 header as `qemu-img create -f qcow2` writes it, for a disk of `virtual_size` bytes.
fn qcow2(virtual_size: u64) -> Vec<u8> {
    let mut head = vec![0u8; 4 * 65536];
    head[..4].copy_from_slice(b"QFI\xfb");
    put32(&mut head, 4, 3);
    put32(&mut head, 20, 16);
    put64(&mut head, 24, virtual_size);
    put32(&mut head, 36, 1); // l1_size
    put64(&mut head, 40, 3 * 65536); // l1_table_offset
    put64(&mut head, 48, 65536); // refcount_table_offset
    put32(&mut head, 56, 1); // refcount_table_clusters
    put32(&mut head, 96, 4); // refcount_order
    put32(&mut head, 100, 112);
    head
}

fn put32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}

fn put64(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_be_bytes());
}

fn inspect(bytes: &[u8]) -> Result<Qcow2, FormatError> {
    inspect_qcow2(&bytes[..bytes.len().min(HEAD_BYTES)], bytes.len() as u64)
}

#[test]
fn a_plain_header_is_accepted_with_its_virtual_size() {
    let accepted = inspect(&qcow2(10 << 30)).unwrap();
    assert_eq!(accepted.virtual_size, 10 << 30);
    assert_eq!(accepted.version, 3);
}

#[test]
fn what_names_another_file_is_refused() {
    let mut backed = qcow2(1 << 30);
    put64(&mut backed, 8, 200);
    put32(&mut backed, 16, 11);
    assert_eq!(inspect(&backed), Err(FormatError::BackingFile));

    // A length without an offset, and an offset without a length: some reader may believe either.
    let mut length_only = qcow2(1 << 30);
    put32(&mut length_only, 16, 11);
    assert_eq!(inspect(&length_only), Err(FormatError::BackingFile));

    let mut external = qcow2(1 << 30);
    put64(&mut external, 72, 1 << 2);
    assert_eq!(inspect(&external), Err(FormatError::ExternalDataFile));

    let mut by_extension = qcow2(1 << 30);
    put32(&mut by_extension, 112, 0x4441_5441);
    put32(&mut by_extension, 116, 11);
    assert_eq!(inspect(&by_extension), Err(FormatError::ExternalDataFile));

    // Behind another, harmless extension of odd length.
    let mut second = qcow2(1 << 30);
    put32(&mut second, 112, 0x6803_f857);
    put32(&mut second, 116, 5);
    put32(&mut second, 128, 0xe279_2aca);
    put32(&mut second, 132, 3);
    assert_eq!(inspect(&second), Err(FormatError::BackingFile));
}

#[test]
fn bad_headers_are_refused_with_a_reason() {
    let with32 = |offset: usize, value: u32| {
        let mut bytes = qcow2(1 << 30);
        put32(&mut bytes, offset, value);
        inspect(&bytes).unwrap_err().to_string()
    };
    let cases = [
        (
            with32(0, 0x7f45_4c46),
            "is not qcow2: it begins with 7f454c46, a qcow2 file with 514649fb",
        ),
        (
            with32(4, 1),
            "has qcow2 version 1; versions 2 and 3 are accepted",
        ),
        (with32(20, 40), "cluster_bits is 40; 9 to 21 is accepted"),
        (with32(24, 0xffff), "is larger for the guest than accepted"),
        (
            with32(32, 2),
            "is encrypted (method 2); import it decrypted",
        ),
        (with32(36, 1 << 20), "is cut off: it speaks of"),
        (with32(56, 100), "is cut off: it speaks of"),
        (with32(76, 2), "is marked corrupt"),
        (
            with32(76, 1 << 9),
            "uses qcow2 features that are not known here (incompatible features 0x200)",
        ),
        (with32(100, 99), "header_length is 99"),
    ];
    for (message, expected) in cases {
        assert!(
            message.contains(expected),
            "{message:?} does not say {expected:?}"
        );
    }
    assert_eq!(inspect(&[]), Err(FormatError::Empty));
    let whole = qcow2(1 << 30);
    assert!(matches!(
        inspect(&whole[..20]),
        Err(FormatError::Truncated { .. })
    ));
    assert!(matches!(
        inspect(&whole[..whole.len() - 65530]),
        Err(FormatError::Truncated { .. })
    ));
}

#[test]
fn extensions_without_end_are_refused() {
    let mut bytes = qcow2(1 << 30);
    for slot in 0..200 {
        put32(&mut bytes, 112 + slot * 8, 0x1234_5678);
    }
    assert!(
        inspect(&bytes)
            .unwrap_err()
            .to_string()
            .contains("at most 64")
    );
    // One that claims to go on past what was read.
    let mut far = qcow2(1 << 30);
    put32(&mut far, 112, 0x1234_5678);
    put32(&mut far, 116, 1 << 17);
    assert!(
        inspect(&far)
            .unwrap_err()
            .to_string()
            .contains("first 64 KiB")
    );
}

#[test]
fn raw_disks_are_whole_sectors_and_not_qcow2() {
    assert_eq!(inspect_raw(&[0; 512], &[0; 512], 1024), Ok(1024));
    assert_eq!(inspect_raw(&[], &[], 0), Err(FormatError::Empty));
    assert_eq!(
        inspect_raw(&[0; 100], &[], 1000),
        Err(FormatError::RawNotSectors { size: 1000 })
    );
    assert_eq!(
        inspect_raw(&qcow2(1 << 20), &[0; 512], 1024),
        Err(FormatError::Qcow2AsRaw)
    );
    assert!(matches!(
        inspect_raw(&[0; 512], &[0; 512], MAX_VIRTUAL_SIZE + 512),
        Err(FormatError::TooLarge { .. })
    ));
}

#[test]
fn containers_are_refused_by_their_name_with_what_to_do() {
    let mut vdi = [0; 512];
    vdi[64..68].copy_from_slice(&0xbeda_107f_u32.to_le_bytes());
    assert_eq!(
        inspect_raw(&vdi, &[0; 512], 1024).unwrap_err().to_string(),
        "is a VirtualBox disk (VDI); convert it first: qemu-img convert -f vdi -O qcow2 IMAGE DISK.qcow2, and import \
         DISK.qcow2"
    );
    let mut footer = [0; 512];
    footer[..8].copy_from_slice(b"conectix");
    let fixed = inspect_raw(&[0; 512], &footer, 1024).unwrap_err();
    assert!(fixed.to_string().starts_with("is a VHD disk"), "{fixed}");
    // Announced as qcow2 it is named all the same.
    let vmdk = inspect_qcow2(b"KDMV\x01\0\0\0", 8).unwrap_err();
    assert!(vmdk.to_string().starts_with("is a VMware disk"), "{vmdk}");
}

/// A file with an L1 table of one entry, an L2 table, and clusters where `entries` say.
fn with_clusters(entries: &[u64], clusters: usize) -> Vec<u8> {
    let mut bytes = qcow2(256 << 20);
    bytes.resize((5 + clusters) * 65536, 0);
    put64(&mut bytes, 3 * 65536, (4 * 65536) | 1 << 63);
    for (index, entry) in entries.iter().enumerate() {
        put64(&mut bytes, 4 * 65536 + index * 8, *entry);
    }
    bytes
}

fn walk(bytes: &[u8]) -> Result<(), FormatError> {
    let header = inspect(bytes).unwrap();
    let read = |offset: u64, buffer: &mut [u8]| {
        let from = offset as usize;
        buffer.copy_from_slice(&bytes[from..from + buffer.len()]);
        Ok(())
    };
    match check_clusters(&header, bytes.len() as u64, read) {
        Ok(()) => Ok(()),
        Err(CheckError::Format(error)) => Err(error),
        Err(CheckError::Read(error)) => panic!("{error}"),
    }
}

#[test]
fn clusters_beyond_the_end_of_the_file_are_found() {
    let plain = |cluster: u64| (cluster * 65536) | 1 << 63;
    // Sector 8 of the sixth cluster, and what "Compressed Clusters Descriptor" says of the rest.
    let compressed = |cluster: u64| (cluster * 65536 + 8 * 512) | 3 << 54 | 1 << 62;
    let whole = with_clusters(&[plain(5), 0, 1, compressed(6)], 2);
    assert_eq!(walk(&whole), Ok(()));
    // The last cluster may be written in part.
    assert_eq!(walk(&whole[..whole.len() - 60_000]), Ok(()));
    let cut = walk(&whole[..6 * 65536]);
    assert!(matches!(cut, Err(FormatError::Truncated { .. })), "{cut:?}");
    let cut = walk(&with_clusters(&[plain(5), plain(9)], 2));
    let needed = 10 * 65536;
    assert_eq!(
        cut,
        Err(FormatError::Truncated {
            needed,
            size: 7 * 65536
        })
    );
    // A table beyond the end.
    let table = walk(&with_clusters(&[], 0)[..4 * 65536 + 100]);
    assert!(
        matches!(table, Err(FormatError::Truncated { .. })),
        "{table:?}"
    );
}

#[test]
fn one_table_named_again_and_again_is_not_read_again_and_again() {
    let mut bytes = with_clusters(&[], 0);
    put32(&mut bytes, 36, 8000);
    for entry in 0..8000 {
        put64(&mut bytes, 3 * 65536 + entry * 8, 4 * 65536);
    }
    let size = bytes.len() as u64;
    assert_eq!(walk(&bytes), Err(FormatError::SharedTables { size }));
}

fn bz_image(setup_sectors: u8, paragraphs: u32) -> Vec<u8> {
    let mut bytes = vec![0u8; (usize::from(setup_sectors) + 1) * 512 + paragraphs as usize * 16];
    bytes[0x1f1] = setup_sectors;
    bytes[0x1f4..0x1f8].copy_from_slice(&paragraphs.to_le_bytes());
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    bytes
}

#[test]
fn kernels_are_bzimage_or_elf_and_whole() {
    let kernel = bz_image(27, 1000);
    let size = kernel.len() as u64;
    assert_eq!(
        inspect_kernel(&kernel, size),
        Ok(Kernel::BzImage { protocol: 0x020f })
    );
    assert!(matches!(
        inspect_kernel(&kernel, size - 1000),
        Err(FormatError::Truncated { .. })
    ));
    assert_eq!(
        inspect_kernel(b"#!/bin/sh\n", 10),
        Err(FormatError::NotKernel)
    );
    assert_eq!(inspect_kernel(&[0; 600], 600), Err(FormatError::NotKernel));

    let mut elf = vec![0u8; 256];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 2;
    assert_eq!(inspect_kernel(&elf, 256), Ok(Kernel::Elf));
    assert!(matches!(
        inspect_kernel(&elf, 100),
        Err(FormatError::Truncated { .. })
    ));
    elf[18] = 40; // ARM
    assert_eq!(inspect_kernel(&elf, 256), Err(FormatError::NotKernel));
}

#[test]
fn initrds_are_what_the_kernel_unpacks() {
    assert_eq!(check_initrd(b"070701000", 9), Ok(()));
    assert_eq!(check_initrd(b"\x1f\x8b\x08", 3), Ok(()));
    assert_eq!(check_initrd(b"PK\x03\x04", 4), Err(FormatError::NotInitrd));
    assert_eq!(check_initrd(b"", 0), Err(FormatError::Empty));
}

proptest! {
    /// Whatever the bytes are, the parser answers, and what it accepts keeps its promises.
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..4096), size in any::<u64>()) {
        let _ = inspect_qcow2(&bytes, size);
        let _ = inspect_raw(&bytes, &bytes, size);
        let _ = inspect_kernel(&bytes, size);
        let _ = check_initrd(&bytes, size);
    }

    /// A good header with any few bytes overwritten: if it is still accepted, it names no other file,
    /// its size is in bounds, and its tables lie inside the file.
    #[test]
    fn mutated_headers_accepted_are_still_safe(
        changes in proptest::collection::vec((0usize..200, any::<u8>()), 1..12),
    ) {
        let mut bytes = qcow2(1 << 30);
        for (offset, value) in changes {
            bytes[offset] = value;
        }
        if let Ok(accepted) = inspect(&bytes) {
            prop_assert_eq!(be64(&bytes, 8), Some(0));
            prop_assert_eq!(be32(&bytes, 16), Some(0));
            prop_assert!(accepted.virtual_size > 0 && accepted.virtual_size <= MAX_VIRTUAL_SIZE);
            prop_assert!((9..=21).contains(&accepted.cluster_bits));
            prop_assert!(be64(&bytes, 40).unwrap() <= bytes.len() as u64);
            if accepted.version == 3 {
                prop_assert_eq!(be64(&bytes, 72).unwrap() & (1 << 2), 0);
            }
        }
    }
}
