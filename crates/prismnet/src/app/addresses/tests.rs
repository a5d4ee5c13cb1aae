use photon_resource::{Labels, Mac, NewMeta, Time, VpcId};
use tokio::time::timeout;

use super::*;
use crate::model::{NewSubnet, Port};

const SOON: Duration = Duration::from_secs(10);

/// A /29: five addresses beside network, broadcast and gateway.
fn subnet() -> Subnet {
    let cidr = "10.0.1.0/29".parse().unwrap();
    Subnet {
        id: SubnetId::generate(),
        vpc_id: VpcId::generate(),
        meta: NewMeta {
            org_id: "acme".parse().unwrap(),
            project_id: "web".parse().unwrap(),
            owner: photon_resource::PrincipalId::generate(),
            name: "front".into(),
            description: String::new(),
            labels: Labels::new(),
        }
        .into_meta(Time::EPOCH),
        cidr,
        gateway: NewSubnet::parse_gateway(cidr, "").unwrap(),
        dhcp_enabled: true,
        dns_servers: vec![],
        ipv6: None,
        vni: 1,
    }
}

fn last_octet(reservation: &Reservation) -> u8 {
    reservation.address().octets()[3]
}

async fn store_port(db: &Db, subnet: &Subnet, last: u8, chosen: bool) -> Port {
    let mut meta = subnet.meta.clone();
    meta.name = format!("p{last}");
    let port = Port {
        id: photon_resource::PortId::generate(),
        vpc_id: subnet.vpc_id,
        subnet_id: subnet.id,
        meta,
        address: Ipv4Addr::new(10, 0, 1, last),
        ipv6_address: None,
        mac: Mac::generated(last.into()),
        security_groups: BTreeSet::new(),
        source_check: true,
        attachment: None,
    };
    let mut tx = db.begin();
    store::port_create(&mut tx, &port, chosen).await.unwrap();
    assert!(matches!(
        tx.commit().await.unwrap(),
        flaredb::Committed::Done(_)
    ));
    port
}

#[tokio::test]
async fn what_the_store_has_is_taken_and_the_search_goes_on_there() {
    let db = Db::memory();
    let subnet = subnet();
    store_port(&db, &subnet, 2, true).await;
    store_port(&db, &subnet, 3, true).await;
    store_port(&db, &subnet, 6, false).await;
    let addresses = Addresses::new(db);
    let given = [
        addresses.reserve(&subnet).await.unwrap(),
        addresses.reserve(&subnet).await.unwrap(),
    ];
    assert_eq!(given.each_ref().map(last_octet), [4, 5]);
}

#[tokio::test]
async fn the_last_address_is_waited_for() {
    let addresses = Addresses::new(Db::memory());
    let subnet = subnet();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(addresses.reserve(&subnet).await.unwrap());
    }
    let waiting = tokio::spawn({
        let (addresses, subnet) = (addresses.clone(), subnet.clone());
        async move { addresses.reserve(&subnet).await }
    });
    // Four keep theirs, one does not.
    let given_back = held.remove(2);
    held.into_iter().for_each(Reservation::keep);
    let freed = given_back.address();
    drop(given_back);
    let got = timeout(SOON, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(got.address(), freed);
    got.keep();

    // Nobody holds any in doubt now: there is nothing to wait for.
    let refused = timeout(SOON, addresses.reserve(&subnet)).await.unwrap();
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("all 5 are taken"), "{refused}");
}

#[tokio::test]
async fn before_a_subnet_is_called_full_the_store_is_read_again() {
    let db = Db::memory();
    let subnet = subnet();
    let mut ports = Vec::new();
    for last in 2..7 {
        ports.push(store_port(&db, &subnet, last, true).await);
    }
    let addresses = Addresses::new(db.clone());
    assert!(addresses.reserve(&subnet).await.is_err());

    // Freed by somebody who could not tell.
    let mut tx = db.begin();
    let lease = db.lease_grant(REST).await.unwrap();
    store::port_delete(&mut tx, &ports[3], lease).unwrap();
    assert!(matches!(
        tx.commit().await.unwrap(),
        flaredb::Committed::Done(_)
    ));
    let again = async {
        loop {
            let refused = addresses.reserve(&subnet).await.err().unwrap();
            if refused.to_string().contains("of 5, 1 were let go") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, again).await.unwrap();
    time::pause();
    time::advance(REST).await;
    let got = addresses.reserve(&subnet).await.unwrap();
    assert_eq!(got.address(), ports[3].address);
}

#[tokio::test]
async fn what_the_store_says_was_let_go_rests_for_the_rest_of_its_minute() {
    let db = Db::memory();
    let subnet = subnet();
    for last in 2..6 {
        let port = store_port(&db, &subnet, last, true).await;
        if last == 4 {
            let mut tx = db.begin();
            let lease = db.lease_grant(REST).await.unwrap();
            store::port_delete(&mut tx, &port, lease).unwrap();
            assert!(matches!(
                tx.commit().await.unwrap(),
                flaredb::Committed::Done(_)
            ));
        }
    }
    // As after the server's start.
    let addresses = Addresses::new(db.clone());
    let last = addresses.reserve(&subnet).await.unwrap();
    assert_eq!(last_octet(&last), 6);
    last.keep();
    assert!(addresses.reserve(&subnet).await.is_err());
    // Who asks for it has it, and it rests no more.
    store_port(&db, &subnet, 4, false).await;
    assert_eq!(store::released(&db, subnet.id).await.unwrap(), []);
    addresses.taken(subnet.id, Ipv4Addr::new(10, 0, 1, 4));
    time::pause();
    time::advance(REST).await;
    let refused = addresses.reserve(&subnet).await.err().unwrap();
    assert!(refused.to_string().contains("all 5 are taken"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_freed_address_is_free_after_a_minute_and_a_forgotten_subnet_at_once() {
    let addresses = Addresses::new(Db::memory());
    let subnet = subnet();
    for _ in 0..5 {
        addresses.reserve(&subnet).await.unwrap().keep();
    }
    addresses.freed(subnet.id, Ipv4Addr::new(10, 0, 1, 4));
    time::advance(REST - Duration::from_millis(1)).await;
    assert!(addresses.reserve(&subnet).await.is_err());
    time::advance(Duration::from_millis(1)).await;
    let got = addresses.reserve(&subnet).await.unwrap();
    assert_eq!(last_octet(&got), 4);
    got.keep();
    addresses.taken(subnet.id, Ipv4Addr::new(10, 0, 1, 4));
    addresses.forget(subnet.id);
    assert_eq!(last_octet(&addresses.reserve(&subnet).await.unwrap()), 2);
}
