use std::time::{Duration, SystemTime};

use flaredb::Db;
use uuid::Uuid;

use super::*;
use crate::model::{Certificate, Disk, Event, Hardware, Interface, Key, Machine, MachineId};

fn machine(serial: &str, mac: &str) -> Machine {
    let hardware = Hardware {
        serial: Some(serial.into()),
        uuid: Some(Uuid::from_u128(9)),
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: mac.parse().unwrap(),
            up: true,
            speed_mbps: 10_000,
            usb: true,
        }],
        disks: vec![Disk {
            device: "/dev/vda".into(),
            size_bytes: 1 << 40,
            model: "QEMU".into(),
            serial: "d1".into(),
            rotational: false,
        }],
        ..Hardware::default()
    };
    let now = from_micros(to_micros(SystemTime::now()));
    Machine::discovered(hardware, "192.0.2.7".parse().unwrap(), now)
}

#[tokio::test]
async fn a_machine_reads_back_and_is_found_by_all_its_keys_and_no_old_ones() {
    let db = Db::memory();
    let mut before = machine("A/1", "52:54:00:00:00:01");
    before.name = Some("node02".into());
    before.apply(Event::Approve, before.created_at).unwrap();
    let mut tx = db.begin();
    machine_put(&mut tx, None, &before).await.unwrap();
    assert!(matches!(
        tx.commit().await.unwrap(),
        flaredb::Committed::Done(_)
    ));
    assert_eq!(
        machine_get(&db, before.id).await.unwrap().as_ref(),
        Some(&before)
    );
    for key in before.hardware.keys() {
        assert_eq!(machine_by_key(&db, &key).await.unwrap(), Some(before.id));
    }
    // `_` is escaped too, or this would be the same key.
    let alike = Key::Serial("A_2f1".into());
    assert_eq!(machine_by_key(&db, &alike).await.unwrap(), None);

    let mut after = machine("A/1", "52:54:00:00:00:02");
    after.id = before.id;
    let mut tx = db.begin();
    machine_put(&mut tx, Some(&before), &after).await.unwrap();
    assert!(matches!(
        tx.commit().await.unwrap(),
        flaredb::Committed::Done(_)
    ));
    let gone = Key::Mac("52:54:00:00:00:01".parse().unwrap());
    assert_eq!(machine_by_key(&db, &gone).await.unwrap(), None);
    let new = Key::Mac("52:54:00:00:00:02".parse().unwrap());
    assert_eq!(machine_by_key(&db, &new).await.unwrap(), Some(before.id));
    assert_eq!(machine_by_name(&db, "node02").await.unwrap(), None);
}

/// A host that renews again and again has a bounded number of certificates that count: the last ones.
#[tokio::test]
async fn of_many_certificates_the_last_count() {
    let db = Db::memory();
    let machine = MachineId::generate();
    let now = from_micros(to_micros(SystemTime::now()));
    let certificate = |n: u64| Certificate {
        serial: format!("{n:04x}"),
        expires_at: now + Duration::from_secs(3600 + n),
    };
    for n in 0..130 {
        let mut tx = db.begin();
        let new = certificate(n);
        certificate_put(&db, &mut tx, machine, &new, now)
            .await
            .unwrap();
        assert!(matches!(
            tx.commit().await.unwrap(),
            flaredb::Committed::Done(_)
        ));
    }
    for (n, counts) in [(0, false), (109, false), (110, true), (129, true)] {
        let serial = certificate(n).serial;
        let mut tx = db.begin();
        let found = certificate_counts(&mut tx, machine, &serial).await.unwrap();
        assert_eq!(found, counts, "{n}");
    }
}
