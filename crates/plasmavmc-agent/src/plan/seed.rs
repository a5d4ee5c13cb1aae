//! The guest's cloud-init data, as a NoCloud seed: a FAT image labelled `CIDATA` with `meta-data`, `user-data` and
//! `network-config` (cloud-init's documentation, "NoCloud").

use std::io::{Cursor, Error, ErrorKind, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use photon_resource::VmId;
use serde_json::json;

use super::desired::DesiredVm;

mod network;

/// Version of what is made here: another one makes every VM's seed anew at its next start.
pub const FORMAT: u32 = 3;
/// Room for 64 KiB of user data, 64 SSH keys, and the file system.
const IMAGE_BYTES: usize = 1024 * 1024;

/// The image of a VM's seed. The same VM gives the same bytes.
///
/// Errors: the data do not fit.
pub fn image(id: VmId, vm: &DesiredVm) -> std::io::Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0_u8; IMAGE_BYTES]);
    let options = fatfs::FormatVolumeOptions::new()
        .volume_label(*b"CIDATA     ")
        .volume_id(id.unix_uid());
    fatfs::format_volume(&mut disk, options)?;
    {
        let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new())?;
        for (name, contents) in files(id, vm)? {
            volume.root_dir().create_file(name)?.write_all(&contents)?;
        }
        volume.unmount()?;
    }
    Ok(disk.into_inner())
}

/// What cloud-init takes the guest for. It applies user data once to each instance, so with others the guest is another
/// one; a VM whose user data were never changed keeps the id that it had.
pub fn instance_id(id: VmId, vm: &DesiredVm) -> String {
    match vm.user_data_changes {
        0 => id.to_string(),
        changes => format!("{id}-{changes}"),
    }
}

/// The files by name. They are YAML whose values are JSON, which is YAML that needs no care for quoting; one
/// key a line, so that a guest without a YAML parser finds its name too.
fn files(id: VmId, vm: &DesiredVm) -> std::io::Result<[(&'static str, Vec<u8>); 3]> {
    let user_data = match (vm.user_data.as_str(), vm.user_data_binary.as_str()) {
        ("", "") => b"#cloud-config\n{}\n".to_vec(),
        ("", encoded) => STANDARD
            .decode(encoded)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error))?,
        (data, _) => data.as_bytes().to_vec(),
    };
    Ok([
        ("meta-data", meta_data(id, vm).into_bytes()),
        ("user-data", user_data),
        (
            "network-config",
            network_config(vm).to_string().into_bytes(),
        ),
    ])
}

/// Who the guest is.
pub fn meta_data(id: VmId, vm: &DesiredVm) -> String {
    format!(
        "instance-id: {}\nlocal-hostname: {}\npublic-keys: {}\n",
        json!(instance_id(id, vm)),
        json!(vm.hostname),
        json!(vm.ssh_authorized_keys),
    )
}

/// How the guest sets up its interfaces.
pub fn network_config(vm: &DesiredVm) -> serde_json::Value {
    network::config(&vm.interfaces)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn vm(user_data: &str) -> DesiredVm {
        serde_json::from_value(json!({
            "org": "acme", "project": "web", "name": "a", "hostname": "web-1",
            "vcpus": 1, "memory_mib": 64, "power": "on", "user_data": user_data,
            "ssh_authorized_keys": ["ssh-ed25519 AAAA a\"b"],
            "interfaces": [{"tap": "pt0", "mac": "fa:16:3e:00:00:01"}],
        }))
        .unwrap()
    }

    fn id() -> VmId {
        "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap()
    }

    #[test]
    fn a_fat_reader_finds_the_files_and_the_label() {
        let data = "#!/bin/sh\necho hi\n";
        let bytes = image(id(), &vm(data)).unwrap();
        let volume = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label_as_bytes(), b"CIDATA");
        let read = |name: &str| {
            let mut text = String::new();
            let mut file = volume.root_dir().open_file(name).unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read("user-data"), data);
        assert_eq!(
            read("meta-data"),
            "instance-id: \"6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e\"\n\
             local-hostname: \"web-1\"\n\
             public-keys: [\"ssh-ed25519 AAAA a\\\"b\"]\n"
        );
        let network: serde_json::Value = serde_json::from_str(&read("network-config")).unwrap();
        assert_eq!(
            network["ethernets"]["eth0"]["match"]["macaddress"],
            "fa:16:3e:00:00:01"
        );
    }

    #[test]
    fn other_user_data_make_another_instance_and_bytes_come_as_they_are() {
        let read = |vm: &DesiredVm, name: &str| {
            let image = image(id(), vm).unwrap();
            let volume =
                fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
            let mut bytes = Vec::new();
            let mut file = volume.root_dir().open_file(name).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let first = vm("#cloud-config\n");
        let mut changed = DesiredVm {
            user_data: String::new(),
            user_data_binary: STANDARD.encode(b"\x1f\x8b\x08\xff"),
            user_data_changes: 1,
            ..first.clone()
        };
        let meta = String::from_utf8(read(&changed, "meta-data")).unwrap();
        let expected = "instance-id: \"6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e-1\"\n";
        assert!(meta.starts_with(expected), "{meta}");
        assert_eq!(read(&changed, "user-data"), b"\x1f\x8b\x08\xff");
        assert_ne!(first.preparation(id()), changed.preparation(id()));
        // The same again, after others.
        changed = DesiredVm {
            user_data_changes: 2,
            ..first.clone()
        };
        assert_ne!(first.preparation(id()), changed.preparation(id()));
        // A host that hears nothing of changes makes what it has made.
        assert_eq!(instance_id(id(), &first), id().to_string());
    }

    #[test]
    fn the_largest_user_data_fits_and_equal_seeds_are_equal_bytes() {
        let data = "x".repeat(64 * 1024);
        assert_eq!(
            image(id(), &vm(&data)).unwrap(),
            image(id(), &vm(&data)).unwrap()
        );
    }
}
