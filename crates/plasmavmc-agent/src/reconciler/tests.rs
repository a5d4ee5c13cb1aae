use std::path::Path;

use photon_host::fake::Interfaces;
use photon_host::links::{Kind, Link};
use photon_host::systemd::FakeSystemd;
use photon_reconcile::{Pass, Plan as _, run_once};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::hypervisor::Qemu;
use crate::link::NoRegistry;
use crate::plan::Phase;

const LIMIT: Duration = Duration::from_secs(30);

/// A host with a fake systemd and fake interfaces, and real files.
struct Fixture {
    directory: tempfile::TempDir,
    systemd: FakeSystemd,
    interfaces: Arc<Interfaces>,
    desired: watch::Sender<Option<Arc<Desired>>>,
    reports: watch::Receiver<Reports>,
    signal: Signal,
    host: Host,
}

fn layout(directory: &Path) -> Layout {
    Layout {
        state: directory.join("state"),
        run: directory.join("run"),
        userdb: directory.join("userdb"),
    }
}

fn fixture() -> (Fixture, VmReconciler) {
    let directory = tempfile::tempdir().unwrap();
    let layout = layout(directory.path());
    for path in [layout.images(), layout.vms(), layout.run.clone()] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(directory.path().join("kernel"), b"a kernel").unwrap();
    let signal = Signal::new();
    let hypervisor: Arc<dyn Hypervisor> = Arc::new(Qemu::new("/usr/bin/qemu-system-x86_64"));
    let systemd = FakeSystemd::new();
    let interfaces = Arc::new(Interfaces::default());
    let host = Host {
        images: Images::new(layout.clone(), Arc::new(NoRegistry), signal.clone()),
        guests: Guests::new(hypervisor.clone(), layout.clone(), signal.clone()),
        layout,
        systemd: Arc::new(systemd.clone()),
        links: interfaces.clone(),
        hypervisor,
        accelerator: Accelerator::Tcg,
        qemu_img: "qemu-img".into(),
        stop_program: "/bin/agent".to_owned(),
    };
    let (desired, wanted) = watch::channel(None);
    let (published, reports) = watch::channel(Reports::default());
    let reconciler = VmReconciler::new(host.clone(), wanted, published, signal.clone());
    let fixture = Fixture {
        directory,
        systemd,
        interfaces,
        desired,
        reports,
        signal,
        host,
    };
    (fixture, reconciler)
}

impl Fixture {
    fn want(&self, id: VmId, change: serde_json::Value) {
        let mut vm = json!({
            "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64,
            "power": "on", "disks": [{"id": "root", "size_bytes": 1 << 20}],
            "interfaces": [{"tap": "pt0", "mac": "fa:16:3e:00:00:01"}],
            "kernel": {"kernel": {
                "sha256": sha256(b"a kernel"), "size_bytes": 8,
                "source": {"path": self.directory.path().join("kernel")},
            }},
        });
        vm.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        self.desired.send_replace(Some(Arc::new(Desired {
            revision: 1,
            vms: [(id, serde_json::from_value(vm).unwrap())].into(),
            ..Desired::default()
        })));
    }

    fn plug(&self, name: &str) {
        self.interfaces.put(Link {
            index: 1,
            name: name.to_owned(),
            kind: Kind::Tun,
            master: None,
            bridge_port: None,
            mtu: 1500,
            mac: None,
            up: true,
            carrier: false,
            addresses: Default::default(),
        });
    }

