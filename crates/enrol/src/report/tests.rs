use std::os::unix::fs::symlink;
use std::sync::Mutex;

use photon_api::provisioner::v1::MachineIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::hardware::SMALLEST_DISK;
use super::*;
use photon_api::inventory::Report;

/// 32 GiB.
const SECTORS: u64 = 1 << 26;

/// A machine's `/sys` and `/proc`, as files.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Machine(tempfile::tempdir().unwrap());
        for (path, content) in [
            ("sys/class/dmi/id/product_serial", "  ABC123\n"),
            (
                "sys/class/dmi/id/product_uuid",
                "4C4C4544-0042-3010-8058-B7C04F4A5032\n",
            ),
            ("sys/class/dmi/id/sys_vendor", "Example Inc.\n"),
            ("sys/class/dmi/id/product_name", "R 1\n"),
            ("sys/devices/system/cpu/online", "0-3,8\n"),
            ("proc/meminfo", "MemTotal:  2048000 kB\nMemFree: 1 kB\n"),
            (
                "proc/cmdline",
                "quiet photon.provisioner=http://192.0.2.1:8089 x\n",
            ),
        ] {
            machine.put(path, content);
        }
        machine.interface("enp1s0", "52:54:00:AB:CD:EF");
        machine.put("sys/class/net/lo/type", "772\n");
        machine.disk("vda", SECTORS);
        machine.put("sys/block/vda/serial", "DISK-1");
        machine
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn interface(&self, name: &str, mac: &str) {
        let base = format!("sys/class/net/{name}");
        self.put(&format!("{base}/type"), "1\n");
        self.put(&format!("{base}/address"), format!("{mac}\n"));
        self.put(&format!("{base}/carrier"), "1\n");
        self.put(&format!("{base}/speed"), "-1\n");
        self.put(&format!("{base}/device/vendor"), "0x1af4\n");
    }

    fn disk(&self, name: &str, sectors: u64) {
        let base = format!("sys/block/{name}");
        self.put(&format!("{base}/size"), format!("{sectors}\n"));
        self.put(&format!("{base}/device/vendor"), "x\n");
    }

    fn report(&self) -> Report {
        inventory(self.0.path()).unwrap()
    }

    fn options(&self, url: &str) -> Options {
        Options {
            provisioner: Some(url.into()),
            ssh_host_key: None,
            period: Duration::from_millis(10),
            root: self.0.path().to_owned(),
        }
    }
}

#[test]
fn a_machine_is_what_its_kernel_says() {
    let report = Machine::new().report();
    let expected = Report {
        serial: "ABC123".into(),
        uuid: "4c4c4544-0042-3010-8058-b7c04f4a5032".into(),
        manufacturer: "Example Inc.".into(),
        product: "R 1".into(),
        cpus: 5,
        memory_mib: 2000,
        interfaces: vec![photon_api::inventory::Interface {
            name: "enp1s0".into(),
            mac: "52:54:00:ab:cd:ef".into(),
            up: true,
            speed_mbps: 0,
            usb: false,
        }],
        disks: vec![photon_api::inventory::Disk {
            device: "/dev/vda".into(),
            size_bytes: 32 << 30,
            model: String::new(),
            serial: "DISK-1".into(),
            rotational: false,
        }],
        ..Report::default()
    };
    assert_eq!(report, expected);
}

/// What tells a machine from others is for the provisioner to judge, alike for an inventory and for a host that enrols.
#[test]
fn firmware_is_told_as_it_is() {
    let machine = Machine::new();
    machine.put("sys/class/dmi/id/product_serial", "Default string\n");
    let uuid = "03000200-0400-0500-0006-000700080009";
    machine.put("sys/class/dmi/id/product_uuid", format!("{uuid}\n"));
    let report = machine.report();
    assert_eq!(
        (report.serial.as_str(), report.uuid.as_str()),
        ("Default string", uuid)
    );
    // A unit that enrols does not see /proc.
    std::fs::remove_dir_all(machine.0.path().join("proc")).unwrap();
    let identity: MachineIdentity = Identity::read(machine.0.path()).unwrap().into();
    assert_eq!(
        (identity.serial, identity.uuid),
        (report.serial, report.uuid)
    );
    assert_eq!(identity.macs.len(), 1);
}

