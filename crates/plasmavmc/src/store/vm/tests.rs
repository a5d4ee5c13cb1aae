use std::time::{Duration, SystemTime};

use flaredb::Committed;
use photon_resource::{ImageId, PrincipalId};
use proptest::prelude::*;

use super::*;
use crate::model::{Disk, Hypervisor, Interface, Port, PowerState, RestartPolicy, Size, Spec};
use crate::phase::{Phase, Stage, Status};

fn vm(name: &str) -> Vm {
    let now = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let port_id = PortId::generate();
    Vm {
        id: VmId::generate(),
        org_id: "acme".parse().unwrap(),
        project_id: "web".parse().unwrap(),
        owner: PrincipalId::generate(),
        name: name.into(),
        description: "one of ours".into(),
        labels: [("tier".to_owned(), "web".to_owned())].into(),
        spec: Spec {
            size: Size {
                vcpus: 2,
                memory_mib: 512,
            },
            disks: vec![Disk {
                id: "root".into(),
                image: Some(ImageId::generate()),
                size_bytes: 1 << 30,
            }],
            kernel_image: None,
            kernel_command_line: String::new(),
            network: vec![Interface {
                id: "eth0".into(),
                port_id,
            }],
            user_data: "#cloud-config".into(),
            ssh_authorized_keys: vec!["key".into()],
            hostname: name.into(),
            restart_policy: RestartPolicy::Always,
            hypervisor: Hypervisor::Qemu,
        },
        spec_revision: 3,
        power_state: PowerState::Off,
        reboot_generation: 4,
        force: true,
        stop_timeout_seconds: 30,
        stage: Stage::Placed,
        node: "host".into(),
        ports: vec![Port {
            port_id,
            interface_id: "eth0".into(),
            mac_address: "fa:16:3e:00:00:01".into(),
            interface_name: "pt0123456789a".into(),
        }],
        created_at: now,
        updated_at: now,
        revision: 5,
        status: Status {
            phase: Phase::Stopped,
            message: "off".into(),
            accelerator: "tcg".into(),
            unit: "unit".into(),
            started_at: Some(now),
        },
    }
}

async fn insert(db: &Db, vm: &Vm) -> Result<(), Taken> {
    let mut tx = db.begin();
    let inserted = vm_insert(&mut tx, vm).await.unwrap();
    if inserted.is_ok() {
        assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    }
    inserted
}

#[tokio::test]
async fn a_vm_comes_back_as_it_was_and_leaves_nothing_behind() {
    let db = Db::memory();
    let one = vm("one");
    insert(&db, &one).await.unwrap();
    assert_eq!(vm_get(&db, one.id).await.unwrap().0, Some(one.clone()));
    let found = vm_by_name(&db, &one.org_id, &one.project_id, "one").await;
    assert_eq!(found.unwrap(), Some(one.id));
    let (ids, more) = vm_ids_in(&db, &one.scope(), None, 10).await.unwrap();
    assert_eq!((ids[0].1, ids.len(), more), (one.id, 1, false));
    assert_eq!(vm_ids_on(&db, "host").await.unwrap().0, [one.id]);

    let mut tx = db.begin();
    vm_remove(&mut tx, &one);
    let _ = tx.commit().await.unwrap();
    let left = db.scan_raw("vm", None, 100).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
    let left = db.scan_raw("image-user/", None, 100).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_is_taken_is_told() {
    let db = Db::memory();
    let one = vm("one");
    insert(&db, &one).await.unwrap();
    assert_eq!(insert(&db, &vm("one")).await, Err(Taken::Name));
    let mut same_port = vm("two");
    same_port.spec.network = one.spec.network.clone();
    let port = one.spec.network[0].port_id;
    assert_eq!(
        insert(&db, &same_port).await,
        Err(Taken::Port(port, one.id))
    );
    // Another id with the same last 28 bits has the same unix user.
    let mut bytes = one.id.uuid().into_bytes();
    bytes[0] ^= 0xff;
    let mut same_uid = vm("three");
    same_uid.id = uuid::Uuid::from_bytes(bytes).into();
    assert_eq!(insert(&db, &same_uid).await, Err(Taken::Uid));
}

#[tokio::test]
async fn stages_decide_who_hears_of_it() {
    let db = Db::memory();
    let mut one = vm("one");
    one.stage = Stage::Attaching;
    insert(&db, &one).await.unwrap();
    for (stage, host, server) in [
        (Stage::Attaching, 0, 1),
        (Stage::Placed, 1, 0),
        (Stage::Removing, 1, 0),
        (Stage::Releasing, 0, 1),
    ] {
        let mut tx = db.begin();
        let (before, _) = vm_read(&mut tx, one.id).await.unwrap().unwrap();
        let after = Vm {
            stage,
            ..before.clone()
        };
        vm_update(&mut tx, &before, &after).await.unwrap().unwrap();
        let _ = tx.commit().await.unwrap();
        assert_eq!(
            vm_ids_on(&db, "host").await.unwrap().0.len(),
            host,
            "{stage:?}"
        );
        assert_eq!(
            vm_ids_with_work(&db).await.unwrap().len(),
            server,
            "{stage:?}"
        );
    }
}

proptest! {
    /// Stored bytes that no program wrote are an error, not a panic.
    #[test]
    fn any_stored_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..2000, byte in any::<u8>()) {
        let _ = decode::<DesiredRecord>("vm/x/desired", &bytes);
        let one = vm("one");
        let mut stored = vm_bytes(&one).unwrap();
        let at = at % stored.len();
        stored[at] = byte;
        if let Ok(record) = decode::<DesiredRecord>("vm/x/desired", &stored) {
            let _ = record.into_vm(one.id, None);
        }
    }
}
