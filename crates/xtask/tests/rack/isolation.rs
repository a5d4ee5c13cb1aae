//! Two tenants with equal networks and equal addresses on one host: not one packet passes between them.

use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use xtask::rack::Host;

use crate::SECOND;
use crate::cloud::{Cloud, Machine};

/// Payload of the attacker's pings, in bytes: nobody else sends packets of this size.
const MARKED: u32 = 777;

/// What carries the mark: an ICMP or ICMPv6 message of this size (8 bytes of header), or an ARP request for an
/// address that nobody has.
const MARKS: [(&str, &str); 3] = [
    ("IPv4", "icmp and ip[2:2] = 805"),
    ("IPv6", "icmp6 and ip6[4:2] = 785"),
    ("ARP", "arp host 10.0.1.77"),
];

/// Records everything on these interfaces, until [`Capture::count`].
struct Capture {
    host: Host,
    interfaces: Vec<String>,
}

impl Capture {
    async fn start(host: &Host, interfaces: &[String]) -> Self {
        for interface in interfaces {
            host.check(&format!(
                "systemd-run -q --unit=capture-{interface} tcpdump -Z root -U -n -s 1600 -i {interface} -w /run/{interface}.pcap && \
                 until [ -s /run/{interface}.pcap ]; do sleep 0.05; done"
            ))
            .await
            .unwrap();
        }
        Self {
            host: host.clone(),
            interfaces: interfaces.to_vec(),
        }
    }

    async fn stop(&self) {
        for interface in &self.interfaces {
            self.host
                .check(&format!("systemctl stop capture-{interface}"))
                .await
                .unwrap();
        }
    }

    async fn count(&self, interface: &str, filter: &str) -> usize {
        let listed = self
            .host
            .check(&format!(
                "tcpdump -n -r /run/{interface}.pcap '{filter}' 2>/dev/null"
            ))
            .await
            .unwrap();
        listed.lines().count()
    }
}

async fn reaches(guest: &mut Guest<Console>, address: &str) -> bool {
    let ping = format!("ping -c 2 -W 2 {address} >/dev/null");
    guest.run(&ping, 30 * SECOND).await.unwrap().0 == 0
}

/// Everything that a guest can try without knowing more than its neighbour's addresses. Most of it fails, and
/// is meant to: what counts is what arrives.
async fn attack(guest: &mut Guest<Console>, victim: &Machine) {
    let address = &victim.port.ip_address;
    let tries = [
        format!("ping -c 2 -W 1 -s {MARKED} {address}"),
        format!("ping -c 2 -W 1 -s {MARKED} 10.0.1.255"),
        format!("ping -c 2 -W 1 -s {MARKED} 255.255.255.255"),
        format!("ping -6 -c 2 -W 1 -s {MARKED} ff02::1%eth0"),
        format!(
            "ping -6 -c 2 -W 1 -s {MARKED} {}%eth0",
            link_local(&victim.port.mac_address)
        ),
        "arping -c 2 -w 3 -I eth0 10.0.1.77".to_owned(),
        // Straight at the neighbour's MAC, as if it were on the same wire.
        format!(
            "ip neigh replace {address} lladdr {} dev eth0 nud permanent; ping -c 2 -W 1 -s {MARKED} {address}; \
             ip neigh del {address} dev eth0",
            victim.port.mac_address
        ),
    ];
    for command in tries {
        guest.run(&command, 60 * SECOND).await.unwrap();
    }
}

/// The link-local address that a guest makes of its MAC (modified EUI-64, RFC 4291 appendix A).
fn link_local(mac: &str) -> String {
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    format!(
        "fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}",
        bytes[0] ^ 2,
        bytes[1],
        bytes[2],
        bytes[3],
        bytes[4],
        bytes[5]
    )
}

