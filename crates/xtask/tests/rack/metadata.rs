//! What guests are told of themselves at 169.254.169.254, by their own host: each its own, whoever else has its address.

use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use photon_resource::tap_name;
use tokio::time::Instant;
use xtask::photoncloud::{self, CREDENTIALS};

use crate::SECOND;
use crate::cloud::{BOOT, Cloud};

const SERVERS: &str = "flashdns-server plasmavmc-server prismnet-server iam-server";
const AGENTS: &str = "flashdns-agent prismnet-agent plasmavmc-agent";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds: 600";
const ID: &str = "/latest/meta-data/instance-id";

/// Asks, and gives the status and the body.
async fn ask(guest: &mut Guest<Console>, what: &str, headers: &[&str]) -> (String, String) {
    let named = headers.iter().any(|it| it.starts_with("Host:"));
    let own = (!named).then_some("Host: 169.254.169.254");
    let headers: String = own
        .iter()
        .chain(headers)
        .map(|it| format!("{it}\\r\\n"))
        .collect();
    // The connection must not end before it is answered.
    let command = format!(
        "(printf '{what} HTTP/1.1\\r\\n{headers}Connection: close\\r\\n\\r\\n'; sleep 1) | \
         timeout 15 nc 169.254.169.254 80 2>/dev/null | tr -d '\\r'"
    );
    let (_, said) = guest.run(&command, 60 * SECOND).await.unwrap();
    let status = said.split_whitespace().nth(1).unwrap_or_default();
    let (_, body) = said.split_once("\n\n").unwrap_or_default();
    (status.to_owned(), body.trim().to_owned())
}

async fn status(guest: &mut Guest<Console>, what: &str, headers: &[&str]) -> String {
    ask(guest, what, headers).await.0
}

/// A token, as the header to send it in. Asks until it gets one.
async fn token(guest: &mut Guest<Console>) -> String {
    let deadline = Instant::now() + 60 * SECOND;
    loop {
        let (status, body) = ask(guest, "PUT /latest/api/token", &[TTL]).await;
        if status == "200" {
            return format!("X-aws-ec2-metadata-token: {body}");
        }
        assert!(Instant::now() < deadline, "{status}: {body}");
    }
}

/// Which VM the guest is told that it is.
pub async fn who(guest: &mut Guest<Console>) -> String {
    let token = token(guest).await;
    ask(guest, &format!("GET {ID}"), &[&token]).await.1
}

async fn until_status(guest: &mut Guest<Console>, what: &str, headers: &[&str], wanted: &str) {
    let deadline = Instant::now() + 60 * SECOND;
    while status(guest, what, headers).await != wanted {
        assert!(Instant::now() < deadline, "{what} is not {wanted}");
    }
}

