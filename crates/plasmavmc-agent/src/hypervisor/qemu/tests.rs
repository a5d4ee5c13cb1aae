use proptest::prelude::*;

use super::*;
use crate::hypervisor::{DiskFile, Nic};

fn machine() -> Machine {
    Machine {
        id: "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap(),
        name: "web-1".to_owned(),
        vcpus: 2,
        memory_mib: 256,
        boot: Boot::Disk,
        disks: vec![DiskFile {
            serial: "root".to_owned(),
            path: "/var/lib/vm/disk-root.qcow2".into(),
        }],
        seed: Some("/var/lib/vm/seed.img".into()),
        interfaces: vec![Nic {
            tap: "pt0123456789a".to_owned(),
            mac: "fa:16:3e:00:00:01".to_owned(),
            mtu: 1450,
        }],
        runtime_dir: "/run/vm".into(),
    }
}

fn launch(machine: &Machine, accelerator: Accelerator) -> Launch {
    Qemu::new("/usr/bin/qemu-system-x86_64").launch(machine, accelerator)
}

fn has(launch: &Launch, option: &str, value: &str) -> bool {
    launch
        .argv
        .windows(2)
        .any(|pair| pair[0] == option && pair[1].contains(value))
}

#[test]
fn kvm_gets_its_devices_and_tcg_does_not() {
    let kvm = launch(&machine(), Accelerator::Kvm);
    let tcg = launch(&machine(), Accelerator::Tcg);
    assert!(has(&kvm, "-accel", "kvm") && has(&kvm, "-netdev", "vhost=on"));
    assert!(has(&tcg, "-accel", "tcg") && has(&tcg, "-netdev", "vhost=off"));
    assert!(kvm.devices.contains(&"/dev/kvm".into()));
    assert_eq!(tcg.devices, [PathBuf::from("/dev/net/tun")]);
    assert!(tcg.generates_code && !kvm.generates_code);
}

#[test]
fn a_kernel_is_booted_by_qboot_and_a_disk_by_its_loader() {
    let disk = launch(&machine(), Accelerator::Tcg);
    assert!(has(&disk, "-device", "bootindex=1") && !has(&disk, "-bios", ""));
    let kernel = launch(
        &Machine {
            boot: Boot::Kernel {
                kernel: "/images/k".into(),
                initrd: Some("/images/i".into()),
                command_line: "console=ttyS0 a=b,c".to_owned(),
            },
            ..machine()
        },
        Accelerator::Tcg,
    );
    assert!(has(&kernel, "-bios", "qboot.rom") && has(&kernel, "-initrd", "/images/i"));
    // -append is no option list: its commas stay as they are.
    assert!(has(&kernel, "-append", "a=b,c"));
    assert!(!has(&kernel, "-device", "bootindex"));
}

#[test]
fn memory_has_room_for_the_process() {
    let launch = launch(&machine(), Accelerator::Tcg);
    assert!(launch.memory_bytes > (256 + TCG_CODE_CACHE_MIB + PROCESS_MIB) * MIB);
    assert!(launch.memory_bytes < 1024 * MIB);
}

/// An interface may come while it runs, and then it is opened.
#[test]
fn every_machine_may_open_taps_and_has_places_for_interfaces() {
    let machine = Machine {
        interfaces: vec![],
        ..machine()
    };
    let launch = launch(&machine, Accelerator::Tcg);
    assert_eq!(launch.devices, [PathBuf::from("/dev/net/tun")]);
    let ports = launch
        .argv
        .iter()
        .filter(|value| value.starts_with("pcie-root-port,"));
    assert_eq!(ports.count(), 8);
}

#[test]
fn an_interface_is_called_by_its_tap_and_is_in_a_place_of_its_own() {
    let launch = launch(&machine(), Accelerator::Tcg);
    assert!(has(
        &launch,
        "-netdev",
        "tap,id=net-pt0123456789a,ifname=pt0123456789a,"
    ));
    assert!(has(
        &launch,
        "-device",
        "virtio-net-pci,id=nic-pt0123456789a,bus=place-0,netdev=net-pt0123456789a,"
    ));
}

proptest! {
    #[test]
    fn no_name_or_path_adds_an_option(name in "[ -~]{0,20}", path in "/[ -~]{0,20}") {
        let plain = launch(&machine(), Accelerator::Tcg).argv;
        let mut hostile = machine();
        hostile.name = name.clone();
        hostile.disks[0].path = path.clone().into();
        let argv = launch(&hostile, Accelerator::Tcg).argv;
        prop_assert_eq!(argv.len(), plain.len());
        for (plain, hostile) in plain.iter().zip(&argv) {
            // Splitting at single commas gives the same keys.
            let keys = |list: &str| -> Vec<String> {
                list.replace(",,", "\u{1}")
                    .split(',')
                    .map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
                    .collect()
            };
            prop_assert_eq!(keys(plain).len(), keys(hostile).len(), "{} {}", plain, hostile);
        }
    }
}
