//! Out of a VPC and in: by a NAT gateway and by floating IPs, on a host with an interface in an external network.

use std::time::Instant;

use photon_api::prismnet::v1::{
    AddRuleRequest, AddressRange, AssociateFloatingIpRequest, CreateExternalNetworkRequest,
    CreateFloatingIpRequest, CreateNatGatewayRequest, Direction, FloatingIp,
    ListSecurityGroupsRequest, NatGateway, Protocol, SecurityGroupRule,
};
use photon_client::call::Carries;
use photon_e2e::Session;
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use xtask::photoncloud::wait_until_active;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine, Tenant};
use crate::pings::{RATE, longest_silence, start_pinging};

/// Who is called, and has the router's address of the external network.
pub const NEIGHBOUR: &str = "203.0.113.1";
/// Beyond the router: the one is anybody's, the other the rack's own.
pub const BEYOND: &str = "198.18.0.1";
const PROTECTED: &str = "198.18.1.1";

/// A neighbour of the cloud's, by a wire that ends on the host: it tells on port 7000 who has called, and on 7001 it keeps
/// what it hears.
pub const OUTSIDE: &str = r#"
set -e
ip netns add outside
ip link add ext0 type veth peer name wire netns outside
ip link set ext0 up
ip -n outside link set lo up
ip -n outside link set wire up
ip -n outside address add 203.0.113.1/24 dev wire
ip -n outside address add 198.18.0.1/24 dev lo
ip -n outside address add 198.18.1.1/24 dev lo
systemd-run -q --unit=outside-who -p NetworkNamespacePath=/run/netns/outside \
  socat TCP-LISTEN:7000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR'
systemd-run -q --unit=outside-hears -p NetworkNamespacePath=/run/netns/outside \
  socat -u TCP-LISTEN:7001,fork,reuseaddr OPEN:/run/heard,creat,append
mkdir -p /etc/photoncloud
cat > /etc/photoncloud/prismnet-agent.toml <<SETTINGS
[prismnet-agent]
external_interfaces = { uplink = "ext0" }
protected_networks = ["198.18.1.0/24"]
SETTINGS
echo PHOTON_CONFIG=/etc/photoncloud/prismnet-agent.toml > /etc/photoncloud/prismnet-agent.env
systemctl restart prismnet-agent
"#;

/// All that is known of a gateway that does not do what it should.
pub const EXPLAIN: &str = r#"
systemctl --no-pager -l status 'photon-netns@*' 'photon-gateway@*' | head -60
ls -l /run/netns /run/photoncloud/gateways
for name in $(ls /run/netns | grep ^pn); do
  ip -n $name address; ip -n $name route; ip netns exec $name nft list ruleset; ip -n $name neigh
done
ip -br link; bridge link; ip route show table all | grep -v local; ip neigh
journalctl --no-pager -o cat -n 60 -u prismnet-agent
"#;

pub async fn offer(operator: &Session) {
    let request = CreateExternalNetworkRequest {
        name: "uplink".into(),
        cidr: "203.0.113.0/24".into(),
        pools: vec![AddressRange {
            first: "203.0.113.100".into(),
            last: "203.0.113.199".into(),
        }],
        ..Default::default()
    };
    operator.call(request).await.unwrap();
}

async fn gateway(tenant: &Tenant) -> NatGateway {
    let request = CreateNatGatewayRequest {
        name: "out".into(),
        vpc_id: tenant.vpc.id.clone(),
        ..Default::default()
    };
    let made = tenant.session.here(request).await.unwrap();
    made.resource().unwrap()
}

async fn floating_ip(tenant: &Tenant, name: &str) -> FloatingIp {
    let request = CreateFloatingIpRequest {
        name: name.into(),
        ..Default::default()
    };
    let made = tenant.session.here(request).await.unwrap();
    made.resource().unwrap()
}

async fn associate(tenant: &Tenant, floating: &FloatingIp, machine: &Machine) {
    let request = AssociateFloatingIpRequest {
        id: floating.id.clone(),
        port_id: machine.port.id.clone(),
        reassociate: true,
        ..Default::default()
    };
    tenant.session.here(request).await.unwrap();
}