#[tokio::test]
async fn test_network_tenant_isolation() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let globex = cloud.tenant("globex").await;
    // The first of each has the very same address.
    let a1 = acme.machine("vm1", "10.0.1.10").await;
    let a2 = acme.machine("vm2", "10.0.1.11").await;
    let g1 = globex.machine("vm1", "10.0.1.10").await;
    let g2 = globex.machine("vm2", "10.0.1.12").await;
    let mut a1_guest = acme.guest(&a1).await;
    let mut a2_guest = acme.guest(&a2).await;
    let mut g1_guest = globex.guest(&g1).await;
    let mut g2_guest = globex.guest(&g2).await;

    // Inside: yes. Outside: no.
    assert!(reaches(&mut a1_guest, "10.0.1.11").await);
    assert!(reaches(&mut a2_guest, "10.0.1.10").await);
    assert!(reaches(&mut g1_guest, "10.0.1.12").await);
    assert!(reaches(&mut g2_guest, "10.0.1.10").await);
    assert!(!reaches(&mut a1_guest, "10.0.1.12").await);
    assert!(!reaches(&mut g2_guest, "10.0.1.11").await);

    let mut taps = Vec::new();
    for machine in [&a2, &g1, &g2] {
        taps.push(tap_of(&host, machine).await);
    }
    let capture = Capture::start(&host, &taps).await;
    attack(&mut a1_guest, &g2).await;
    attack(&mut a1_guest, &g1).await;
    // That the capture sees what does arrive: the same marks, to one's own neighbour.
    a1_guest
        .check(
            &format!("ping -c 2 -W 2 -s {MARKED} 10.0.1.11"),
            30 * SECOND,
        )
        .await
        .unwrap();

    // As a DHCP server that answers from another port than DHCP's. Which of the two a guest's busybox has is its own matter.
    for port in [68, 6800] {
        let udp = format!(
            "echo offer | nc -u -w 1 -p 1067 10.0.1.11 {port}; timeout 3 tftp -g -l /dev/null -r offer 10.0.1.11 {port}"
        );
        a1_guest.run(&udp, 30 * SECOND).await.unwrap();
    }

    // As somebody else: with the neighbours' addresses, MAC and IP.
    for address in ["10.0.1.12", "10.0.1.11"] {
        let spoofed = format!(
            "ip addr add {address}/24 dev eth0; ping -c 2 -W 1 -s {MARKED} -I {address} 10.0.1.11; \
             ping -c 2 -W 1 -s {MARKED} -I {address} 10.0.1.12; \
             arping -c 2 -w 3 -I eth0 -s {address} 10.0.1.77; ip addr del {address}/24 dev eth0"
        );
        a1_guest.run(&spoofed, 60 * SECOND).await.unwrap();
    }
    a1_guest
        .check(
            &format!(
                "ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up; \
                      ip addr replace 10.0.1.10/24 dev eth0",
                g2.port.mac_address
            ),
            30 * SECOND,
        )
        .await
        .unwrap();
    attack(&mut a1_guest, &g2).await;
    a1_guest
        .run(
            &format!("ping -c 2 -W 1 -s {MARKED} 10.0.1.11"),
            30 * SECOND,
        )
        .await
        .unwrap();
    capture.stop().await;

    let [own, others @ ..] = taps.as_slice() else {
        panic!("three TAPs")
    };
    assert!(
        capture
            .count(own, "icmp and ip[2:2] = 805 and src host 10.0.1.10")
            .await
            > 0,
        "the capture saw nothing"
    );
    assert!(
        capture.count(own, "arp host 10.0.1.77").await > 0,
        "the capture saw no ARP"
    );
    let from_guest = format!("ether src {} and udp dst port", a1.port.mac_address);
    assert!(
        capture.count(own, &format!("{from_guest} 6800")).await > 0,
        "the capture saw no UDP"
    );
    assert_eq!(
        capture.count(own, &format!("{from_guest} 68")).await,
        0,
        "a guest's offer arrived at its neighbour's DHCP client"
    );
    for other in others {
        for (what, filter) in MARKS {
            let leaked = capture.count(other, filter).await;
            assert_eq!(
                leaked, 0,
                "{leaked} {what} packets of the other tenant arrived at {other}"
            );
        }
        let foreign = format!("ether src {}", a1.port.mac_address);
        assert_eq!(
            capture.count(other, &foreign).await,
            0,
            "frames of the other tenant arrived at {other}"
        );
    }
    // Not even its own tenant hears a guest that lies about who it is.
    let liar = format!("ether src {}", g2.port.mac_address);
    assert_eq!(
        capture.count(own, &liar).await,
        0,
        "a spoofed source MAC arrived"
    );
    for address in ["10.0.1.11", "10.0.1.12"] {
        let spoofed = format!("ether src {} and src host {address}", a1.port.mac_address);
        assert_eq!(
            capture.count(own, &spoofed).await,
            0,
            "a spoofed source address arrived"
        );
        let spoofed = format!(
            "ether src {} and arp[14:4] = {}",
            a1.port.mac_address,
            number(address)
        );
        assert_eq!(
            capture.count(own, &spoofed).await,
            0,
            "a spoofed ARP sender arrived"
        );
    }

    // And nobody was hurt.
    assert!(reaches(&mut g1_guest, "10.0.1.12").await);
    assert!(reaches(&mut g2_guest, "10.0.1.10").await);

    // A guest may run on when its VPC is gone from the host's filter, as its TAP goes later: nothing passes then.
    assert!(reaches(&mut g1_guest, "10.0.1.1").await);
    host.check(
        "systemctl stop prismnet-agent && nft flush set bridge photon bridges && nft flush set inet photon domains",
    )
    .await
    .unwrap();
    assert!(!reaches(&mut g1_guest, "10.0.1.12").await);
    assert!(!reaches(&mut g1_guest, "10.0.1.1").await);
    // Nor does the host answer who asks for its address.
    let asks = "arping -c 2 -w 3 -I eth0 10.0.1.1";
    assert_ne!(g1_guest.run(asks, 30 * SECOND).await.unwrap().0, 0);
    host.check("systemctl start prismnet-agent").await.unwrap();
    let again = "until ping -c 1 -W 1 10.0.1.12 >/dev/null; do sleep 0.2; done";
    g1_guest.check(again, 60 * SECOND).await.unwrap();
}

fn number(address: &str) -> u32 {
    address.parse::<std::net::Ipv4Addr>().unwrap().into()
}

/// The TAP of a machine, which must be there.
async fn tap_of(host: &Host, machine: &Machine) -> String {
    let id = machine.port.id.parse().unwrap();
    let name = photon_resource::tap_name(id);
    host.check(&format!("ip link show {name}")).await.unwrap();
    name
}