#[test]
fn a_card_at_usb_is_told_apart() {
    let machine = Machine::new();
    let device = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-14/1-14:1.0";
    machine.put(&format!("{device}/uevent"), "DRIVER=cdc_ether\n");
    let base = "sys/class/net/enp0s20f0u14";
    machine.put(&format!("{base}/type"), "1\n");
    machine.put(&format!("{base}/address"), "be:3a:f2:b6:05:9f\n");
    symlink(
        machine.0.path().join(device),
        machine.0.path().join(base).join("device"),
    )
    .unwrap();
    let seen: Vec<(String, bool)> = machine
        .report()
        .interfaces
        .into_iter()
        .map(|it| (it.name, it.usb))
        .collect();
    assert_eq!(
        seen,
        [
            ("enp0s20f0u14".to_owned(), true),
            ("enp1s0".to_owned(), false)
        ]
    );
}

#[test]
fn only_physical_interfaces_count() {
    let machine = Machine::new();
    machine.put("sys/class/net/br0/type", "1\n");
    machine.put("sys/class/net/br0/address", "52:54:00:00:00:01\n");
    machine.interface("wlan0", "52:54:00:00:00:02");
    machine.put("sys/class/net/wlan0/phy80211/name", "phy0");
    machine.interface("enp1s0v0", "52:54:00:00:00:03");
    machine.put("sys/class/net/enp1s0v0/device/physfn/vendor", "x");
    machine.interface("ib0", "52:54:00:00:00:04");
    machine.put("sys/class/net/ib0/type", "32\n");
    // Both members of a bond show its address.
    machine.interface("enp2s0", "52:54:00:ab:cd:ef");
    machine.put(
        "sys/class/net/enp2s0/bonding_slave/perm_hwaddr",
        "52:54:00:ab:cd:f0\n",
    );
    let macs: Vec<String> = machine
        .report()
        .interfaces
        .into_iter()
        .map(|i| i.mac)
        .collect();
    assert_eq!(macs, ["52:54:00:ab:cd:ef", "52:54:00:ab:cd:f0"]);
}

#[test]
fn only_disks_to_install_on_count() {
    let machine = Machine::new();
    machine.put("sys/block/loop0/size", format!("{SECTORS}\n"));
    machine.put("sys/block/ram0/size", format!("{SECTORS}\n"));
    for (name, attribute, value) in [
        ("sdb", "removable", "1"),
        ("sdc", "ro", "1"),
        // A drive for discs (SPC-4, table 133), by whatever name.
        ("sdd", "device/type", "5"),
        // Only the kernel itself writes zones in order.
        ("sde", "queue/zoned", "host-managed"),
        // One path of an NVMe namespace that has several.
        ("nvme0c1n1", "hidden", "1"),
    ] {
        machine.disk(name, SECTORS);
        machine.put(
            &format!("sys/block/{name}/{attribute}"),
            format!("{value}\n"),
        );
    }
    machine.disk("sr0", SECTORS);
    machine.disk("sdf", 0);
    machine.disk("mmcblk0boot0", 8192);
    // Member of a multipath device that is set up, and two paths to another disk that is not.
    machine.disk("sdg", SECTORS);
    machine.put("sys/block/sdg/holders/dm-0/dm/uuid", "mpath-3600508b1\n");
    for path in ["sdh", "sdi"] {
        machine.disk(path, SECTORS);
        machine.put(&format!("sys/block/{path}/device/wwid"), "naa.600508b2\n");
    }
    // What an earlier system left on a disk does not keep it from being installed on.
    machine.disk("sda", SECTORS);
    machine.put("sys/block/sda/holders/dm-1/dm/uuid", "LVM-x\n");
    machine.put("sys/block/sda/device/type", "0\n");
    machine.put("sys/block/sda/device/model", "ST1000  \n");
    machine.put("sys/block/sda/queue/rotational", "1\n");
    machine.put("sys/block/sda/queue/zoned", "none\n");
    machine.put("sys/block/sda/device/vpd_pg80", b"\0\x80\0\x08  Z1ABCD");
    machine.disk("nvme0n1", SECTORS);
    machine.put("sys/block/nvme0n1/device/serial", "S4EV  \n");
    machine.disk("nvme1n1", SMALLEST_DISK / 512);
    machine.disk("nvme2n1", SMALLEST_DISK / 512 - 1);
    let disks = machine.report().disks;
    let seen: Vec<(&str, &str, bool)> = disks
        .iter()
        .map(|disk| (disk.device.as_str(), disk.serial.as_str(), disk.rotational))
        .collect();
    assert_eq!(
        seen,
        [
            ("/dev/nvme0n1", "S4EV", false),
            ("/dev/nvme1n1", "", false),
            ("/dev/sda", "Z1ABCD", true),
            ("/dev/sdh", "", false),
            ("/dev/vda", "DISK-1", false)
        ]
    );
    assert_eq!(disks[2].model, "ST1000");
}