    fn phase(&self, id: VmId) -> Phase {
        self.reports.borrow().vms[&id].phase
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Passes until one has nothing to do and nothing is being fetched.
async fn settle(host: &Host, reconciler: &mut VmReconciler) {
    let settled = async {
        loop {
            let pass = run_once("vms", reconciler).await.unwrap();
            if pass == Pass::NothingToDo && host.images.fetching().is_empty() {
                let observed = reconciler.observe().await.unwrap().unwrap();
                if reconciler.plan(&observed).is_empty() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, settled).await.expect("settles");
}

#[tokio::test]
async fn without_a_desired_state_nothing_is_touched() {
    let (_fixture, mut reconciler) = fixture();
    let pass = run_once("vms", &mut reconciler).await.unwrap();
    assert_eq!(pass, Pass::Unknown);
}

#[tokio::test]
async fn a_vm_lives_from_its_first_start_to_its_removal() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    let unit = id.unit_name();
    it.want(id, json!({}));
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Provisioning, "no TAP yet");
    assert!(it.systemd.service(&unit).is_none());

    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Running);
    assert_eq!(it.systemd.service(&unit).unwrap().user, id.unix_user());
    assert!(it.host.layout.user_record(&id.unix_user()).exists());

    it.want(id, json!({"power": "off", "stop_timeout_seconds": 7}));
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Stopping);
    let allowed = std::fs::read_to_string(it.host.layout.stop_timeout(id)).unwrap();
    assert_eq!(allowed, "7");
    it.systemd.stopped(&unit);
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Stopped);

    it.want(id, json!({"deleting": true}));
    settle(&it.host, &mut reconciler).await;
    assert!(it.reports.borrow().vms[&id].gone);
    assert!(!it.host.layout.vm(id).exists());
    assert_eq!(
        std::fs::read_dir(&it.host.layout.userdb).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn an_agent_that_starts_anew_has_nothing_to_do() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    it.want(id, json!({"reboot_generation": 3}));
    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    drop(reconciler);
    let (reports, _) = watch::channel(Reports::default());
    let mut again = VmReconciler::new(
        it.host.clone(),
        it.desired.subscribe(),
        reports,
        it.signal.clone(),
    );
    let pass = run_once("vms", &mut again).await.unwrap();
    assert_eq!(pass, Pass::NothingToDo);
}

#[tokio::test]
async fn after_a_power_cut_it_starts_again_from_what_is_on_the_disk() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    it.want(id, json!({}));
    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    let disk = it.host.layout.disk(id, &"root".parse().unwrap());
    let before = std::fs::read(&disk).unwrap();
    it.systemd.power_cut();
    std::fs::remove_dir_all(&it.host.layout.run).unwrap();
    std::fs::remove_dir_all(&it.host.layout.userdb).unwrap();
    std::fs::create_dir(&it.host.layout.run).unwrap();
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Running);
    assert!(it.host.layout.user_record(&id.unix_user()).exists());
    assert_eq!(std::fs::read(&disk).unwrap(), before);
}

#[tokio::test]
async fn a_reboot_stops_and_starts_once() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    it.want(id, json!({}));
    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    it.want(id, json!({"reboot_generation": 1}));
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Stopping);
    it.systemd.stopped(&id.unit_name());
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Running);
    assert_eq!(it.reports.borrow().vms[&id].reboot_generation, 1);
}

#[tokio::test]
async fn a_guest_that_powers_itself_down_stays_off_until_it_is_started() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    it.want(id, json!({}));
    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    it.systemd.exits(&id.unit_name(), 0);
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Stopped);
    it.want(id, json!({"reboot_generation": 1}));
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Running);
}

#[tokio::test]
async fn a_reset_counts_as_the_reboot_even_after_the_guest_has_ended() {
    let (it, mut reconciler) = fixture();
    let id = VmId::generate();
    it.want(id, json!({}));
    it.plug("pt0");
    settle(&it.host, &mut reconciler).await;
    std::fs::write(it.host.layout.reset(id), "1").unwrap();
    it.want(id, json!({"reboot_generation": 1, "force": true}));
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.reports.borrow().vms[&id].reboot_generation, 1);
    it.systemd.exits(&id.unit_name(), 0);
    settle(&it.host, &mut reconciler).await;
    assert_eq!(it.phase(id), Phase::Stopped);
}

#[tokio::test]
async fn what_can_not_be_made_is_told_and_the_others_go_on() {
    let (it, mut reconciler) = fixture();
    let (good, bad) = (VmId::generate(), VmId::generate());
    it.want(good, json!({}));
    it.plug("pt0");
    let mut desired = (*it.desired.borrow().clone().unwrap()).clone();
    let mut broken = desired.vms[&good].clone();
    broken.kernel.as_mut().unwrap().kernel.sha256 = "0".repeat(64).parse().unwrap();
    desired.vms.insert(bad, broken);
    it.desired.send_replace(Some(Arc::new(desired)));
    let told = async {
        loop {
            let _ = run_once("vms", &mut reconciler).await.unwrap();
            let reports = it.reports.borrow().vms.clone();
            let phase = |id| reports.get(&id).map(|report| report.phase);
            if (phase(good), phase(bad)) == (Some(Phase::Running), Some(Phase::Failed)) {
                return reports[&bad].message.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let message = tokio::time::timeout(LIMIT, told).await.unwrap();
    assert!(message.contains("SHA-256"), "{message}");
}
