//! Fair use of a host: who takes all that it can is cut, and its neighbour does not notice (decision 0033).

use std::time::Duration;

use photon_api::plasmavmc::v1::{CreateVmRequest, Disk, VmPhase, VmSpec};
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use photon_e2e::vm::COMMAND_LINE;
use photon_resource::{bridge_name, tap_name};
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud, Machine};
use crate::pings::{RATE, longest_silence, start_pinging};

/// Far below what an emulated guest can send.
const PACKETS: u64 = 15;
const FLOOD: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 64;
const TRIED: u32 = 150;
const DISK_BYTES: u64 = 1 << 20;

/// Writes the section of an agent's settings, and starts the agent with it: its guests do not notice.
async fn set(host: &Host, agent: &str, section: &str) {
    let file = format!("/etc/photoncloud/{agent}.toml");
    host.check(&format!(
        "mkdir -p /etc/photoncloud && printf '[{agent}]\\n{section}' > {file} && \
         echo PHOTON_CONFIG={file} > /etc/photoncloud/{agent}.env && systemctl restart {agent}"
    ))
    .await
    .unwrap();
}

/// Waits until the host's filter says so.
async fn filter_says(host: &Host, words: &str) {
    host.check(&format!(
        "for try in $(seq 100); do nft list table bridge photon | grep -q '{words}' && exit 0; sleep 0.2; done; \
         nft list table bridge photon; exit 1"
    ))
    .await
    .unwrap();
}

/// Packets that a TAP has carried: from its guest, or to it.
async fn packets(host: &Host, machine: &Machine, counter: &str) -> u64 {
    let tap = tap_name(machine.port.id.parse().unwrap());
    let path = format!("/sys/class/net/{tap}/statistics/{counter}");
    let text = host.check(&format!("cat {path}")).await.unwrap();
    text.trim().parse().unwrap()
}

async fn number(guest: &mut Guest<Console>, command: &str, limit: Duration) -> u32 {
    let text = guest.check(command, limit).await.unwrap();
    text.trim().parse().unwrap()
}

#[tokio::test]
async fn who_floods_is_cut_and_its_neighbour_does_not_notice() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    let flooder = acme.machine("flooder", "10.0.1.10").await;
    let target = acme.machine("target", "10.0.1.11").await;
    let quiet = globex.machine("quiet", "10.0.1.10").await;
    let peer = globex.machine("peer", "10.0.1.11").await;
    let mut flooder_guest = acme.guest(&flooder).await;
    let _target_guest = acme.guest(&target).await;
    let mut quiet_guest = globex.guest(&quiet).await;
    let _peer_guest = globex.guest(&peer).await;

    // A new limit holds for ports that are there.
    let pace = format!(
        "port_packets_per_second = {PACKETS}\\nport_bytes_per_second = 0\\nvpc_connections = 0\\n"
    );
    set(&host, "prismnet-agent", &pace).await;
    filter_says(&host, &format!("limit rate over {PACKETS}/second")).await;
    start_pinging(&mut quiet_guest, "10.0.1.11").await;
    flooder_guest
        .check(
            "for flood in 1 2 3 4; do (ping -q -s 1000 -i 0.002 10.0.1.11 >/dev/null 2>&1 &); done",
            30 * SECOND,
        )
        .await
        .unwrap();
    // What may come at once is over.
    tokio::time::sleep(2 * SECOND).await;
    let before = (
        packets(&host, &flooder, "rx_packets").await,
        packets(&host, &target, "tx_packets").await,
        tokio::time::Instant::now(),
    );
    tokio::time::sleep(FLOOD).await;
    let sent = packets(&host, &flooder, "rx_packets").await - before.0;
    let arrived = packets(&host, &target, "tx_packets").await - before.1;
    let allowed = PACKETS * before.2.elapsed().as_millis() as u64 / 1000;
    flooder_guest
        .run("killall ping", 60 * SECOND)
        .await
        .unwrap();
    let (answers, silence) = longest_silence(&mut quiet_guest).await;
    eprintln!(
        "{sent} packets sent, {arrived} arrived, {allowed} allowed; the other tenant: {answers} answers, \
         longest silence {silence:?}"
    );
    assert!(sent > 2 * allowed, "{sent} packets are no flood");
    // A tenth more for what lies between two readings of a busy host.
    assert!(arrived <= allowed + allowed / 10, "{arrived} of {allowed}");
    assert!(arrived >= allowed / 2, "{arrived} of {allowed}");
    assert!(answers > 5 * RATE, "only {answers} pings were answered");
    assert!(silence <= SECOND, "pings were lost for {silence:?}");

    let connections = format!("port_packets_per_second = 0\\nvpc_connections = {CONNECTIONS}\\n");
    set(&host, "prismnet-agent", &connections).await;
    filter_says(&host, "ct count over 32").await;
    // Each process pings with an identifier of its own, which is a connection for the 30 s that the kernel remembers it.
    let all = format!(
        "rm -f /tmp/answered; touch /tmp/answered; for try in $(seq {TRIED}); do \
         (ping -q -c 1 -W 5 10.0.1.11 >/dev/null && echo yes >> /tmp/answered) & done; wait; wc -l < /tmp/answered"
    );
    let answered = number(&mut flooder_guest, &all, 120 * SECOND).await;
    eprintln!("{TRIED} connections tried, {answered} answered");
    assert!(answered <= CONNECTIONS, "{answered}");
    assert!(answered >= CONNECTIONS / 2, "{answered}");
    // Another VPC's connections are its own.
    let others = "ping -c 2 -W 2 10.0.1.11 >/dev/null && echo 1";
    assert_eq!(number(&mut quiet_guest, others, 30 * SECOND).await, 1);

    // Nor does a search through the network take places among the host's neighbours.
    set(&host, "prismnet-agent", "vpc_connections = 0\\n").await;
    let search = "ip route add 10.0.1.128/25 via 10.0.1.1; for last in $(seq 130 189); do \
                  ping -q -c 1 -W 1 10.0.1.$last >/dev/null & done; wait; ip route del 10.0.1.128/25";
    flooder_guest.check(search, 60 * SECOND).await.unwrap();
    let bridge = bridge_name(acme.subnet.id.parse().unwrap());
    let known = host
        .check(&format!("ip neigh show dev {bridge} nud all"))
        .await
        .unwrap();
    let searched = known
        .lines()
        .filter_map(|line| line.strip_prefix("10.0.1."))
        .filter_map(|rest| rest.split(' ').next()?.parse::<u8>().ok())
        .filter(|last| *last >= 128);
    assert_eq!(searched.count(), 0, "{known}");
}

