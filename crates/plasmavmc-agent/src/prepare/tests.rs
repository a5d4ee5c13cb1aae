use std::os::unix::fs::MetadataExt;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;

/// With the real qemu-img, which `cargo xtask test` installs, and as root, as the agent is.
#[tokio::test]
async fn disks_are_made_once_and_belong_to_the_vm() {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout {
        state: directory.path().join("state"),
        run: directory.path().join("run"),
        userdb: directory.path().join("userdb"),
    };
    std::fs::create_dir_all(layout.images()).unwrap();
    let base = vec![7_u8; 1 << 20];
    let sha256 = hex::encode(Sha256::digest(&base));
    std::fs::write(layout.images().join(&sha256), &base).unwrap();
    let vm: DesiredVm = serde_json::from_value(json!({
        "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64, "power": "on",
        "disks": [
            {"id": "root", "size_bytes": 8 << 20, "image": {
                "format": "raw",
                "file": {"sha256": sha256, "size_bytes": base.len(), "source": {"path": "/nowhere"}},
            }},
            {"id": "data", "size_bytes": 1 << 20},
        ],
    }))
    .unwrap();
    let id = VmId::generate();
    let qemu_img = Path::new("qemu-img");
    assert_eq!(prepared(&layout, id), None);
    prepare(&layout, qemu_img, id, &vm)
        .await
        .expect("qemu-img (Debian package qemu-utils), and root to give files away");
    assert_eq!(prepared(&layout, id), Some(vm.preparation(id)));

    let root = layout.disk(id, &vm.disks[0].id);
    let metadata = std::fs::metadata(&root).unwrap();
    assert_eq!(
        (metadata.uid(), metadata.mode() & 0o777),
        (id.unix_uid(), 0o600)
    );
    let info = process::run(
        "qemu-img",
        &["info", "--output=json", &root.display().to_string()],
        b"",
        CREATE_LIMIT,
    )
    .await
    .unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info["virtual-size"], 8 << 20);
    assert_eq!(info["backing-filename-format"], "raw");

    // The guest has written: nothing may make the disk anew.
    std::fs::write(&root, b"the guest's").unwrap();
    prepare(&layout, qemu_img, id, &vm).await.unwrap();
    assert_eq!(std::fs::read(&root).unwrap(), b"the guest's");

    remove(&layout, id).unwrap();
    remove(&layout, id).unwrap();
    assert!(!layout.vm(id).exists());
    assert_eq!(prepared(&layout, id), None);
}

/// The image is a tenant's, and who makes the disk is root.
#[tokio::test]
async fn an_image_is_not_read_when_a_disk_is_made_on_it() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    // To whoever opens it as qcow2 this is an error.
    std::fs::write(&image, b"QFI\xfb and then nothing that is right").unwrap();
    let layout = Layout {
        state: directory.path().to_owned(),
        run: directory.path().join("run"),
        userdb: directory.path().join("userdb"),
    };
    std::fs::create_dir_all(layout.images()).unwrap();
    let sha256 = "a".repeat(64);
    std::fs::rename(&image, layout.images().join(&sha256)).unwrap();
    let disk: DesiredDisk = serde_json::from_value(json!({
        "id": "root", "size_bytes": 8 << 20, "image": {
            "format": "qcow2",
            "file": {"sha256": sha256, "size_bytes": 38, "source": {"path": "/nowhere"}},
        },
    }))
    .unwrap();
    let path = directory.path().join("disk.qcow2");
    make_disk(&layout, Path::new("qemu-img"), &disk, &path, 0)
        .await
        .unwrap();
    assert!(path.exists());
}
