//! That a guest has the addresses of its ports, and is heard with them.

use photon_api::plasmavmc::v1::{CreateVmRequest, NetworkInterface, VmSpec};
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud};

/// What guests here may send at once, in bytes: far more than Ethernet's 1500.
const MTU: u32 = 8950;

/// What networkd lets a lease stand for, and some for a busy machine.
const LEASE: std::time::Duration = std::time::Duration::from_secs(200);

async fn reaches(guest: &mut Guest<Console>, ping: &str) -> bool {
    let ping = format!("ping -c 3 -W 3 {ping} >/dev/null");
    guest.run(&ping, 60 * SECOND).await.unwrap().0 == 0
}

async fn number(guest: &mut Guest<Console>, command: &str) -> u32 {
    let text = guest.check(command, 30 * SECOND).await.unwrap();
    text.trim().parse().unwrap()
}

#[tokio::test]
async fn a_guest_with_two_cards_is_reached_at_both_and_keeps_its_address_under_another_name() {
    let cloud = Cloud::start().await;
    // For guests that are made from now on.
    cloud
        .host()
        .check(&format!(
            "set -e; file=/etc/photoncloud/plasmavmc-server
             mkdir -p /etc/photoncloud; printf '[plasmavmc]\\nguest_mtu = {MTU}\\n' > $file.toml
             echo PHOTON_CONFIG=$file.toml >> $file.env; systemctl restart plasmavmc-server"
        ))
        .await
        .unwrap();
    let tenant = cloud.tenant("acme").await;
    let session = &tenant.session;
    let back = session
        .create_subnet(&tenant.vpc, "back", "10.0.2.0/24", "10.0.2.1")
        .await
        .unwrap();
    let mut network = Vec::new();
    for (id, subnet, address) in [
        ("eth0", &tenant.subnet, "10.0.1.20"),
        ("eth1", &back, "10.0.2.20"),
    ] {
        let port = session.create_port(subnet, id, address).await.unwrap();
        network.push(NetworkInterface {
            id: id.into(),
            port_id: port.id,
            ..Default::default()
        });
    }
    let peer = tenant.machine("peer", "10.0.1.10").await;
    let request = CreateVmRequest {
        name: "two".into(),
        spec: Some(VmSpec {
            vcpus: 1,
            memory_mib: 160,
            kernel_image_id: tenant.image.id.clone(),
            network,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = session.vms().create_vm(request).await.unwrap();
    let two = answer.into_inner().vm.unwrap();
    let mut peer = tenant.guest(&peer).await;
    let mut two = session.guest(&two).await.unwrap();
    two.ready(BOOT).await.unwrap();
    // As a guest whose first card has the default route.
    two.check(
        "until ip -4 -o addr show dev eth0 | grep -q ' 10.0.1.20/' && ip -4 -o addr show dev eth1 | grep -q ' 10.0.2.20/'; \
         do sleep 0.2; done; ip route replace default via 10.0.1.1 dev eth0",
        90 * SECOND,
    )
    .await
    .unwrap();

    assert!(reaches(&mut peer, "10.0.1.20").await);
    assert!(
        reaches(&mut peer, "10.0.2.20").await,
        "its answer comes by the other card"
    );
    // What is no answer leaves by the card whose address it has.
    assert!(!reaches(&mut two, "-I 10.0.2.20 10.0.1.10").await);
    assert!(reaches(&mut two, "-I 10.0.1.20 10.0.1.10").await);

    // A large packet goes in one piece, by the cards of both and all that is between them on the host.
    let sent = "cat /sys/class/net/eth0/statistics/tx_packets";
    let before: u32 = number(&mut two, sent).await;
    let large = format!("-s {} 10.0.1.10", MTU - 28);
    assert!(reaches(&mut two, &large).await, "{MTU} bytes");
    let pieces = number(&mut two, sent).await - before;
    // Three pings and some ARP; in pieces of 1500 bytes they would be 21.
    assert!(pieces < 12, "{pieces} packets were sent");

    // The port's address is its MAC's, whatever the guest calls itself: as an initial file system and the system after it
    // do. networkd has let go of the first name's lease after two minutes.
    let renamed = "ip addr flush dev eth0; \
                   udhcpc -f -q -n -t 75 -T 2 -A 1 -i eth0 -s /etc/dhcp \
                     -x 0x3d:ff00000001000200000ab1aabbccdd >/dev/null 2>&1; ip -4 -o addr show dev eth0";
    let address = two.check(renamed, LEASE).await.unwrap();
    assert!(address.contains(" 10.0.1.20/24 "), "{address}");
}