#[tokio::test]
async fn a_disk_is_as_fast_as_its_host_allows() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let limits = format!(
        "disk_bytes_per_second = {DISK_BYTES}\\ndisk_operations_per_second = 0\\ndisk_burst_seconds = 0\\n"
    );
    set(&host, "plasmavmc-agent", &limits).await;
    let tenant = cloud.tenant("acme").await;
    let spec = VmSpec {
        memory_mib: 160,
        kernel_image_id: tenant.image.id.clone(),
        kernel_command_line: COMMAND_LINE.to_owned(),
        disks: vec![Disk {
            id: "data".into(),
            size_bytes: 64 << 20,
            ..Default::default()
        }],
        ..Default::default()
    };
    let request = CreateVmRequest {
        name: "db".into(),
        spec: Some(spec),
        ..Default::default()
    };
    let answer = tenant.session.vms().create_vm(request).await.unwrap();
    let vm = answer.into_inner().vm.unwrap();
    tenant
        .session
        .wait_for_phase(&vm, VmPhase::Running, BOOT)
        .await
        .unwrap();
    let mut guest = tenant.session.guest(&vm).await.unwrap();
    guest.ready(BOOT).await.unwrap();
    const MIB: u64 = 8;
    let read = format!(
        "begun=$(cut -d. -f1 /proc/uptime); dd if=/dev/vda of=/dev/null bs=64k count={} 2>/dev/null; \
         echo $(( $(cut -d. -f1 /proc/uptime) - begun ))",
        MIB * 16
    );
    let seconds = u64::from(number(&mut guest, &read, 120 * SECOND).await);
    eprintln!("{MIB} MiB in {seconds} s");
    // The first of them may come at once, and the clock is read in whole seconds.
    assert!(seconds >= MIB - 3, "{MIB} MiB in {seconds} s");

    // What the guest runs with is what it was started with: another limit waits for its next start.
    set(&host, "plasmavmc-agent", "disk_bytes_per_second = 0\\n").await;
    let unit = format!("photon-vm-{}.service", vm.id);
    let line = host
        .check(&format!(
            "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit})/cmdline"
        ))
        .await
        .unwrap();
    assert!(
        line.contains(&format!("\"bps-total\":{DISK_BYTES}")),
        "{line}"
    );
}