#[tokio::test]
async fn each_guest_is_told_what_it_is_and_nobody_else_also_without_the_control_plane() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    // The same range, the same address, the same name, the same host.
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    let acme_app = acme.machine("app", "10.0.1.10").await;
    let globex_app = globex.machine("app", "10.0.1.10").await;
    let mut in_acme = acme.guest(&acme_app).await;
    let mut in_globex = globex.guest(&globex_app).await;

    let acme_token = token(&mut in_acme).await;
    let globex_token = token(&mut in_globex).await;
    let read = format!("GET {ID}");
    let said = ask(&mut in_acme, &read, &[&acme_token]).await;
    assert_eq!(said, ("200".into(), acme_app.vm.id.clone()));
    let said = ask(&mut in_globex, &read, &[&globex_token]).await;
    assert_eq!(said, ("200".into(), globex_app.vm.id.clone()));

    // The other's token, none, a proxy, another name, no such thing.
    assert_eq!(status(&mut in_acme, &read, &[&globex_token]).await, "401");
    assert_eq!(status(&mut in_acme, &read, &[]).await, "401");
    let forwarded = "X-Forwarded-For: 10.0.1.11";
    let refused = status(&mut in_acme, &read, &[&acme_token, forwarded]).await;
    assert_eq!(refused, "403");
    let rebound = "Host: rebound.example";
    let refused = status(&mut in_acme, &read, &[&acme_token, rebound]).await;
    assert_eq!(refused, "421");
    let credentials = "GET /latest/meta-data/iam/security-credentials/";
    assert_eq!(
        status(&mut in_acme, credentials, &[&acme_token]).await,
        "404"
    );

    // With a route of its own the guest asks for the address' MAC, and its host answers.
    let route = "ip route add 169.254.169.254/32 dev eth0 && ip neigh flush dev eth0";
    in_acme.check(route, 30 * SECOND).await.unwrap();
    assert_eq!(status(&mut in_acme, &read, &[&acme_token]).await, "200");
    let back = "ip route del 169.254.169.254/32 dev eth0";
    in_acme.check(back, 30 * SECOND).await.unwrap();

    // A token goes one hop.
    let tap = tap_name(acme_app.port.id.parse().unwrap());
    let watch = format!(
        "rm -f /tmp/hops; systemd-run --quiet --unit=hops sh -c 'exec timeout 60 tcpdump -lnvi {tap} -c 1 \
           src host 169.254.169.254 and \"tcp[tcpflags] & tcp-push != 0\" >/tmp/hops 2>/dev/null'; sleep 3"
    );
    host.check(&watch).await.unwrap();
    token(&mut in_acme).await;
    let hops = "until grep -q ttl /tmp/hops; do sleep 0.2; done; cat /tmp/hops";
    let hops = host.check(hops).await.unwrap();
    assert!(hops.contains("ttl 1,"), "{hops}");

    // Nothing of it took room in the host's table of connections, and nobody but the group reads the files.
    let tracked = "conntrack -L 2>/dev/null | grep -F 169.254.169.254 || true";
    assert_eq!(host.check(tracked).await.unwrap(), "");
    let file = format!("/run/photoncloud/metadata/{}.json", acme_app.vm.id);
    let may = host.check(&format!("stat -c '%a %U %G' {file}")).await;
    assert_eq!(may.unwrap().trim(), "640 root photoncloud-metadata");

    // Their owner lets them ask without a token, and those of before OpenStack; and has them told nothing.
    let photon = "photon --org acme --project web vm update app";
    host.check(&format!(
        "set -e; photon login operator --password-file {CREDENTIALS}/operator-password
         {photon} --metadata-tokens optional"
    ))
    .await
    .unwrap();
    until_status(&mut in_acme, &read, &[], "200").await;
    let openstack = "GET /openstack/latest/meta_data.json";
    let (_, said) = ask(&mut in_acme, openstack, &[]).await;
    assert!(said.contains(&acme_app.vm.id), "{said}");
    assert_eq!(status(&mut in_globex, openstack, &[]).await, "401");
    host.check(&format!("{photon} --metadata off"))
        .await
        .unwrap();
    until_status(&mut in_acme, &read, &[], "404").await;
    host.check(&format!(
        "{photon} --metadata on --metadata-tokens required"
    ))
    .await
    .unwrap();
    until_status(&mut in_acme, &read, &[], "401").await;

    // Without servers and agents; a program that was started anew knows no token of before.
    let consoles = "/tmp/told";
    let background = format!(
        "(for n in $(seq 40); do (printf 'GET {ID} HTTP/1.1\\r\\nHost: 169.254.169.254\\r\\n{acme_token}\\r\\n\
         Connection: close\\r\\n\\r\\n'; sleep 1) | timeout 5 nc 169.254.169.254 80 2>/dev/null | \
         grep -q '^HTTP/1.1 200' && echo yes || echo no; done > {consoles}; echo end >> {consoles}) >/dev/null 2>&1 &"
    );
    in_acme.check(&background, 30 * SECOND).await.unwrap();
    drop((in_acme, in_globex));
    host.check(&format!("systemctl stop {SERVERS} {AGENTS}"))
        .await
        .unwrap();
    tokio::time::sleep(60 * SECOND).await;
    host.check("systemctl kill -s KILL plasmavmc-metadata; until systemctl is-active -q plasmavmc-metadata; do sleep 0.2; done")
        .await
        .unwrap();
    host.check(&format!("systemctl start {SERVERS} {AGENTS}"))
        .await
        .unwrap();
    photoncloud::wait_until_active(&host).await.unwrap();
    let mut in_acme = acme.guest(&acme_app).await;
    let counted =
        format!("until grep -q end {consoles}; do sleep 1; done; grep -c yes {consoles}; true");
    let told = in_acme.check(&counted, 240 * SECOND).await.unwrap();
    eprintln!("{} of 40 requests were answered", told.trim());
    assert!(told.trim().parse::<u32>().unwrap() >= 20, "{told}");
    assert_eq!(status(&mut in_acme, &read, &[&acme_token]).await, "401");
    let again = token(&mut in_acme).await;
    assert_eq!(status(&mut in_acme, &read, &[&again]).await, "200");

    // What is told of a VM goes with it.
    host.check(&format!(
        "set -e; photon --org acme --project web vm delete app --yes
         for n in $(seq 300); do test -e {file} || exit 0; sleep 0.2; done; exit 1"
    ))
    .await
    .unwrap();
}

#[tokio::test]
async fn a_host_that_boots_without_the_control_plane_tells_its_guests_what_they_are() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let machine = acme.machine("app", "10.0.1.10").await;
    let mut guest = acme.guest(&machine).await;
    assert_eq!(who(&mut guest).await, machine.vm.id);
    drop(guest);

    // No server starts with the host.
    host.check(&format!(
        "set -e; for server in {SERVERS}; do
           mkdir -p /etc/systemd/system/$server.service.d
           printf '[Unit]\nConditionPathExists=/nowhere\n' > /etc/systemd/system/$server.service.d/away.conf
         done; sync"
    ))
    .await
    .unwrap();
    host.power_cut().await.unwrap();
    host.boot().await.unwrap();
    let id = &machine.vm.id;
    host.check(&format!(
        "for n in $(seq 900); do
           test -e /run/photoncloud/metadata/{id}.json && systemctl is-active -q photon-vm-{id} && \
             ss -Htln | grep -q '169.254.169.254%pv' && exit 0
           sleep 0.2
         done; exit 1"
    ))
    .await
    .unwrap();
    host.check("! systemctl is-active -q plasmavmc-server")
        .await
        .unwrap();

    // Only to talk to the guest they are needed.
    host.check(&format!(
        "set -e; rm /etc/systemd/system/*.service.d/away.conf; systemctl daemon-reload; systemctl start {SERVERS}"
    ))
    .await
    .unwrap();
    photoncloud::wait_until_active(&host).await.unwrap();
    let deadline = Instant::now() + 120 * SECOND;
    let mut guest = loop {
        match acme.session.guest(&machine.vm).await {
            Ok(guest) => break guest,
            Err(error) => assert!(Instant::now() < deadline, "no console: {error:#}"),
        }
        tokio::time::sleep(SECOND / 2).await;
    };
    guest.lease(BOOT).await.unwrap();
    assert_eq!(who(&mut guest).await, machine.vm.id);
}
