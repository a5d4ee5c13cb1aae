use photon_resource::{ImageId, PortId, PrincipalId, Scope, Time};
use proptest::prelude::*;

use super::*;
use crate::model::{Image, ImageFormat};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r me";

fn spec() -> NewSpec {
    Spec {
        size: Size {
            vcpus: 2,
            memory_mib: 1024,
        },
        disks: vec![disk("root", Some("debian"), 0)],
        kernel_image: None,
        kernel_command_line: String::new(),
        network: vec![interface("eth0")],
        user_data: UserData::from_text("#cloud-config\n".into()),
        ssh_authorized_keys: vec![KEY.into()],
        hostname: "web-1.example".into(),
        restart_policy: RestartPolicy::OnFailure,
        hypervisor: Hypervisor::Qemu,
        metadata: MetadataOptions::default(),
    }
}

fn disk(id: &str, image: Option<&str>, size_bytes: u64) -> Disk<String> {
    Disk {
        id: id.into(),
        image: image.map(str::to_owned),
        size_bytes,
    }
}

fn interface(id: &str) -> NewInterface {
    NewInterface {
        id: id.into(),
        plug: Plug::Port(PortId::generate()),
    }
}

fn image(name: &str, format: ImageFormat, virtual_size_bytes: u64) -> (String, Image) {
    let image = Image {
        id: ImageId::generate(),
        scope: Scope::System,
        owner: PrincipalId::generate(),
        name: name.into(),
        description: String::new(),
        format,
        files: Vec::new(),
        public: true,
        virtual_size_bytes,
        kernel_command_line: String::new(),
        default_user: String::new(),
        labels: Default::default(),
        created_at: Time::EPOCH,
        updated_at: Time::EPOCH,
        revision: 1,
    };
    (name.to_owned(), image)
}

#[test]
fn a_usual_spec_is_accepted_and_takes_the_images_size() {
    spec().validate().unwrap();
    let images = [image("debian", ImageFormat::Qcow2, 3 << 30)];
    let (resolved, network) = spec().resolve(&images).unwrap();
    assert_eq!(network.len(), 1);
    assert_eq!(resolved.disks[0].size_bytes, 3 << 30);
    assert_eq!(resolved.images(), [images[0].1.id]);
}

