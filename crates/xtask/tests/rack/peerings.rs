//! Two VPCs of two tenants whose guests reach each other, on one host and on two.

use photon_api::prismnet::v1::{
    AcceptPeeringRequest, CreatePeeringRequest, DeletePeeringRequest, ListPeeringsRequest, Peering,
    PeeringState, Vpc,
};
use photon_client::call::Carries;
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine, Tenant};
use crate::faults::nothing_to_do;
use crate::routes::{open, until};
use crate::spanning::{ask, reaches, serve, stage};

async fn asks(tenant: &Tenant, vpc: &Vpc, of: &Tenant, peer: &Vpc) -> Peering {
    let request = CreatePeeringRequest {
        name: format!("to-{}", peer.name),
        vpc_id: vpc.id.clone(),
        peer_org_id: of.session.org.clone(),
        peer_project_id: of.session.project.clone(),
        peer_vpc_id: peer.id.clone(),
        ..Default::default()
    };
    let made = tenant.session.here(request).await.unwrap();
    made.resource().unwrap()
}

/// Accepts all that is asked for.
async fn accepts(tenant: &Tenant) {
    let all = tenant.session.here(ListPeeringsRequest::default());
    let all = all.await.unwrap().peerings;
    let waiting = |it: &&Peering| it.asked_by_peer && it.state() == PeeringState::Pending;
    for peering in all.iter().filter(waiting) {
        let request = AcceptPeeringRequest {
            id: peering.id.clone(),
            ..Default::default()
        };
        tenant.session.call(request).await.unwrap();
    }
}

/// Interfaces of peerings on a host.
async fn ends(host: &Host) -> usize {
    let count = host.check("ip -br link | grep -cE '^pr[0-9a-f]{11}'; true");
    count.await.unwrap().trim().parse().unwrap()
}

struct Place<'a> {
    tenant: &'a Tenant,
    host: &'a str,
    subnet: &'a photon_api::prismnet::v1::Subnet,
}

impl Place<'_> {
    async fn machine(&self, cloud: &Cloud, name: &str, address: &str) -> Machine {
        self.tenant
            .machine_on(&cloud.operator, self.host, self.subnet, (name, address))
            .await
    }
}

async fn converse(one: &mut Guest<Console>, other: &mut Guest<Console>, to: &str, word: &str) {
    serve(other, 7000, word).await;
    assert_eq!(ask(one, to, 7000).await, word);
}

#[tokio::test]
async fn peers_reach_each_other_until_one_ends_it_and_nobody_beyond() {
    let cloud = stage::start().await;
    let (first, second) = (cloud.rack.host(1), cloud.rack.host(2));
    let hosts = [&first, &second];
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    let partner = globex.session.create_vpc("partner", "10.8.0.0/16").await;
    let partner = partner.unwrap();
    let third = acme
        .session
        .create_vpc("third", "10.9.0.0/16")
        .await
        .unwrap();
    let front = globex
        .session
        .create_subnet(&partner, "meet", "10.8.1.0/24", "10.8.1.1");
    let front = front.await.unwrap();
    let back = acme
        .session
        .create_subnet(&third, "depot", "10.9.1.0/24", "10.9.1.1");
    let back = back.await.unwrap();
    let at = |tenant, host, subnet| Place {
        tenant,
        host,
        subnet,
    };
    let near = at(&acme, "node01", &acme.subnet);
    let a1 = near.machine(&cloud, "a1", "10.0.1.10").await;
    let far = at(&globex, "node02", &front);
    let g1 = far.machine(&cloud, "g1", "10.8.1.10").await;
    let beside = at(&globex, "node01", &front);
    let g2 = beside.machine(&cloud, "g2", "10.8.1.11").await;
    let beyond = at(&acme, "node01", &back);
    let t1 = beyond.machine(&cloud, "t1", "10.9.1.10").await;
    open(&acme).await;
    open(&globex).await;
    let mut a1_guest = acme.guest(&a1).await;
    let mut g1_guest = globex.booted(&g1).await;
    let mut g2_guest = globex.booted(&g2).await;
    let mut t1_guest = acme.booted(&t1).await;

    assert!(!reaches(&mut a1_guest, "10.8.1.10").await);
    let peering = asks(&acme, &acme.vpc, &globex, &partner).await;
    // Asked for is not agreed.
    assert!(!reaches(&mut a1_guest, "10.8.1.11").await);
    assert_eq!(ends(&first).await, 0);
    accepts(&globex).await;
    // On one host and on two, whoever begins.
    until(&mut a1_guest, "10.8.1.11", true, &hosts).await;
    until(&mut a1_guest, "10.8.1.10", true, &hosts).await;
    until(&mut g1_guest, "10.0.1.10", true, &hosts).await;
    until(&mut g2_guest, "10.0.1.10", true, &hosts).await;
    converse(&mut a1_guest, &mut g1_guest, "10.8.1.10", "of-g1").await;
    converse(&mut a1_guest, &mut g2_guest, "10.8.1.11", "of-g2").await;
    serve(&mut a1_guest, 7001, "of-a1").await;
    assert_eq!(ask(&mut g1_guest, "10.0.1.10", 7001).await, "of-a1");
    assert_eq!(ask(&mut g2_guest, "10.0.1.10", 7001).await, "of-a1");
    // The other's router is none of theirs.
    assert!(!reaches(&mut a1_guest, "10.8.1.1").await);

    // With a third by way of the second: not.
    asks(&globex, &partner, &acme, &third).await;
    accepts(&acme).await;
    until(&mut t1_guest, "10.8.1.10", true, &hosts).await;
    until(&mut t1_guest, "10.8.1.11", true, &hosts).await;
    assert!(!reaches(&mut t1_guest, "10.0.1.10").await);
    assert!(!reaches(&mut a1_guest, "10.9.1.10").await);
    for host in hosts {
        nothing_to_do(host, "prismnet-agent").await;
    }

    // Ended while they speak.
    let hear = "(nc -l -p 7002 > /tmp/heard 2>/dev/null &); until netstat -tln | grep -q ':7002 '; do sleep 0.1; done";
    g1_guest.check(hear, 30 * SECOND).await.unwrap();
    let speak = "(while true; do echo word; sleep 0.2; done | nc 10.8.1.10 7002 >/dev/null 2>&1 &)";
    a1_guest.check(speak, 30 * SECOND).await.unwrap();
    g1_guest
        .check("until [ -s /tmp/heard ]; do sleep 0.1; done", 30 * SECOND)
        .await
        .unwrap();
    let request = DeletePeeringRequest {
        id: peering.id.clone(),
        ..Default::default()
    };
    acme.session.call(request).await.unwrap();
    until(&mut a1_guest, "10.8.1.11", false, &hosts).await;
    until(&mut g1_guest, "10.0.1.10", false, &hosts).await;
    let more = "before=$(wc -c < /tmp/heard); sleep 4; echo $(($(wc -c < /tmp/heard) - before))";
    let more = g1_guest.check(more, 30 * SECOND).await.unwrap();
    assert_eq!(more.trim(), "0", "an old connection goes on");
    for (host, left) in [(&first, 2), (&second, 2)] {
        nothing_to_do(host, "prismnet-agent").await;
        assert_eq!(ends(host).await, left, "those of the other peering");
        let known = host
            .check("conntrack -L 2>/dev/null | grep 10[.]0[.]1[.]10 | grep -c 10[.]8[.]1; true");
        assert_eq!(known.await.unwrap().trim(), "0", "connections are known");
    }
    assert!(reaches(&mut t1_guest, "10.8.1.10").await);
}
