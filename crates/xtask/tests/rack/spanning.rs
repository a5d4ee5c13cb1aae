//! VPCs that span hosts: guests of one VPC reach each other wherever they are, and nobody else.

pub mod stage;

use photon_api::prismnet::v1::{
    AddRuleRequest, CreateSecurityGroupRequest, CreateSubnetRequest, CreateVpcRequest, Direction,
    Protocol, SecurityGroupIds, SecurityGroupRule, UpdatePortRequest,
};
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use tokio::time::Instant;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine, Tenant};
use crate::faults::nothing_to_do;
use crate::metadata;
use crate::names::{lookup, name, until_told};
use crate::pings::{longest_silence, start_pinging};

pub async fn reaches(guest: &mut Guest<Console>, address: &str) -> bool {
    let ping = format!("ping -c 2 -W 2 {address} >/dev/null");
    guest.run(&ping, 30 * SECOND).await.unwrap().0 == 0
}

/// Waits until it does: a host hears of a port on another some time after the port's own.
async fn comes_to_reach(guest: &mut Guest<Console>, address: &str) {
    let deadline = Instant::now() + 60 * SECOND;
    while !reaches(guest, address).await {
        assert!(Instant::now() < deadline, "{address} is not reached");
    }
}

/// Serves a word on a TCP port, until the guest ends.
pub async fn serve(guest: &mut Guest<Console>, tcp: u32, word: &str) {
    let serve = format!(
        "(while echo {word} | nc -l -p {tcp}; do :; done >/dev/null 2>&1 &); \
         until netstat -tln | grep -q ':{tcp} '; do sleep 0.1; done"
    );
    guest.check(&serve, 30 * SECOND).await.unwrap();
}

/// What is served there; empty if nobody answers.
pub async fn ask(guest: &mut Guest<Console>, address: &str, tcp: u32) -> String {
    let ask = format!("sleep 1 | nc -w 3 {address} {tcp}");
    let (_, answer) = guest.run(&ask, 30 * SECOND).await.unwrap();
    answer.trim().to_owned()
}

/// Everything on the underlay that is VXLAN, as its ends.
struct Sniffer(Host);

impl Sniffer {
    async fn start(host: &Host) -> Self {
        host.check(
            "systemd-run -q --unit=sniffer tcpdump -Z root -U -n -i enp1s0 -w /run/underlay.pcap udp port 4789 && \
             until [ -s /run/underlay.pcap ]; do sleep 0.05; done",
        )
        .await
        .unwrap();
        Self(host.clone())
    }

