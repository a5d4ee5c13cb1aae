//! Routes of a VPC: to a port that sends on for others, and nowhere.

use photon_api::prismnet::v1::{
    AddRuleRequest, CreateRouteRequest, DeleteRouteRequest, Direction, ListSecurityGroupsRequest,
    Protocol, Route, RouteTarget, SecurityGroupRule, UpdatePortRequest,
};
use photon_client::call::Carries;
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use tokio::time::Instant;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine, Tenant};
use crate::faults::nothing_to_do;
use crate::pings::{RATE, longest_silence, start_pinging};
use crate::spanning::{reaches, stage};

/// Waits until it is so: hosts hear of a change after the call is answered. All that is known of it else.
pub async fn until(guest: &mut Guest<Console>, address: &str, reached: bool, hosts: &[&Host]) {
    let deadline = Instant::now() + 60 * SECOND;
    while reaches(guest, address).await != reached {
        if Instant::now() < deadline {
            continue;
        }
        // Something to see.
        let ping = format!("(ping -c 40 {address} >/dev/null 2>&1 &)");
        guest.run(&ping, 30 * SECOND).await.unwrap();
        for host in hosts {
            let told = "ip route show table all; ip rule; ip -br link; ip neigh; bridge fdb | grep -v permanent; \
                        for vrf in $(ip -br link | grep -o '^pv[0-9a-f]*'); do ip vrf exec $vrf true; ip route get vrf $vrf 192.168.7.1; \
                        ip route get vrf $vrf 192.168.7.129; done; sysctl -a 2>/dev/null | grep -E 'conf[.](p[bvr][0-9a-f]*|all|default)[.](forwarding|rp_filter|send_redirects|arp_ignore)'; \
                        for dev in $(ip -br link | grep -oE '^p[bvxt][0-9a-f]*'); do timeout 3 tcpdump -Z root -n -c 6 -i $dev icmp or arp 2>&1 | sed \"s/^/$dev /\"; done; \
                        nft list table inet photon; journalctl --no-pager -o cat -n 30 -u prismnet-agent -u systemd-networkd";
            eprintln!(
                "{}",
                host.run(told).await.map(|it| it.stdout).unwrap_or_default()
            );
        }
        panic!("that {address} is reached is not {reached}");
    }
}

async fn route(
    tenant: &Tenant,
    name: &str,
    destination: &str,
    target: (RouteTarget, &str),
) -> Route {
    let request = CreateRouteRequest {
        name: name.into(),
        vpc_id: tenant.vpc.id.clone(),
        destination: destination.into(),
        target: target.0.into(),
        target_id: target.1.into(),
        ..Default::default()
    };
    let made = tenant.session.here(request).await.unwrap();
    made.resource().unwrap()
}

async fn delete(tenant: &Tenant, route: &Route) {
    let request = DeleteRouteRequest {
        id: route.id.clone(),
        ..Default::default()
    };
    tenant.session.call(request).await.unwrap();
}

async fn source_check(tenant: &Tenant, machine: &Machine, on: bool) {
    let request = UpdatePortRequest {
        id: machine.port.id.clone(),
        source_check: Some(on),
        ..Default::default()
    };
    tenant.session.call(request).await.unwrap();
}

/// Lets everybody in.
pub async fn open(tenant: &Tenant) {
    let groups = tenant.session.here(ListSecurityGroupsRequest::default());
    let groups = groups.await.unwrap().security_groups;
    let default = groups.iter().find(|group| group.is_default).unwrap();
    let mut rule = SecurityGroupRule::default();
    rule.set_direction(Direction::Ingress);
    rule.set_protocol(Protocol::Any);
    let request = AddRuleRequest {
        security_group_id: default.id.clone(),
        rule: Some(rule),
        ..Default::default()
    };
    tenant.session.here(request).await.unwrap();
}

/// Pings from an address of the guest's own making.
async fn reaches_from(guest: &mut Guest<Console>, source: &str, address: &str) -> bool {
    let ping = format!("ping -c 3 -W 2 -I {source} {address} >/dev/null");
    guest.run(&ping, 30 * SECOND).await.unwrap().0 == 0
}

