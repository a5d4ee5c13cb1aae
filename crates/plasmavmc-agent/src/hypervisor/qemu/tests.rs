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
fn a_guest_runs_guests_of_its_own_only_where_the_operator_allows_it() {
    let usual = launch(&machine(), Accelerator::Kvm);
    assert!(has(&usual, "-cpu", "vmx=off") && has(&usual, "-cpu", "svm=off"));
    let allowed = Qemu::new("/usr/bin/qemu").with_nested_virtualization(true);
    let allowed = allowed.launch(&machine(), Accelerator::Kvm);
    assert!(has(&allowed, "-cpu", "host") && !has(&allowed, "-cpu", "off"));
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
fn what_is_printed_is_kept_where_qemu_can_and_else_said_not_to_be() {
    let old = launch(&machine(), Accelerator::Tcg);
    assert!(!old.keeps_output && has(&old, "-chardev", "socket,id=console,"));
    let new = Qemu::new("/usr/bin/qemu").with_hub(true);
    let new = new.launch(&machine(), Accelerator::Tcg);
    assert!(new.keeps_output && has(&new, "-chardev", "hub,id=console,"));
    // In this order: it is kept before the line says that there is more.
    assert!(has(&new, "-chardev", "chardevs.0=printed,chardevs.1=typed"));
}

#[test]
fn memory_has_room_for_the_process() {
    let launch = launch(&machine(), Accelerator::Tcg);
    assert!(launch.memory_bytes > u64::from(256 + TCG_CODE_CACHE_MIB + PROCESS_MIB) * MIB);
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

#[test]
fn each_disk_is_held_to_the_hosts_limits_and_a_seed_is_not() {
    let mut machine = machine();
    let more = DiskFile {
        serial: "data".to_owned(),
        path: "/var/lib/vm/disk-data.qcow2".into(),
    };
    machine.disks.push(more);
    let limited = |limits| {
        Qemu::new("/usr/bin/qemu-system-x86_64")
            .with_disk_limits(limits)
            .launch(&machine, Accelerator::Tcg)
    };
    let groups = |launch: &Launch| -> Vec<serde_json::Value> {
        let pairs = launch.argv.windows(2);
        let objects = pairs.filter(|pair| pair[0] == "-object");
        objects
            .map(|pair| serde_json::from_str(&pair[1]).expect("JSON"))
            .collect()
    };
    let limits = DiskLimits {
        bytes_per_second: 1000,
        operations_per_second: 10,
        burst_seconds: 5,
    };
    let both = limited(limits);
    let group = |index| {
        json!({"qom-type": "throttle-group", "id": format!("limit{index}"), "limits": {
            "bps-total": 1000, "bps-total-max": 4000, "bps-total-max-length": 5,
            "iops-total": 10, "iops-total-max": 40, "iops-total-max-length": 5,
        }})
    };
    assert_eq!(groups(&both), [group(0), group(1)]);
    for index in [0, 1] {
        let node = format!("driver=throttle,node-name=limited{index}");
        assert!(has(&both, "-blockdev", &node));
        assert!(has(&both, "-device", &format!("drive=limited{index},")));
    }
    assert!(has(&both, "-device", "drive=seed"));

    let operations = limited(DiskLimits {
        bytes_per_second: 0,
        burst_seconds: 0,
        ..limits
    });
    let found = groups(&operations);
    assert_eq!(found[0]["limits"], json!({"iops-total": 10}));

    let none = limited(DiskLimits::NONE);
    assert!(groups(&none).is_empty() && !has(&none, "-blockdev", "throttle"));
    assert!(has(&none, "-device", "drive=disk0,"));
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
