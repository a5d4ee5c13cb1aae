//! Names of VMs, as guests get them: each tenant its own, whoever else has the same.

use std::time::Duration;

use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use photon_resource::vrf_name;
use tokio::time::Instant;
use xtask::photoncloud::{self, CREDENTIALS};
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine, Tenant};

const SERVERS: &str = "flashdns-server plasmavmc-server prismnet-server iam-server";
/// Lookups of the guest that watches while there is no control plane, a second apart.
const LOOKUPS: u32 = 40;
/// For as many of them the resolver may be away: it starts again on a host that is emulated.
const MISSED: u32 = 4;

pub fn name(machine: &str, org: &str) -> String {
    format!("{machine}.web.{org}.cloud.internal")
}

/// What `nslookup` says of a name, asked of a server.
pub async fn lookup(guest: &mut Guest<Console>, kind: &str, name: &str, server: &str) -> String {
    let command = format!("nslookup -type={kind} {name} {server} 2>&1");
    guest.run(&command, 60 * SECOND).await.unwrap().1
}

/// Asks until the answer has these words.
pub async fn until_told(guest: &mut Guest<Console>, name: &str, server: &str, words: &str) {
    let deadline = Instant::now() + 60 * SECOND;
    loop {
        let said = lookup(guest, "a", name, server).await;
        if said.contains(words) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} of {server}: {said}");
    }
}

/// Two VMs, of which the second is asked for, and a subnet beside theirs.
async fn tenant(cloud: &Cloud, org: &str, db: &str, beside: (&str, &str)) -> (Tenant, Machine) {
    let tenant = cloud.tenant(org).await;
    let app = tenant.machine("app", "10.0.1.10").await;
    tenant.machine("db", db).await;
    let (cidr, gateway) = beside;
    let made = tenant
        .session
        .create_subnet(&tenant.vpc, "beside", cidr, gateway);
    made.await.unwrap();
    (tenant, app)
}

/// The question for a name's addresses as TCP carries it, for `printf`.
fn framed(name: &str) -> String {
    let labels = name
        .split('.')
        .flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes()));
    let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0].into_iter();
    let question: Vec<u8> = header.chain(labels).chain([0, 0, 1, 0, 1]).collect();
    let length = (question.len() as u16).to_be_bytes();
    let bytes = length.iter().chain(&question);
    bytes.map(|byte| format!("\\{byte:03o}")).collect()
}

async fn tracked(host: &Host) -> String {
    let command = "conntrack -L 2>/dev/null | grep -E 'port=53( |$)' || true";
    host.check(command).await.unwrap()
}

