//! `photon-e2e`, the program of the NixOS tests, does on a host of the rack what it does there.

use serde_json::Value;
use xtask::photoncloud;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::Cloud;

/// Where the host finds what guests are made of.
const GUEST: [&str; 2] = [
    "PHOTON_GUEST_KERNEL=/run/rack/share/guest/kernel",
    "PHOTON_GUEST_INITRD=/run/rack/share/guest/initrd",
];
const PROGRAM: &str = "/usr/lib/photoncloud/bin/photon-e2e -o json";

/// Puts the guest's kernel and initrd where the host finds them.
fn bring_guest(cloud: &Cloud) {
    let directory = cloud.host().share().join("guest");
    std::fs::create_dir(&directory).unwrap();
    let files = cloud.rack.guest();
    std::fs::copy(files.kernel_unpacked, directory.join("kernel")).unwrap();
    std::fs::copy(files.initrd, directory.join("initrd")).unwrap();
}

/// Runs the program in the host; its exit status, its result, and what it said.
async fn e2e(host: &Host, arguments: &str) -> (i32, Value, String) {
    let command = format!("{} {PROGRAM} {arguments}", GUEST.join(" "));
    let output = host.run_for(&command, 900 * SECOND).await.unwrap();
    eprintln!("{}", output.stderr);
    let result = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
    (output.status, result, output.stderr)
}

/// Waits until the host has nothing of any tenant: no VM's unit, no interface.
async fn nothing_left(host: &Host) {
    host.check(
        "left() { systemctl list-units --all --plain --no-legend 'photon-vm-*'; \
                  ip -o link | grep -oE ' (pv|pb|px|pt)[0-9a-f]{11}'; }; \
         for try in $(seq 100); do [ -z \"$(left)\" ] && exit 0; sleep 0.2; done; left; exit 1",
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn the_scenario_of_the_nixos_tests_holds_on_the_rack() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    bring_guest(&cloud);

    let (status, seen, said) = e2e(&host, "tenant-path").await;
    assert_eq!(status, 0, "{seen:#}\n{said}");
    assert_eq!(seen["ok"], true, "{seen:#}");
    assert_eq!(seen["removed"], true, "{seen:#}");
    assert_eq!(seen["guests"].as_array().unwrap().len(), 4, "{seen:#}");
    let with_first_address = |guest: &&Value| guest["address"] == "10.0.1.10/24";
    let twins = seen["guests"].as_array().unwrap().iter();
    assert_eq!(twins.filter(with_first_address).count(), 2, "{seen:#}");
    // Each of the four asks for the two addresses that it does not have itself.
    let asks = seen["reachability"].as_array().unwrap();
    assert_eq!(asks.len(), 8, "{seen:#}");
    assert!(asks.iter().any(|ask| ask["expected"] == false), "{seen:#}");
    // Of two tenants and the system, at four servers.
    assert_eq!(seen["audit"].as_array().unwrap().len(), 12, "{seen:#}");
    nothing_left(&host).await;

    a_restart_of_all_daemons_is_held_through(&host).await;
    nothing_left(&host).await;
    what_is_not_so_is_said(&host).await;
    nothing_left(&host).await;
}

/// As an upgrade's test has it: a unit of its own, until it is stopped.
async fn a_restart_of_all_daemons_is_held_through(host: &Host) {
    host.check(&format!(
        "systemd-run -q --unit=hold -p TimeoutStopSec=300 -p RemainAfterExit=yes -E {} \
         {PROGRAM} hold --ready-file /run/hold.ready --report /run/hold.json --max-interruption 30 --max-silence 2; \
         until [ -e /run/hold.ready ]; do \
           systemctl -q is-active hold || {{ journalctl --no-pager -u hold; exit 1; }}; sleep 0.2; \
         done",
        GUEST.join(" -E ")
    ))
    .await
    .unwrap();
    host.check(
        "systemctl restart iam-server prismnet-server plasmavmc-server flashdns-server \
         prismnet-agent plasmavmc-agent flashdns-agent",
    )
    .await
    .unwrap();
    photoncloud::wait_until_active(host).await.unwrap();
    let stopped = host.run_for("systemctl stop hold; cat /run/hold.json", 300 * SECOND);
    let held: Value = serde_json::from_str(&stopped.await.unwrap().stdout).unwrap();
    eprintln!("{held:#}");
    assert_eq!(held["ok"], true, "{held:#}");
    assert_eq!(held["rebooted"], false, "{held:#}");
    assert_eq!(held["lost"], Value::Array(Vec::new()), "{held:#}");
    assert!(held["acknowledged"].as_u64().unwrap() > 10, "{held:#}");
    // The restart was noticed: it did hold through something.
    let unavailable = held["writes"].as_array().unwrap().iter();
    let unavailable = unavailable.filter_map(|writes| writes["unavailable"].as_u64());
    assert!(unavailable.sum::<u64>() > 0, "{held:#}");
    for pings in held["pings"].as_array().unwrap() {
        assert!(pings["answered"].as_u64().unwrap() > 10, "{held:#}");
    }
}

async fn what_is_not_so_is_said(host: &Host) {
    let (status, seen, _) = e2e(host, "nodes --expect h1,h9 --wait 1").await;
    assert_eq!(status, 1, "{seen:#}");
    assert!(seen["error"].as_str().unwrap().contains("h9"), "{seen:#}");

    // A journal whose writes are all there, and one that tells of a port that never was.
    let hold =
        "hold --seconds 2 --keep --journal /run/journal --max-interruption 30 --max-silence 30";
    let (status, seen, said) = e2e(host, hold).await;
    assert_eq!(status, 0, "{seen:#}\n{said}");
    let (status, seen, said) = e2e(host, "verify --journal /run/journal").await;
    assert_eq!(status, 0, "{seen:#}\n{said}");
    host.check(
        r#"grep '"kind":"port"' /run/journal | head -n 1 \
          | sed 's/"id":"[^"]*"/"id":"01990000-0000-7000-8000-000000000000"/' > /run/foreign \
          && cat /run/foreign >> /run/journal"#,
    )
    .await
    .unwrap();
    let (status, seen, _) = e2e(host, "verify --journal /run/journal").await;
    assert_eq!(status, 1, "{seen:#}");
    let lost = seen["lost"].as_array().unwrap();
    assert_eq!(lost.len(), 1, "{seen:#}");
    let (status, seen, said) = e2e(host, "clean").await;
    assert_eq!(status, 0, "{said}");
    assert_eq!(seen["removed"], 1, "{seen:#}");
}
