use photon_resource::PortId;

use super::*;

const VM: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
const IMAGE: &str = "0b7e2c1a-7a0e-4c0f-9d0b-3f6a2f0c1d2e";

fn port() -> wire::VmPort {
    let id = PortId::generate();
    wire::VmPort {
        port_id: id.to_string(),
        interface_id: "eth0".to_owned(),
        mac_address: "FA:16:3E:00:00:01".to_owned(),
        interface_name: tap_name(id),
        mtu: 1450,
        addressing: Some(wire::VmAddressing {
            address: "10.0.1.10/24".to_owned(),
            gateway: "10.0.1.1".to_owned(),
            dhcp: true,
            dns_servers: vec!["192.0.2.53".to_owned()],
            ipv6_address: "fd00:1::10/64".to_owned(),
            ipv6_gateway: "fd00:1::1".to_owned(),
        }),
    }
}

fn vm() -> wire::DesiredVm {
    wire::DesiredVm {
        id: VM.to_owned(),
        org_id: "acme".to_owned(),
        project_id: "web".to_owned(),
        name: "web-1".to_owned(),
        spec_revision: 3,
        spec: Some(wire::VmSpec {
            vcpus: 1,
            memory_mib: 128,
            disks: vec![wire::Disk {
                id: "root".to_owned(),
                image_id: IMAGE.to_owned(),
                size_bytes: 0,
            }],
            network: vec![wire::NetworkInterface::default()],
            ..Default::default()
        }),
        power_state: wire::PowerState::On.into(),
        ports: vec![port()],
        images: vec![wire::Image {
            id: IMAGE.to_owned(),
            format: wire::ImageFormat::Qcow2.into(),
            files: vec![wire::ImageFile {
                part: wire::ImagePart::Disk.into(),
                sha256: "0".repeat(64),
                size_bytes: 10,
            }],
            virtual_size_bytes: 1 << 30,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn converted(vm: wire::DesiredVm) -> Desired {
    desired(&wire::DesiredVms {
        revision: 9,
        vms: vec![vm],
        ..Default::default()
    })
}

#[test]
fn takes_over_what_is_wanted_and_fills_in_what_is_not_said() {
    let desired = converted(vm());
    assert_eq!(desired.revision, 9);
    let vm = &desired.vms[&VM.parse().unwrap()];
    assert_eq!(vm.disks[0].size_bytes, 1 << 30, "the image's size");
    assert_eq!(vm.hostname, "web-1");
    assert_eq!(vm.stop_timeout_seconds, 30);
    assert_eq!(vm.interfaces[0].mac, "fa:16:3e:00:00:01");
    assert_eq!(vm.interfaces[0].name, "eth0");
    let addressing = vm.interfaces[0].addressing.as_ref().unwrap();
    assert_eq!(addressing.address, "10.0.1.10/24".parse().unwrap());
    let ipv6 = addressing.ipv6.map(|(address, _)| address);
    assert_eq!(ipv6, Some("fd00:1::10/64".parse().unwrap()));
    assert_eq!(vm.image_files().len(), 1);
}

/// What is not understood is refused with a reason, and nothing else is touched by it.
#[test]
fn refuses_what_it_does_not_understand() {
    type Change = fn(&mut wire::DesiredVm);
    let cases: [(&str, Change); 10] = [
        ("'10.0.1.10' is not the address", |vm| {
            let addressing = vm.ports[0].addressing.as_mut().unwrap();
            addressing.address = "10.0.1.10".to_owned();
        }),
        ("no spec", |vm| vm.spec = None),
        ("power state", |vm| vm.power_state = 0),
        ("interfaces and 0 ports", |vm| vm.ports.clear()),
        ("has the TAP", |vm| {
            vm.ports[0].interface_name = "eth0".to_owned()
        }),
        ("no MAC", |vm| {
            vm.ports[0].mac_address = "fa:16:3e".to_owned()
        }),
        ("not described", |vm| vm.images.clear()),
        ("no SHA-256", |vm| {
            vm.images[0].files[0].sha256 = "../x".to_owned()
        }),
        ("no disk id", |vm| {
            vm.spec.as_mut().unwrap().disks[0].id = "../../etc/passwd".to_owned();
        }),
        ("is no disk", |vm| {
            vm.images[0].format = wire::ImageFormat::KernelInitrd.into();
        }),
    ];
    for (expected, change) in cases {
        let mut vm = vm();
        change(&mut vm);
        let desired = converted(vm);
        assert!(desired.vms.is_empty(), "{expected}");
        let reason = desired.refused.values().next().expect(expected);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
}

#[test]
fn how_a_guest_is_told_what_it_is_is_as_strict_as_can_be_understood() {
    let told = |options: Option<wire::MetadataOptions>| {
        let mut vm = vm();
        vm.spec.as_mut().unwrap().metadata_options = options;
        desired_vm(VmId::generate(), &vm).unwrap().metadata
    };
    assert_eq!(told(None), MetadataOptions::default());
    let options = |endpoint, http_tokens, hop_limit| {
        Some(wire::MetadataOptions {
            endpoint,
            http_tokens,
            hop_limit,
        })
    };
    assert_eq!(told(options(0, 0, 0)), MetadataOptions::default());
    let open = MetadataOptions {
        enabled: true,
        tokens_required: false,
        hop_limit: 64,
    };
    assert_eq!(told(options(1, 2, 64)), open);
    let of_the_future = MetadataOptions {
        enabled: false,
        ..MetadataOptions::default()
    };
    assert_eq!(told(options(9, 9, 65)), of_the_future);
}