#[tokio::test]
async fn each_tenant_is_answered_its_own_names_also_without_the_control_plane() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    // The same range, the same names, the same host.
    let (acme, acme_app) = tenant(&cloud, "acme", "10.0.1.11", ("10.0.2.0/24", "10.0.2.1")).await;
    let (globex, globex_app) =
        tenant(&cloud, "globex", "10.0.1.12", ("10.0.3.0/24", "10.0.3.1")).await;
    let mut in_acme = acme.guest(&acme_app).await;
    let mut in_globex = globex.guest(&globex_app).await;

    until_told(&mut in_acme, &name("db", "acme"), "10.0.1.1", "10.0.1.11").await;
    until_told(
        &mut in_globex,
        &name("db", "globex"),
        "10.0.1.1",
        "10.0.1.12",
    )
    .await;
    // The other's names are not there; nor is it said whether they are anywhere.
    for other in ["globex", "nobody"] {
        let said = lookup(&mut in_acme, "a", &name("db", other), "10.0.1.1").await;
        assert!(said.contains("NXDOMAIN"), "{said}");
    }
    // Any gateway of the VPC answers, from its own address; one of another VPC's does not.
    until_told(&mut in_acme, &name("db", "acme"), "10.0.2.1", "10.0.1.11").await;
    let said = lookup(&mut in_acme, "a", &name("db", "acme"), "10.0.3.1").await;
    assert!(
        !said.contains("10.0.1.11") && !said.contains("NXDOMAIN"),
        "{said}"
    );
    let said = lookup(&mut in_acme, "ptr", "11.1.0.10.in-addr.arpa", "10.0.1.1").await;
    assert!(said.contains(&name("db", "acme")), "{said}");
    let said = lookup(&mut in_acme, "a", "example.com", "10.0.1.1").await;
    assert!(said.contains("REFUSED"), "{said}");

    // A zone of the tenant's own: an alias is followed to the VM. Nobody else has it.
    let photon = "photon --org acme --project web dns";
    host.check(&format!(
        "set -e; photon login operator --password-file {CREDENTIALS}/operator-password
         {photon} zone create shop.example --vpc main
         {photon} record create shop.example www CNAME {}",
        name("db", "acme")
    ))
    .await
    .unwrap();
    until_told(&mut in_acme, "www.shop.example", "10.0.1.1", "10.0.1.11").await;
    let said = lookup(&mut in_globex, "a", "www.shop.example", "10.0.1.1").await;
    assert!(said.contains("REFUSED"), "{said}");

    // By TCP: the address is the end of the answer.
    let tcp = format!(
        "printf '{}' | timeout 10 nc 10.0.1.1 53 | hexdump -v -e '1/1 \"%02x\"'",
        framed(&name("db", "acme"))
    );
    let (_, said) = in_acme.run(&tcp, 60 * SECOND).await.unwrap();
    assert!(said.ends_with("00040a00010b"), "{said}");

    // Guests are told of their gateway by DHCP.
    let asked = "printf '#!/bin/sh\\n[ \"$1\" = bound ] && echo servers=$dns\\n' > /tmp/told && chmod +x /tmp/told && \
                 udhcpc -f -q -n -i eth0 -s /tmp/told 2>/dev/null";
    let said = in_acme.check(asked, 60 * SECOND).await.unwrap();
    assert!(said.contains("servers=10.0.1.1"), "{said}");

    // With somebody to ask for foreign names they are asked for, and our own are not.
    host.check(
        "set -e; systemd-run --quiet --unit=upstream dnsmasq -k --port=5335 --listen-address=127.0.0.1 --bind-interfaces \
           --no-resolv --no-hosts --address=/outside.example/203.0.113.7 --address=/cloud.internal/203.0.113.8
         mkdir -p /etc/photoncloud; file=/etc/photoncloud/flashdns-agent
         printf '[flashdns-agent]\nupstream = \"127.0.0.1:5335\"\n' > $file.toml
         echo PHOTON_CONFIG=$file.toml > $file.env; systemctl restart flashdns-agent",
    )
    .await
    .unwrap();
    until_told(
        &mut in_acme,
        "www.outside.example",
        "10.0.1.1",
        "203.0.113.7",
    )
    .await;
    let said = lookup(&mut in_acme, "a", &name("db", "nobody"), "10.0.1.1").await;
    assert!(said.contains("NXDOMAIN"), "{said}");

    // Nothing of it took room in the host's table of connections.
    assert_eq!(tracked(&host).await, "");
    let deaf = "cat /proc/sys/net/ipv4/udp_l3mdev_accept /proc/sys/net/ipv4/tcp_l3mdev_accept";
    assert_eq!(host.check(deaf).await.unwrap().trim(), "0\n0");

    // Who asks too fast is dropped at its TAP, and its neighbour does not notice.
    host.check(
        "set -e; file=/etc/photoncloud/prismnet-agent
         printf '[prismnet-agent]\nport_queries_per_second = 5\n' > $file.toml
         echo PHOTON_CONFIG=$file.toml > $file.env; systemctl restart prismnet-agent
         until nft list chain bridge photon question | grep -q 'over 5/second'; do sleep 0.2; done",
    )
    .await
    .unwrap();
    let flood = format!(
        "for n in $(seq 60); do (timeout 3 nslookup -type=a {} 10.0.1.1 >/dev/null 2>&1 &); done",
        name("db", "acme")
    );
    in_acme.check(&flood, 60 * SECOND).await.unwrap();
    for _ in 0..5 {
        let said = lookup(&mut in_globex, "a", &name("db", "globex"), "10.0.1.1").await;
        assert!(said.contains("10.0.1.12"), "{said}");
    }
    let dropped =
        "nft list chain bridge photon question | sed -n 's/.*counter packets \\([0-9]*\\).*/\\1/p'";
    let dropped = host.check(dropped).await.unwrap();
    eprintln!("{} questions of a flood were dropped", dropped.trim());
    assert!(dropped.trim().parse::<u32>().unwrap() > 0);

    // A VRF that is made anew has another index, and the resolver other sockets.
    let vrf = vrf_name(acme.vpc.id.parse().unwrap());
    host.check(&format!("ip link delete {vrf}")).await.unwrap();
    until_told(&mut in_acme, &name("db", "acme"), "10.0.1.1", "10.0.1.11").await;

    // Without servers, and with agents that have just died.
    let watch = format!(
        "(for n in $(seq {LOOKUPS}); do nslookup -type=a {} 10.0.1.1 2>&1 | grep -q 10.0.1.11 && echo yes || echo no; \
         sleep 1; done > /tmp/lookups; echo end >> /tmp/lookups) >/dev/null 2>&1 &",
        name("db", "acme")
    );
    in_acme.check(&watch, 30 * SECOND).await.unwrap();
    drop((in_acme, in_globex));
    host.check(&format!("systemctl stop {SERVERS}"))
        .await
        .unwrap();
    host.check(
        "systemctl kill -s KILL flashdns-agent prismnet-agent plasmavmc-agent; \
         until systemctl is-active -q flashdns-agent; do sleep 0.2; done",
    )
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(u64::from(LOOKUPS) / 2)).await;
    host.check(&format!("systemctl start {SERVERS}"))
        .await
        .unwrap();
    photoncloud::wait_until_active(&host).await.unwrap();
    let mut in_acme = acme.guest(&acme_app).await;
    let counted = "until grep -q end /tmp/lookups; do sleep 1; done; grep -c no /tmp/lookups; true";
    let missed = in_acme.check(counted, 240 * SECOND).await.unwrap();
    eprintln!("{} of {LOOKUPS} lookups were missed", missed.trim());
    assert!(missed.trim().parse::<u32>().unwrap() <= MISSED, "{missed}");
    assert_eq!(tracked(&host).await, "");
}
