use flaredb::Committed;
use photon_catalog::stored::by_name;
use photon_catalog::{Query, list, load};
use photon_resource::{ImageId, Meta, PageRequest, PrincipalId, Time};
use proptest::prelude::*;

use super::*;
use crate::model::phase::{Phase, Stage, Status};
use crate::model::{
    Addressing, Disk, Hypervisor, Interface, Leaving, MetadataOptions, Port, PowerState,
    RestartPolicy, Size, Spec, UserData,
};
use crate::store::node;

fn vm(name: &str) -> Vm {
    let now = Time::from_micros(1_700_000_000_123_456);
    let port_id = PortId::generate();
    Vm {
        id: VmId::generate(),
        meta: Meta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: PrincipalId::generate(),
            name: name.into(),
            description: "one of ours".into(),
            labels: [("tier".to_owned(), "web".to_owned())].into(),
            created_at: now,
            updated_at: now,
            revision: 5,
        },
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
                delete_with_vm: true,
            }],
            user_data: UserData::from_text("#cloud-config".into()),
            ssh_authorized_keys: vec!["key".into()],
            hostname: name.into(),
            restart_policy: RestartPolicy::Always,
            hypervisor: Hypervisor::Qemu,
            metadata: MetadataOptions {
                enabled: false,
                tokens_required: false,
                hop_limit: 2,
            },
        },
        spec_revision: 3,
        user_data_changes: 0,
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
            addressing: Some(Addressing {
                address: "10.0.1.10/24".into(),
                gateway: "10.0.1.1".into(),
                dhcp: false,
                dns_servers: vec!["192.0.2.53".into()],
                ipv6_address: "fd00:1::10/64".into(),
                ipv6_gateway: "fd00:1::1".into(),
                mtu: 1450,
            }),
        }],
        leaving: vec![Leaving {
            port_id: PortId::generate(),
            interface_name: "ptbbbbbbbbbbb".into(),
            on_host: true,
        }],
        change: 1,
        status: Status {
            phase: Phase::Stopped,
            message: "off".into(),
            accelerator: "tcg".into(),
            unit: "unit".into(),
            started_at: Some(now.into()),
        },
    }
}

async fn create(db: &Db, vm: &Vm) -> Result<(), Error> {
    let mut tx = db.begin();
    vm_create(&mut tx, vm).await?;
    assert!(matches!(tx.commit().await?, Committed::Done(_)));
    Ok(())
}

#[tokio::test]
async fn a_vm_comes_back_as_it_was_and_leaves_nothing_behind() {
    let db = Db::memory();
    let mut one = vm("one");
    // No text: compressed.
    one.spec.user_data = UserData::from_bytes(b"\x1f\x8b\x08\xff".to_vec());
    one.user_data_changes = 3;
    create(&db, &one).await.unwrap();
    let stored = Vm {
        change: one.change + 1,
        ..one.clone()
    };
    assert_eq!(load(&db, &one.id).await.unwrap(), Some(stored.clone()));
    let found = by_name::<Vm>(&mut db.begin(), &one.scope(), "one").await;
    assert_eq!(found.unwrap(), Some(one.id));
    let query = Query {
        scope: one.scope(),
        name: String::new(),
        labels: Default::default(),
        page: PageRequest {
            size: 10,
            after: None,
        },
    };
    let listed = list::<Vm>(&db, query, |_| true).await.unwrap();
    assert_eq!(listed.items, [stored]);
    assert_eq!(vm_ids_on(&db, "host").await.unwrap().0, [one.id]);

    let mut tx = db.begin();
    vm_remove(&mut tx, &one);
    let _ = tx.commit().await.unwrap();
    let left = db.scan_raw("vm", None, 100).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
    let left = db.scan_raw("image-user/", None, 100).await.unwrap().items;
    assert!(left.is_empty(), "{left:?}");
}

/// As the release before stored what VMs take of a host.
#[derive(Serialize, Deserialize)]
struct EarlierLoad {
    vcpus: u32,
    memory_mib: u64,
}

impl flaredb::Record for EarlierLoad {
    const KIND: &'static str = "load of a host";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn what_an_earlier_release_did_not_count_is_counted_once() {
    let db = Db::memory();
    for name in ["one", "two"] {
        create(&db, &vm(name)).await.unwrap();
    }
    let mut tx = db.begin();
    for (key, vcpus) in [("node-load/host", 4), ("node-load/empty", 0)] {
        let earlier = EarlierLoad {
            vcpus,
            memory_mib: 512 * u64::from(vcpus) / 2,
        };
        tx.put(key, &earlier).unwrap();
    }
    let _ = tx.commit().await.unwrap();
    node::loads_complete(&db).await.unwrap();
    let two = Load {
        vms: 2,
        vcpus: 4,
        memory_mib: 1024,
        disk_bytes: 2 << 30,
    };
    assert_eq!(node::load_get(&db, "host").await.unwrap(), two);
    assert_eq!(node::load_get(&db, "empty").await.unwrap(), Load::default());

    // From then on each change counts itself, and nothing is counted again.
    let mut tx = db.begin();
    node::load_change(&mut tx, "host", vm("three").spec.load(), Load::default())
        .await
        .unwrap();
    let _ = tx.commit().await.unwrap();
    node::loads_complete(&db).await.unwrap();
    assert_eq!(node::load_get(&db, "host").await.unwrap().vms, 3);
}

#[tokio::test]
async fn what_is_taken_is_told() {
    let db = Db::memory();
    let one = vm("one");
    create(&db, &one).await.unwrap();
    let told = create(&db, &vm("one")).await.unwrap_err().to_string();
    assert_eq!(told, "VM 'one' already exists");
    let mut same_port = vm("two");
    same_port.spec.network = one.spec.network.clone();
    let port = one.spec.network[0].port_id;
    let told = create(&db, &same_port).await.unwrap_err().to_string();
    assert_eq!(
        told,
        format!(
            "port {port} can't be attached: VM {} has it; detach it there, or use another port",
            one.id
        )
    );
    // Another id with the same last 28 bits has the same unix user.
    let mut bytes = one.id.uuid().into_bytes();
    bytes[0] ^= 0xff;
    let same_uid = uuid::Uuid::from_bytes(bytes).into();
    assert!(vm_id_is_taken(&mut db.begin(), same_uid).await.unwrap());
    let another = VmId::generate();
    assert!(!vm_id_is_taken(&mut db.begin(), another).await.unwrap());
}

#[tokio::test]
async fn stages_decide_who_hears_of_it() {
    let db = Db::memory();
    let mut one = vm("one");
    one.stage = Stage::Attaching;
    create(&db, &one).await.unwrap();
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
        vm_update(&mut tx, &before, &after).await.unwrap();
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
        let mut stored = one.stored_bytes().unwrap();
        let at = at % stored.len();
        stored[at] = byte;
        if let Ok(record) = decode::<DesiredRecord>("vm/x/desired", &stored) {
            let _ = record.into_vm(one.id, None);
        }
    }
}
