//! What a guest may put on its wire, byte by byte: a script has its TAP in the guest's place.

use std::path::Path;

use photon_api::plasmavmc::v1::{StopVmRequest, VmPhase};
use photon_api::prismnet::v1::{CreateSubnetRequest, CreateVpcRequest};
use tokio::time::Instant;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud, Machine, Tenant};

/// What systemd-networkd makes of a machine id that an image brought along.
const DUID: &str = "ff1d801dee00020000ab110033bdebf95e192c";

struct Stopped {
    machine: Machine,
    tap: String,
}

/// A VM whose TAP is there, and nobody at it.
async fn stopped(acme: &Tenant, machine: Machine) -> Stopped {
    acme.booted(&machine).await;
    let request = StopVmRequest {
        id: machine.vm.id.clone(),
        force: true,
        ..Default::default()
    };
    acme.session.vms().stop_vm(request).await.unwrap();
    acme.session
        .wait_for_phase(&machine.vm, VmPhase::Stopped, BOOT)
        .await
        .unwrap();
    let tap = photon_resource::tap_name(machine.port.id.parse().unwrap());
    Stopped { machine, tap }
}

async fn frames(host: &Host, words: &str) -> String {
    let script = format!("python3 /root/frames.py {words}");
    host.check(&script).await.unwrap().trim().to_owned()
}

async fn asked(host: &Host, who: &Stopped, identifier: &str) -> String {
    let mac = &who.machine.port.mac_address;
    frames(host, &format!("dhcp {} {mac} {identifier}", who.tap)).await
}

#[tokio::test]
async fn guests_of_one_image_get_each_its_own_address_and_serve_none() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rack/frames.py");
    host.copy_in(&script, "/root/frames.py").await.unwrap();
    let acme = cloud.tenant("acme").await;
    let request = CreateVpcRequest {
        name: "six".into(),
        cidr: "10.6.0.0/16".into(),
        ipv6_cidr: "fd00:6::/48".into(),
        ..Default::default()
    };
    let vpc = acme.session.call(request).await.unwrap().vpc.unwrap();
    let request = CreateSubnetRequest {
        vpc_id: vpc.id,
        name: "six".into(),
        cidr: "10.6.1.0/24".into(),
        ipv6_cidr: "fd00:6:0:1::/64".into(),
        dhcp_enabled: Some(true),
        ..Default::default()
    };
    let subnet = acme.session.call(request).await.unwrap().subnet.unwrap();
    let mut machines = Vec::new();
    for (name, address) in [("one", "10.6.1.11"), ("two", "10.6.1.12")] {
        let made = acme.machine_on(&cloud.operator, "h1", &subnet, (name, address));
        machines.push(made.await);
    }
    let (two, one) = (machines.pop().unwrap(), machines.pop().unwrap());
    let (one, two) = (stopped(&acme, one).await, stopped(&acme, two).await);

    // The guests that ran there had leases under busybox's names, for two minutes: nobody waits for these.
    let begun = Instant::now();
    assert_eq!(asked(&host, &one, DUID).await, "10.6.1.11");
    assert_eq!(asked(&host, &two, DUID).await, "10.6.1.12");
    // A system after its installer calls itself otherwise.
    let other = DUID.replace("ab11", "ab12");
    assert_eq!(asked(&host, &one, &other).await, "10.6.1.11");
    assert_eq!(asked(&host, &two, DUID).await, "10.6.1.12");
    assert!(begun.elapsed() < 60 * SECOND, "{:?}", begun.elapsed());

    // As a DHCPv6 server, from its port or another: to neither is a neighbour's client listening in vain.
    let end = |of: &Stopped| {
        let port = &of.machine.port;
        format!("{} {} {}", of.tap, port.mac_address, port.ipv6_address)
    };
    let sent = "547:546 1547:546 547:6800";
    let words = format!("udp6 {} {} {sent}", end(&one), end(&two));
    assert_eq!(frames(&host, &words).await, "547:6800");
}