    /// `from > to`, outer addresses, and how often.
    async fn ends(&self) -> Vec<String> {
        let list = "systemctl stop sniffer; \
             tcpdump -n -t -r /run/underlay.pcap 2>/dev/null | \
             sed -n 's/^IP \\([0-9.]*\\)[.][0-9]* > \\([0-9.]*\\)[.]4789: VXLAN.*/\\1 > \\2/p' | sort | uniq -c";
        let listed = self.0.check(list).await.unwrap();
        listed.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// How many lines of what was in the tunnels say this (a regular expression), as tcpdump tells it.
    async fn inner(&self, what: &str) -> usize {
        let list =
            format!("tcpdump -n -e -r /run/underlay.pcap 2>/dev/null | grep -cE '{what}'; true");
        self.0.check(&list).await.unwrap().trim().parse().unwrap()
    }
}

async fn kill_everything(cloud: &Cloud) {
    let kill = "systemctl kill --signal=KILL --kill-whom=main";
    let servers = "iam-server.service prismnet-server.service plasmavmc-server.service";
    let agents = "prismnet-agent.service plasmavmc-agent.service flashdns-agent.service";
    let (first, second) = (cloud.rack.host(1), cloud.rack.host(2));
    first
        .check(&format!("{kill} {servers} {agents}"))
        .await
        .unwrap();
    second.check(&format!("{kill} {agents}")).await.unwrap();
}

async fn on(cloud: &Cloud, tenant: &Tenant, host: &str, name: &str, address: &str) -> Machine {
    let place = (name, address);
    tenant
        .machine_on(&cloud.operator, host, &tenant.subnet, place)
        .await
}

#[tokio::test]
async fn guests_of_a_vpc_reach_each_other_across_hosts_and_nobody_else() {
    let cloud = stage::start().await;
    let (first, second) = (cloud.rack.host(1), cloud.rack.host(2));
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    let sniffer = Sniffer::start(&first).await;
    let back = acme
        .session
        .create_subnet(&acme.vpc, "back", "10.0.2.0/24", "10.0.2.1");
    let back = back.await.unwrap();

    let a1 = on(&cloud, &acme, "node01", "a1", "10.0.1.10").await;
    let a2 = on(&cloud, &acme, "node02", "a2", "10.0.1.11").await;
    let a3 = acme
        .machine_on(&cloud.operator, "node02", &back, ("a3", "10.0.2.10"))
        .await;
    let g1 = on(&cloud, &globex, "node01", "g1", "10.0.1.10").await;
    let g2 = on(&cloud, &globex, "node02", "g2", "10.0.1.12").await;
    let mut a1_guest = acme.guest(&a1).await;
    let mut a2_guest = acme.guest(&a2).await;
    let mut g1_guest = globex.guest(&g1).await;
    let mut g2_guest = globex.guest(&g2).await;
    let mut a3_guest = acme.booted(&a3).await;

    // In one subnet, in two, and in the other tenant's network of the same addresses.
    comes_to_reach(&mut a1_guest, "10.0.1.11").await;
    comes_to_reach(&mut a2_guest, "10.0.1.10").await;
    comes_to_reach(&mut a1_guest, "10.0.2.10").await;
    comes_to_reach(&mut a3_guest, "10.0.1.10").await;
    comes_to_reach(&mut g1_guest, "10.0.1.12").await;
    assert!(!reaches(&mut g1_guest, "10.0.1.11").await);
    assert!(!reaches(&mut g1_guest, "10.0.2.10").await);
    assert!(!reaches(&mut a1_guest, "10.0.1.12").await);
    assert!(!reaches(&mut g2_guest, "10.0.1.11").await);

    // Each is answered by its own host, whose gateway it asks.
    let a1_name = &name("a1", "acme");
    until_told(&mut a2_guest, a1_name, "10.0.1.1", "10.0.1.10").await;
    until_told(&mut a3_guest, a1_name, "10.0.2.1", "10.0.1.10").await;
    until_told(&mut a1_guest, &name("a3", "acme"), "10.0.1.1", "10.0.2.10").await;
    let said = lookup(&mut g2_guest, "a", a1_name, "10.0.1.1").await;
    assert!(said.contains("NXDOMAIN"), "{said}");

    // And is told what it is, by its own host too, also with a route of its own to the address.
    let route = "ip route add 169.254.169.254/32 dev eth0";
    a2_guest.check(route, 30 * SECOND).await.unwrap();
    assert_eq!(metadata::who(&mut a1_guest).await, a1.vm.id);
    assert_eq!(metadata::who(&mut a2_guest).await, a2.vm.id);
    assert_eq!(metadata::who(&mut a3_guest).await, a3.vm.id);
    assert_eq!(metadata::who(&mut g1_guest).await, g1.vm.id);

    serve(&mut a1_guest, 7000, "of-a1").await;
    serve(&mut g1_guest, 7000, "of-g1").await;
    assert_eq!(ask(&mut a2_guest, "10.0.1.10", 7000).await, "of-a1");
    assert_eq!(ask(&mut a3_guest, "10.0.1.10", 7000).await, "of-a1");
    assert_eq!(ask(&mut g2_guest, "10.0.1.10", 7000).await, "of-g1");
    // As large as a guest may send, and not larger: its own interface says so.
    let large = "ping -c 2 -W 2 -s 1422 10.0.1.11 >/dev/null";
    a1_guest.check(large, 30 * SECOND).await.unwrap();
    assert_eq!(mtu(&mut a1_guest).await, "1450");

    obeys_the_receivers_group(&acme, &a1, &mut a1_guest, &mut a2_guest).await;

    // All that manages may die.
    for host in [&first, &second] {
        nothing_to_do(host, "prismnet-agent").await;
    }
    start_pinging(&mut a1_guest, "10.0.1.11").await;
    kill_everything(&cloud).await;
    tokio::time::sleep(20 * SECOND).await;
    let mut a1_guest = again(&acme, &a1).await;
    let (answers, silence) = longest_silence(&mut a1_guest).await;
    eprintln!("{answers} answers, longest silence {silence:?}");
    assert!(answers > 50 && silence < 3 * SECOND);

    let ends = sniffer.ends().await;
    eprintln!("VXLAN on the underlay: {ends:?}");
    let (one, other) = (first.address(), second.address());
    let right = [format!("{one} > {other}"), format!("{other} > {one}")];
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(
        right
            .iter()
            .all(|right| ends.iter().any(|end| end.ends_with(right.as_str())))
    );
    assert!(sniffer.inner("ICMP echo request").await > 0);
    // What is for all, and what is between a guest and the router of its own host.
    let for_all = "> (ff:ff:ff|33:33|01:00:5e)";
    for never in [
        for_all,
        "ethertype ARP",
        "BOOTP",
        "[.]53: ",
        "neighbor (sol|adv)",
        "router (sol|adv)",
        "169[.]254[.]169[.]254",
    ] {
        assert_eq!(sniffer.inner(never).await, 0, "{never} left its host");
    }
}

async fn mtu(guest: &mut Guest<Console>) -> String {
    let mtu = guest
        .check("cat /sys/class/net/eth0/mtu", 30 * SECOND)
        .await;
    mtu.unwrap().trim().to_owned()
}

/// The group of the receiver decides, on the receiver's host, of what comes from another.
async fn obeys_the_receivers_group(
    tenant: &Tenant,
    receiver: &Machine,
    receiver_guest: &mut Guest<Console>,
    sender_guest: &mut Guest<Console>,
) {
    let session = &tenant.session;
    let request = CreateSecurityGroupRequest {
        name: "shop".into(),
        ..Default::default()
    };
    let group = session.call(request).await.unwrap().security_group.unwrap();
    serve(receiver_guest, 7001, "shut").await;
    assert_eq!(ask(sender_guest, "10.0.1.10", 7001).await, "shut");
    let request = AddRuleRequest {
        security_group_id: group.id.clone(),
        rule: Some(SecurityGroupRule {
            direction: Direction::Ingress.into(),
            protocol: Protocol::Tcp.into(),
            port_min: 7000,
            port_max: 7000,
            remote_cidr: "10.0.1.11/32".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    session.call(request).await.unwrap();
    let regroup = |ids: Vec<String>| UpdatePortRequest {
        id: receiver.port.id.clone(),
        security_group_ids: Some(SecurityGroupIds { ids }),
        ..Default::default()
    };
    session.call(regroup(vec![group.id.clone()])).await.unwrap();
    let deadline = Instant::now() + 30 * SECOND;
    while ask(sender_guest, "10.0.1.10", 7001).await == "shut" {
        assert!(Instant::now() < deadline, "what no rule allows comes in");
    }
    assert_eq!(ask(sender_guest, "10.0.1.10", 7000).await, "of-a1");
    assert!(!reaches(sender_guest, "10.0.1.10").await);
    session
        .call(regroup(receiver.port.security_group_ids.clone()))
        .await
        .unwrap();
    comes_to_reach(sender_guest, "10.0.1.10").await;
}

/// A guest's console, opened anew: sessions end with the servers.
async fn again(tenant: &Tenant, machine: &Machine) -> Guest<Console> {
    let deadline = Instant::now() + 120 * SECOND;
    loop {
        if let Ok(mut guest) = tenant.session.guest(&machine.vm).await
            && guest.ready(20 * SECOND).await.is_ok()
        {
            return guest;
        }
        assert!(Instant::now() < deadline, "the console does not answer");
        tokio::time::sleep(SECOND).await;
    }
}

#[tokio::test]
async fn ipv6_crosses_hosts_as_well() {
    let cloud = stage::start().await;
    let acme = cloud.tenant("acme").await;
    let request = CreateVpcRequest {
        name: "six".into(),
        cidr: "10.6.0.0/16".into(),
        ipv6_cidr: "fd00:6::/48".into(),
        ..Default::default()
    };
    let vpc = acme.session.call(request).await.unwrap().vpc.unwrap();
    let mut subnets = Vec::new();
    for number in 1..=2 {
        let request = CreateSubnetRequest {
            vpc_id: vpc.id.clone(),
            name: format!("six-{number}"),
            cidr: format!("10.6.{number}.0/24"),
            ipv6_cidr: format!("fd00:6:0:{number}::/64"),
            dhcp_enabled: Some(true),
            ..Default::default()
        };
        let made = acme.session.call(request).await.unwrap();
        subnets.push(made.subnet.unwrap());
    }
    let mut machines = Vec::new();
    for (host, subnet, name, address) in [
        ("node01", 0, "one", "10.6.1.10"),
        ("node02", 0, "near", "10.6.1.11"),
        ("node02", 1, "far", "10.6.2.10"),
    ] {
        let subnet = &subnets[subnet];
        let machine = acme.machine_on(&cloud.operator, host, subnet, (name, address));
        machines.push(machine.await);
    }
    let mut guest = acme.booted(&machines[0]).await;
    for other in &machines[1..] {
        acme.booted(other).await;
        assert_ne!(other.port.ipv6_address, "");
        let address = format!("-6 {}", other.port.ipv6_address);
        comes_to_reach(&mut guest, &address).await;
    }
    let mtu = guest.check("cat /proc/sys/net/ipv6/conf/eth0/mtu", 30 * SECOND);
    assert_eq!(mtu.await.unwrap().trim(), "1450");
}

/// A guest at the very address of its host, asked by one in another subnet: its own VPC's addresses come first.
#[tokio::test]
async fn a_vpc_may_use_the_range_of_the_rack() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let own = host.address().to_string();
    assert_eq!(own, "192.0.2.1");
    let acme = cloud.tenant("acme").await;
    let session = &acme.session;
    let vpc = session.create_vpc("range", "192.0.2.0/24").await.unwrap();
    let near = session.create_subnet(&vpc, "near", "192.0.2.0/28", "192.0.2.14");
    let near = near.await.unwrap();
    let far = session.create_subnet(&vpc, "far", "192.0.2.16/28", "192.0.2.17");
    let far = far.await.unwrap();
    let name = cloud.operator.ready_hosts().await.unwrap().remove(0);
    let twin = acme.machine_on(&cloud.operator, &name, &near, ("twin", own.as_str()));
    let twin = twin.await;
    let asking = acme.machine_on(&cloud.operator, &name, &far, ("asks", "192.0.2.20"));
    let asking = asking.await;
    let mut twin_guest = acme.booted(&twin).await;
    let mut asking_guest = acme.booted(&asking).await;

    serve(&mut twin_guest, 7000, "the-guest").await;
    comes_to_reach(&mut asking_guest, &own).await;
    assert_eq!(ask(&mut asking_guest, &own, 7000).await, "the-guest");
    // The host is still who it was for everybody else.
    host.check("ping -c 1 -W 2 192.0.2.254 && ping -c 1 -W 2 192.0.2.1")
        .await
        .unwrap();

    // networkd removes rules that it does not know of others, and not this one.
    host.check(
        "systemctl stop prismnet-agent && systemctl restart systemd-networkd && networkctl reload && \
         ip rule list table local | grep ^1001:",
    )
    .await
    .unwrap();
    // Without it, as the kernel begins, the host takes the packet for its own.
    host.check("ip rule add pref 0 table local").await.unwrap();
    assert_ne!(ask(&mut asking_guest, &own, 7000).await, "the-guest");
    // The agent takes that back, and whatever else comes before the VPCs'.
    let is_healed = "until ip rule list table local | grep -q ^1001: && \
                     ! ip rule list table local | grep -qv ^1001:; do sleep 0.2; done";
    for more in ["true", "ip rule add pref 5 table local"] {
        host.check(&format!(
            "{more}; systemctl restart prismnet-agent; {is_healed}"
        ))
        .await
        .unwrap();
    }
    assert_eq!(ask(&mut asking_guest, &own, 7000).await, "the-guest");
}
