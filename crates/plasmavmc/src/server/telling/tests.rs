use std::time::Duration;

use flaredb::{Committed, Db};
use photon_resource::{Meta, PrincipalId, Time, VmId};
use prost::Message;

use super::*;
use crate::app::Desired;
use crate::model::phase::{Stage, Status};
use crate::model::{Hypervisor, PowerState, RestartPolicy, Size, Spec, UserData, Vm};
use crate::store;

const NODE: &str = "host";
const LIMIT: Duration = Duration::from_secs(30);

fn vm(number: usize) -> Vm {
    let now = Time::now();
    Vm {
        id: VmId::generate(),
        meta: Meta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: PrincipalId::generate(),
            name: format!("vm-{number}"),
            description: String::new(),
            labels: Default::default(),
            created_at: now,
            updated_at: now,
            revision: 1,
        },
        spec: Spec {
            size: Size {
                vcpus: 1,
                memory_mib: 64,
            },
            disks: Vec::new(),
            kernel_image: None,
            kernel_command_line: String::new(),
            network: Vec::new(),
            user_data: UserData::from_text("x".repeat(300)),
            ssh_authorized_keys: Vec::new(),
            hostname: format!("vm-{number}"),
            restart_policy: RestartPolicy::Always,
            hypervisor: Hypervisor::Qemu,
            metadata: Default::default(),
        },
        spec_revision: 1,
        user_data_changes: 0,
        power_state: PowerState::On,
        reboot_generation: 0,
        force: false,
        stop_timeout_seconds: 30,
        stage: Stage::Placed,
        node: NODE.to_owned(),
        ports: Vec::new(),
        leaving: Vec::new(),
        change: 1,
        status: Status::new(),
    }
}

async fn insert(db: &Db, vms: &[Vm]) {
    // A transaction has room for so many.
    for some in vms.chunks(10) {
        let mut tx = db.begin();
        for vm in some {
            store::vm::vm_create(&mut tx, vm).await.unwrap();
        }
        assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    }
}

async fn update(db: &Db, before: &Vm, after: &Vm) {
    let mut tx = db.begin();
    let updated = store::vm::vm_update(&mut tx, before, after).await;
    updated.unwrap();
    assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
}

/// A host's stream, without the call around it.
struct Host {
    watch: DesiredWatch,
    form: Form,
    has: DesiredVms,
}

impl Host {
    async fn new(db: &Db, accepts_changes: bool) -> Self {
        let desired = Desired::new(db.clone(), "epoch");
        Self {
            watch: desired.watch(NODE).await.unwrap(),
            form: Form {
                guest_mtu: 1450,
                store_epoch: desired.store_epoch().to_owned(),
                whole: (!accepts_changes).then(DesiredVms::default),
            },
            has: DesiredVms::default(),
        }
    }

    /// Takes in what it is told next, as an agent does; gives the messages.
    async fn hear(&mut self) -> Vec<DesiredVms> {
        let news = tokio::time::timeout(LIMIT, self.watch.next()).await;
        let messages = self.form.messages(news.expect("in time").unwrap());
        for message in &messages {
            if message.kind() == Some(Kind::Whole) {
                self.has = DesiredVms::default();
            }
            self.has.amend(message.clone());
        }
        messages
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.has.vms.iter().map(|vm| vm.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

#[tokio::test]
async fn three_thousand_vms_arrive_whole_in_bounded_messages_and_then_one_alone() {
    const VMS: usize = 3000;
    let db = Db::memory();
    let vms: Vec<Vm> = (0..VMS).map(vm).collect();
    insert(&db, &vms).await;
    let mut host = Host::new(&db, true).await;
    let messages = host.hear().await;
    assert!(messages.len() > 3, "{} messages", messages.len());
    let longest = messages.iter().map(Message::encoded_len).max();
    assert!(longest <= Some(MESSAGE_BYTES), "{longest:?}");
    assert_eq!(host.has.vms.len(), VMS);
    let everything = messages.last().unwrap().position().1;

    // One comes, one changes, one goes.
    insert(&db, &[vm(VMS)]).await;
    let messages = host.hear().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].kind(), Some(Kind::Change { more: false }));
    assert_eq!(messages[0].vms.len(), 1);
    assert!(messages[0].encoded_len() < 1000);
    assert!(messages[0].position() > ("epoch", everything));
    let mut off = vms[7].clone();
    off.power_state = PowerState::Off;
    update(&db, &vms[7], &off).await;
    let messages = host.hear().await;
    let told: Vec<&str> = messages[0].vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(told, ["vm-7"]);
    let mut gone = vms[8].clone();
    gone.stage = Stage::Releasing;
    update(&db, &vms[8], &gone).await;
    let messages = host.hear().await;
    assert_eq!(messages[0].vms, []);
    assert_eq!(messages[0].removed_vm_ids, [vms[8].id.to_string()]);
    assert_eq!(host.has.vms.len(), VMS);
}

#[tokio::test]
async fn a_host_that_accepts_no_changes_is_told_everything_each_time() {
    let db = Db::memory();
    let vms: Vec<Vm> = (0..3).map(vm).collect();
    insert(&db, &vms).await;
    let mut host = Host::new(&db, false).await;
    host.hear().await;
    assert_eq!(host.names(), ["vm-0", "vm-1", "vm-2"]);
    insert(&db, &[vm(3)]).await;
    let messages = host.hear().await;
    // As it was before there were parts: nothing of them is in the message.
    assert_eq!(
        (messages.len(), messages[0].part, messages[0].more),
        (1, 0, false)
    );
    assert_eq!(host.names(), ["vm-0", "vm-1", "vm-2", "vm-3"]);
    let mut gone = vms[0].clone();
    gone.stage = Stage::Releasing;
    update(&db, &vms[0], &gone).await;
    host.hear().await;
    assert_eq!(host.names(), ["vm-1", "vm-2", "vm-3"]);
}

#[tokio::test]
async fn what_was_left_on_a_host_that_was_given_up_is_told_as_what_must_go() {
    let db = Db::memory();
    let lost = vm(1);
    insert(&db, std::slice::from_ref(&lost)).await;
    let mut host = Host::new(&db, true).await;
    host.hear().await;
    let mut tx = db.begin();
    store::vm::vm_leave(&mut tx, &lost).unwrap();
    store::vm::vm_remove(&mut tx, &lost);
    let _ = tx.commit().await.unwrap();
    let messages = host.hear().await;
    assert!(messages[0].vms[0].deleting, "{messages:?}");
    // The host has removed it.
    let mut tx = db.begin();
    store::vm::vm_left_remove(&mut tx, NODE, lost.id)
        .await
        .unwrap();
    let _ = tx.commit().await.unwrap();
    host.hear().await;
    assert_eq!(host.has.vms, []);
    // And one that comes later hears of it with everything.
    let mut tx = db.begin();
    store::vm::vm_leave(&mut tx, &lost).unwrap();
    let _ = tx.commit().await.unwrap();
    let mut late = Host::new(&db, true).await;
    late.hear().await;
    assert!(late.has.vms[0].deleting);
}

#[tokio::test]
async fn another_hosts_vms_are_not_told() {
    let db = Db::memory();
    let mut host = Host::new(&db, true).await;
    host.hear().await;
    let mut other = vm(1);
    other.node = "other".to_owned();
    insert(&db, &[other]).await;
    insert(&db, &[vm(2)]).await;
    host.hear().await;
    assert_eq!(host.names(), ["vm-2"]);
}