/// How many packets from an address come to a host's tunnels while something is done.
async fn arriving(host: &Host, source: &str, meanwhile: impl Future<Output = bool>) -> usize {
    let listen = format!(
        "rm -f /run/heard.pcap; systemd-run -q --unit=listener tcpdump -Z root -U -n -i any -w /run/heard.pcap src host {source}; \
         until [ -s /run/heard.pcap ]; do sleep 0.05; done"
    );
    host.check(&listen).await.unwrap();
    meanwhile.await;
    let count = "systemctl stop listener; tcpdump -n -r /run/heard.pcap 2>/dev/null | wc -l";
    host.check(count).await.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn routes_lead_to_an_appliance_and_nowhere() {
    let cloud = stage::start().await;
    let (first, second) = (cloud.rack.host(1), cloud.rack.host(2));
    let hosts = [&first, &second];
    let acme = cloud.tenant("acme").await;
    let on = async |cloud: &Cloud, host: &str, name: &str, address: &str| {
        let place = (name, address);
        acme.machine_on(&cloud.operator, host, &acme.subnet, place)
            .await
    };
    let web = on(&cloud, "node01", "web", "10.0.1.10").await;
    let vpn = on(&cloud, "node02", "vpn", "10.0.1.20").await;
    let mut web_guest = acme.guest(&web).await;
    let mut vpn_guest = acme.guest(&vpn).await;
    until(&mut web_guest, "10.0.1.20", true, &hosts).await;
    let behind = "for address in 192.168.7.1 192.168.7.129 10.0.1.99; do ip address add $address/32 dev lo; done";
    vpn_guest.check(behind, 30 * SECOND).await.unwrap();

    // Nobody says where that is, and nobody may say that it is there.
    assert!(!reaches(&mut web_guest, "192.168.7.1").await);
    source_check(&acme, &vpn, false).await;
    let office = route(
        &acme,
        "office",
        "192.168.0.0/16",
        (RouteTarget::Port, "vpn"),
    )
    .await;
    until(&mut web_guest, "192.168.7.1", true, &hosts).await;
    until(&mut web_guest, "192.168.7.129", true, &hosts).await;

    // Who is behind it is no member of the group that it is in, until the group lets everybody in.
    assert!(!reaches_from(&mut vpn_guest, "192.168.7.1", "10.0.1.10").await);
    open(&acme).await;
    let deadline = Instant::now() + 60 * SECOND;
    while !reaches_from(&mut vpn_guest, "192.168.7.1", "10.0.1.10").await {
        assert!(Instant::now() < deadline, "it is not let in");
    }
    // No neighbour's address, whatever it may send from.
    let forged = reaches_from(&mut vpn_guest, "10.0.1.99", "10.0.1.10");
    let forged = arriving(&first, "10.0.1.99", forged).await;
    let honest = reaches_from(&mut vpn_guest, "192.168.7.1", "10.0.1.10");
    let honest = arriving(&first, "192.168.7.1", honest).await;
    assert_eq!(forged, 0, "a neighbour's address was sent from");
    assert!(honest > 0);

    // The longest prefix wins, also when it leads nowhere. What is said of others is not disturbed.
    start_pinging(&mut web_guest, "192.168.7.1").await;
    let nowhere = (RouteTarget::Blackhole, "");
    let hole = route(&acme, "hole", "192.168.7.128/25", nowhere).await;
    until(&mut web_guest, "192.168.7.129", false, &hosts).await;
    delete(&acme, &hole).await;
    until(&mut web_guest, "192.168.7.129", true, &hosts).await;
    let (answers, silence) = longest_silence(&mut web_guest).await;
    eprintln!("{answers} answers, longest silence {silence:?}");
    assert!(answers > RATE && silence < 3 * SECOND);

    for host in hosts {
        nothing_to_do(host, "prismnet-agent").await;
    }
    delete(&acme, &office).await;
    until(&mut web_guest, "192.168.7.1", false, &hosts).await;
    source_check(&acme, &vpn, true).await;
    assert!(reaches(&mut web_guest, "10.0.1.20").await);
    assert!(reaches(&mut vpn_guest, "10.0.1.10").await);
}
