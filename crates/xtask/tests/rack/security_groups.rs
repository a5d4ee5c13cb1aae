//! A rule that is taken away ends what it had allowed, and nothing else.

use std::time::Duration;

use photon_api::prismnet::v1::{
    AddRuleRequest, CreateSecurityGroupRequest, Direction, Port, Protocol, RemoveRuleRequest,
    SecurityGroup, SecurityGroupIds, SecurityGroupRule, UpdatePortRequest,
};
use photon_e2e::Session;
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use tokio::time::Instant;

use crate::SECOND;
use crate::cloud::Cloud;

const REVOKED: u32 = 5000;
const KEPT: u32 = 6000;
/// From the call to the last packet: the host hears of it, changes its filter, and looks through its connections.
const SOON: Duration = Duration::from_secs(15);

async fn group(session: &Session, name: &str) -> SecurityGroup {
    let request = CreateSecurityGroupRequest {
        name: name.into(),
        ..Default::default()
    };
    let mut groups = session.security_groups();
    let answer = groups.create_security_group(request).await.unwrap();
    answer.into_inner().security_group.unwrap()
}

async fn admit(session: &Session, group: &SecurityGroup, tcp: u32) -> SecurityGroupRule {
    let request = AddRuleRequest {
        security_group_id: group.id.clone(),
        rule: Some(SecurityGroupRule {
            direction: Direction::Ingress.into(),
            protocol: Protocol::Tcp.into(),
            port_min: tcp,
            port_max: tcp,
            remote_cidr: "10.0.1.0/24".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = session.security_groups().add_rule(request).await.unwrap();
    let group = answer.into_inner().security_group.unwrap();
    let mut rules = group.rules.into_iter();
    rules.find(|rule| rule.port_min == tcp).unwrap()
}

async fn join(session: &Session, port: &Port, group: &SecurityGroup) {
    let request = UpdatePortRequest {
        id: port.id.clone(),
        security_group_ids: Some(SecurityGroupIds {
            ids: vec![group.id.clone()],
        }),
        ..Default::default()
    };
    session.ports().update_port(request).await.unwrap();
}

/// Bytes that have come on a connection so far.
async fn received(guest: &mut Guest<Console>, tcp: u32) -> u64 {
    let size = format!("wc -c < /tmp/from-{tcp}");
    let size = guest.check(&size, 30 * SECOND).await.unwrap();
    size.trim().parse().unwrap()
}

/// Waits until more has come.
async fn grows(guest: &mut Guest<Console>, tcp: u32) {
    let (deadline, before) = (Instant::now() + SOON, received(guest, tcp).await);
    while received(guest, tcp).await <= before {
        assert!(
            Instant::now() < deadline,
            "nothing comes on the connection to {tcp}"
        );
        tokio::time::sleep(SECOND / 5).await;
    }
}

/// Waits until nothing has come for two seconds, at ten messages a second.
async fn stops(guest: &mut Guest<Console>, tcp: u32) -> Duration {
    let begun = Instant::now();
    let (mut since, mut last) = (Instant::now(), received(guest, tcp).await);
    while since.elapsed() < 2 * SECOND {
        let now = received(guest, tcp).await;
        if now != last {
            (since, last) = (Instant::now(), now);
        }
        assert!(
            begun.elapsed() < SOON,
            "the connection to {tcp} goes on although its rule is gone"
        );
        tokio::time::sleep(SECOND / 5).await;
    }
    since - begun
}

#[tokio::test]
async fn a_revoked_rule_cuts_the_connections_that_it_had_allowed() {
    let cloud = Cloud::start().await;
    let tenant = cloud.tenant("acme").await;
    let session = &tenant.session;
    let client = tenant.machine("client", "10.0.1.10").await;
    let server = tenant.machine("server", "10.0.1.11").await;
    let shop = group(session, "shop").await;
    let revoked = admit(session, &shop, REVOKED).await;
    admit(session, &shop, KEPT).await;
    join(session, &server.port, &shop).await;
    let mut client_guest = tenant.guest(&client).await;
    let mut server_guest = tenant.guest(&server).await;

    for tcp in [REVOKED, KEPT] {
        // With nothing to read, `nc` would close its side at once.
        let listen = format!(
            "(sleep 100000 | nc -l -p {tcp} > /tmp/from-{tcp} 2>/dev/null &); \
             until netstat -tln | grep -q ':{tcp} '; do sleep 0.1; done"
        );
        server_guest.check(&listen, 30 * SECOND).await.unwrap();
        let talk = format!(
            "((while echo still here; do sleep 0.1; done) | nc 10.0.1.11 {tcp} >/dev/null 2>&1 &)"
        );
        client_guest.check(&talk, 30 * SECOND).await.unwrap();
    }
    // Long enough for what is wrong with them to show.
    for tcp in [REVOKED, KEPT, REVOKED, KEPT] {
        grows(&mut server_guest, tcp).await;
    }

    let request = RemoveRuleRequest {
        security_group_id: shop.id.clone(),
        rule_id: revoked.id,
        ..Default::default()
    };
    session
        .security_groups()
        .remove_rule(request)
        .await
        .unwrap();
    let took = stops(&mut server_guest, REVOKED).await;
    eprintln!("cut {:.1} s after the answer", took.as_secs_f64());
    // The other was not touched, and a new one is not let in.
    grows(&mut server_guest, KEPT).await;
    let again = format!("nc -w 3 10.0.1.11 {REVOKED} </dev/null");
    assert_ne!(client_guest.run(&again, 30 * SECOND).await.unwrap().0, 0);

    // Given back, it goes on: the guests' own retransmissions reach each other again.
    admit(session, &shop, REVOKED).await;
    let deadline = Instant::now() + 60 * SECOND;
    let before = received(&mut server_guest, REVOKED).await;
    while received(&mut server_guest, REVOKED).await == before {
        assert!(
            Instant::now() < deadline,
            "a rule given back lets nothing in"
        );
        tokio::time::sleep(SECOND / 2).await;
    }
}