/// Lets everybody in.
async fn open(tenant: &Tenant) {
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

/// Waits until the neighbour takes the guest for `address`: the way is made after the call is answered.
async fn comes_from(host: &Host, guest: &mut Guest<Console>, address: &str) {
    let ask = format!(
        "for try in $(seq 30); do who=$(nc -w 3 {NEIGHBOUR} 7000 </dev/null 2>/dev/null); [ \"$who\" = {address} ] && break; sleep 1; \
         done; echo \"$who\""
    );
    let begun = Instant::now();
    let seen = guest.check(&ask, 180 * SECOND).await.unwrap();
    if seen.trim() != address {
        let explained = host.run(EXPLAIN).await.map(|it| it.stdout);
        panic!("'{seen}', not {address}: {}", explained.unwrap_or_default());
    }
    eprintln!(
        "from {address} after {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}

/// The guest's console, as soon as it can be had.
async fn console(tenant: &Tenant, machine: &Machine) -> Guest<Console> {
    for _ in 0..60 {
        if let Ok(guest) = tenant.session.guest(&machine.vm).await {
            return guest;
        }
        tokio::time::sleep(SECOND).await;
    }
    tenant.session.guest(&machine.vm).await.unwrap()
}

async fn reaches(guest: &mut Guest<Console>, address: &str) -> bool {
    let ping = format!("ping -c 3 -W 2 {address} >/dev/null");
    guest.run(&ping, 30 * SECOND).await.unwrap().0 == 0
}

async fn outside_reaches(host: &Host, address: &str) -> bool {
    let ping = format!("ip netns exec outside ping -c 4 -i 0.5 -W 2 {address} >/dev/null");
    host.run(&ping).await.unwrap().success()
}

#[tokio::test]
async fn egress_by_nat_and_floating_ips() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    host.check(OUTSIDE).await.unwrap();
    offer(&cloud.operator).await;
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    let (web, back) = (
        acme.machine("web", "10.0.1.10").await,
        acme.machine("back", "10.0.1.11").await,
    );
    let twin = globex.machine("web", "10.0.1.10").await;
    let mut web_guest = acme.guest(&web).await;
    let mut back_guest = acme.guest(&back).await;
    let mut twin_guest = globex.guest(&twin).await;

    // Without a gateway there is no way out.
    assert!(!reaches(&mut web_guest, NEIGHBOUR).await);
    let (out, other) = (gateway(&acme).await, gateway(&globex).await);
    comes_from(&host, &mut web_guest, &out.addresses[0]).await;
    // Two tenants' guests with one address, to one destination.
    comes_from(&host, &mut twin_guest, &other.addresses[0]).await;
    assert!(reaches(&mut web_guest, BEYOND).await);
    // What is the rack's own is not there, nor does anybody come in unasked.
    assert!(!reaches(&mut web_guest, PROTECTED).await);
    assert!(!outside_reaches(&host, "10.0.1.10").await);
    let route = format!("10.0.0.0/16 via {}", out.addresses[0]);
    host.check(&format!("ip -n outside route add {route}"))
        .await
        .unwrap();
    assert!(!outside_reaches(&host, "10.0.1.10").await);
    host.check(&format!("ip -n outside route delete {route}"))
        .await
        .unwrap();

    // Out by an address of its own, and in as soon as the security group lets in who is outside.
    let floating = floating_ip(&acme, "web").await;
    associate(&acme, &floating, &web).await;
    let address = floating.ip_address.clone();
    comes_from(&host, &mut web_guest, &address).await;
    comes_from(&host, &mut back_guest, &out.addresses[0]).await;
    assert!(!outside_reaches(&host, &address).await);
    open(&acme).await;
    let mut tries = 0;
    while !outside_reaches(&host, &address).await {
        tries += 1;
        assert!(tries < 10, "{}", host.check(EXPLAIN).await.unwrap());
    }
    // From within: itself, its neighbour, another tenant.
    assert!(reaches(&mut web_guest, &address).await, "itself");
    assert!(reaches(&mut back_guest, &address).await, "its neighbour");
    assert!(reaches(&mut twin_guest, &address).await, "another tenant");

    // Moved while it is spoken by: who spoke speaks no more, and it leads to the other.
    let speak = format!(
        "(while true; do echo {address}; sleep 0.3; done | nc {NEIGHBOUR} 7001 >/dev/null 2>&1 &)"
    );
    web_guest.check(&speak, 20 * SECOND).await.unwrap();
    host.check("for try in $(seq 100); do [ -s /run/heard ] && exit 0; sleep 0.1; done; exit 1")
        .await
        .unwrap();
    associate(&acme, &floating, &back).await;
    comes_from(&host, &mut back_guest, &address).await;
    let more = host
        .check("before=$(wc -c < /run/heard); sleep 3; echo $(($(wc -c < /run/heard) - before))")
        .await
        .unwrap();
    assert_eq!(more.trim(), "0", "an old connection goes on");
    assert!(outside_reaches(&host, &address).await);
    comes_from(&host, &mut web_guest, &out.addresses[0]).await;

    // Nobody is needed for what is there, and a filter that is gone comes back.
    start_pinging(&mut back_guest, NEIGHBOUR).await;
    host.check(
        "for unit in prismnet-agent plasmavmc-agent prismnet-server plasmavmc-server iam-server; do \
         systemctl kill -s KILL $unit; done; nft flush ruleset; sleep 3",
    )
    .await
    .unwrap();
    wait_until_active(&host).await.unwrap();
    host.check(
        "for try in $(seq 100); do nft list set bridge photon legs 2>/dev/null | grep -q pi && exit 0; sleep 0.2; done; exit 1",
    )
    .await
    .unwrap();
    tokio::time::sleep(2 * SECOND).await;
    // The consoles went with the daemons.
    let mut back_guest = console(&acme, &back).await;
    let (answers, silence) = longest_silence(&mut back_guest).await;
    eprintln!("{answers} pings answered, longest silence {silence:?}");
    assert!(answers > 5 * RATE, "only {answers} pings were answered");
    assert!(silence <= 3 * SECOND, "pings were lost for {silence:?}");
    assert!(outside_reaches(&host, &address).await);

    // A namespace that is taken away comes back.
    host.check("for name in $(ls /run/netns | grep ^pn); do ip netns delete $name; done")
        .await
        .unwrap();
    let mut twin_guest = console(&globex, &twin).await;
    comes_from(&host, &mut back_guest, &address).await;
    comes_from(&host, &mut twin_guest, &other.addresses[0]).await;
}