#[test]
fn bad_specs_are_refused_with_what_a_person_reads() {
    type Case = (fn(&mut NewSpec), &'static str);
    let cases: [Case; 20] = [
        (
            |s| s.ssh_authorized_keys = vec![format!("{KEY} {}", "x".repeat(2000)); 40],
            "spec.ssh_authorized_keys '(83360 bytes)' is not valid: expected at most 65536 bytes together",
        ),
        (
            |s| s.size.vcpus = 65,
            "spec.vcpus '65' is not valid: expected 1 to 64",
        ),
        (
            |s| s.size.memory_mib = 63,
            "spec.memory_mib '63' is not valid: expected 64 to 1048576 MiB",
        ),
        (
            |s| s.disks[0].id = "Root".into(),
            "spec.disks[0].id 'Root' is not valid: expected 1 to 20 of a-z",
        ),
        (
            |s| s.disks[0].id = "../x".into(),
            "spec.disks[0].id '../x' is not valid",
        ),
        (
            |s| s.disks.push(disk("root", None, 1 << 20)),
            "spec.disks[1].id 'root' is not valid: expected an id that no other",
        ),
        (
            |s| s.disks.push(disk("data", None, 0)),
            "spec.disks[1].size_bytes '0' is not valid: expected 1048576 (1 MiB) to",
        ),
        (
            |s| s.disks[0].size_bytes = 1000,
            "spec.disks[0].size_bytes '1000' is not valid: expected 0 (the image's size), or",
        ),
        (
            |s| s.disks[0].size_bytes = (1 << 30) + 1,
            "whole sectors of 512",
        ),
        (
            |s| {
                s.disks = (0..17)
                    .map(|n| disk(&format!("d{n}"), None, 1 << 20))
                    .collect()
            },
            "spec.disks '(17 entries)' is not valid: expected at most 16",
        ),
        (
            |s| {
                s.disks = (0..16)
                    .map(|n| disk(&format!("d{n}"), None, 1 << 20))
                    .collect();
                s.network = (0..13).map(|n| interface(&format!("eth{n}"))).collect();
            },
            "spec.network '(13 interfaces beside 16 disks)' is not valid: expected at most 28 disks and interfaces",
        ),
        (
            |s| s.kernel_command_line = "quiet".into(),
            "spec.kernel_command_line 'quiet' is not valid: expected nothing, unless",
        ),
        (
            |s| s.network[0].id = String::new(),
            "spec.network[0].id '' is not valid: expected 1 to 15 of a-z",
        ),
        (
            |s| s.network[0].id = "lo".into(),
            "spec.network[0].id 'lo' is not valid: expected a name that Linux does not have already",
        ),
        (
            |s| s.network.push(interface("eth0")),
            "spec.network[1].id 'eth0' is not valid: expected an id that no other",
        ),
        (
            |s| {
                let id = s.network[0].port_id().unwrap();
                s.network.push(NewInterface {
                    id: "eth1".into(),
                    plug: Plug::Port(id),
                })
            },
            "expected a port that no other interface of the VM has",
        ),
        (
            |s| s.user_data = UserData::from_bytes(vec![0; 65537]),
            "spec.user_data '(65537 bytes)' is not valid: expected at most 65536 bytes",
        ),
        (
            |s| s.ssh_authorized_keys.push("ssh-rsa nope".into()),
            "spec.ssh_authorized_keys[1] 'ssh-rsa nope' is not valid: expected one public key",
        ),
        (
            |s| s.hostname = "a_b".into(),
            "spec.hostname 'a_b' is not valid: expected a host name",
        ),
        (
            |s| {
                s.kernel_image = Some("k".into());
                s.kernel_command_line = "a\nb".into()
            },
            "without control characters",
        ),
    ];
    for (change, expected) in cases {
        let mut bad = spec();
        change(&mut bad);
        let message = bad.validate().unwrap_err().to_string();
        assert!(
            message.contains(expected),
            "{message:?} does not say {expected:?}"
        );
    }
}

#[test]
fn images_must_fit_their_place() {
    let resolve = |change: fn(&mut NewSpec)| {
        let mut wanted = spec();
        change(&mut wanted);
        let images = [
            image("debian", ImageFormat::Qcow2, 3 << 30),
            image("kernel", ImageFormat::KernelInitrd, 0),
        ];
        wanted.resolve(&images).unwrap_err().to_string()
    };
    let message = resolve(|s| s.disks[0].image = Some("kernel".into()));
    assert!(
        message.contains("which spec.kernel_image_id takes"),
        "{message}"
    );
    let message = resolve(|s| s.kernel_image = Some("debian".into()));
    assert!(message.contains("which spec.disks takes"), "{message}");
    let message = resolve(|s| s.disks[0].size_bytes = 1 << 30);
    assert!(
        message.contains("at least the 3221225472 bytes of image 'debian'"),
        "{message}"
    );
}

proptest! {
    #[test]
    fn no_text_in_a_spec_panics(text in "\\PC{0,80}", size in any::<u64>()) {
        let mut strange = spec();
        strange.disks[0] = disk(&text, Some(&text), size);
        strange.network[0].id = text.clone();
        strange.hostname = text.clone();
        strange.kernel_image = Some(text.clone());
        strange.kernel_command_line = text.clone();
        strange.ssh_authorized_keys = vec![text];
        let _ = strange.validate();
    }

    /// Whatever is accepted can stand in a file name and in a device name.
    #[test]
    fn accepted_ids_are_plain(id in "[a-zA-Z0-9./_-]{0,24}") {
        let mut wanted = spec();
        wanted.disks[0].id = id.clone();
        if wanted.validate().is_ok() {
            prop_assert!(!id.contains(['/', '.', '_']) && !id.is_empty() && id.len() <= 20);
        }
    }
}