#[test]
fn a_machine_without_a_card_says_what_is_missing() {
    let machine = Machine::new();
    std::fs::remove_dir_all(machine.0.path().join("sys/class/net/enp1s0")).unwrap();
    let error = Identity::read(machine.0.path()).unwrap_err().to_string();
    assert!(error.contains("network card's driver"), "{error}");
    // A dangling link is a card that was just pulled, not a reason to fail.
    let machine = Machine::new();
    symlink("/nowhere", machine.0.path().join("sys/class/net/gone")).unwrap();
    assert_eq!(machine.report().interfaces.len(), 1);
}

/// Answers each connection with the next of these, and remembers the bodies that it got.
async fn server(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !complete(&request) {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let text = String::from_utf8(request).unwrap();
            assert!(text.starts_with("POST /inventory HTTP/1.1\r\n"), "{text}");
            bodies.push(text.split_once("\r\n\r\n").unwrap().1.to_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        bodies
    });
    (url, task)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    length.is_some_and(|length: usize| body.len() >= length)
}

#[tokio::test]
async fn a_machine_reports_until_it_may_start_from_its_disk() {
    let (url, served) = server(vec![
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nlater",
        "HTTP/1.1 200 OK\r\ncontent-length: 31\r\n\r\n{\"id\":\"m\",\"state\":\"discovered\"}",
        "HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n{\"id\":\"m\",\"state\":\"joined\", \"boot_disk\":  true }",
    ])
    .await;
    let machine = Machine::new();
    machine.put("key.pub", "ssh-ed25519 AAAA root@netboot\n");
    let mut options = machine.options(&url);
    options.ssh_host_key = Some(machine.0.path().join("key.pub"));
    let told = Mutex::new(Vec::new());
    run(&options, |word| told.lock().unwrap().push(word.to_owned()))
        .await
        .unwrap();
    let bodies = served.await.unwrap();
    let report: Report = serde_json::from_str(&bodies[2]).unwrap();
    assert_eq!(report.serial, "ABC123");
    assert_eq!(report.ssh_host_key, "ssh-ed25519 AAAA root@netboot");
    let told = told.into_inner().unwrap();
    assert!(
        told[0].contains("503") && told[0].contains("later"),
        "{told:?}"
    );
    assert!(told[1].contains("discovered"), "{told:?}");
    assert!(told[2].contains("joined"), "{told:?}");
}

#[tokio::test]
async fn what_answers_but_is_no_provisioner_is_told_apart() {
    let (url, _served) = server(vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html"]).await;
    let error = post(&format!("{url}/inventory"), b"{}".to_vec())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no provisioner"), "{error:#}");
}

#[tokio::test]
async fn a_url_that_cannot_work_is_refused_at_once() {
    let machine = Machine::new();
    for url in [
        "https://192.0.2.1:8089",
        "192.0.2.1:8089",
        "http://",
        "tftp://a/b",
    ] {
        let error = run(&machine.options(url), |_| {}).await.unwrap_err();
        assert!(
            error.to_string().contains("http://ADDRESS:PORT"),
            "{url}: {error:#}"
        );
    }
    assert_eq!(
        from_command_line(machine.0.path()).unwrap(),
        "http://192.0.2.1:8089"
    );
    machine.put("proc/cmdline", "quiet\n");
    let error = from_command_line(machine.0.path()).unwrap_err().to_string();
    assert!(error.contains("--provisioner"), "{error}");
}
