//! Interfaces and nftables of the real kernel, in a network namespace that each test makes for itself. Needs
//! the right to make one (`CAP_SYS_ADMIN`), as the rack does.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use photon_host::conntrack::{Connection, Connections, Conntrack};
use photon_host::forwarding::{Databases, Entry, Forwarding};
use photon_host::links::{BridgePort, Kind, Links, Netlink, Vxlan};
use photon_host::nft::{Nft, PacketFilter, changes};
use photon_host::rules::{Family, PolicyRouting, Rules};
use serde_json::json;

/// Runs `work` in a thread of its own with a network namespace of its own; what it starts inherits it.
fn in_namespace<F>(work: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace can be made");
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(work());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("ip (iproute2) runs");
    assert!(status.success(), "ip {arguments}");
}

#[test]
fn lists_deletes_and_hears_of_interfaces() {
    in_namespace(|| async {
        let links = Netlink::new().unwrap();
        let mut changes = links.changes();
        changes.mark_unchanged();
        ip("link add br0 address 02:00:00:00:00:07 type bridge");
        ip("tuntap add tap0 mode tap");
        ip("link set tap0 master br0 up");
        ip("address add 10.1.2.3/24 dev br0");
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.changed());
        heard.await.expect("in time").expect("the listener runs");

        let all = links.list().await.unwrap();
        let find = |name: &str| {
            all.iter()
                .find(|link| link.name == name)
                .unwrap_or_else(|| panic!("no {name} in {all:?}"))
        };
        let bridge = find("br0");
        assert_eq!(bridge.kind, Kind::Bridge);
        assert_eq!(bridge.mac, Some([2, 0, 0, 0, 0, 7]));
        assert!(!bridge.up);
        assert!(bridge.addresses.contains(&"10.1.2.3/24".parse().unwrap()));
        let tap = find("tap0");
        assert_eq!(tap.kind, Kind::Tun);
        assert_eq!(tap.master.as_deref(), Some("br0"));
        assert!(tap.up);

        links.delete("tap0").await.unwrap();
        links.delete("tap0").await.unwrap();
        let left = links.list().await.unwrap();
        assert!(left.iter().all(|link| link.name != "tap0"));
        assert!(left.iter().any(|link| link.name == "br0"));
    });
}

#[test]
fn a_transaction_is_applied_whole_or_not_at_all() {
    in_namespace(|| async {
        let table = |verb: &str| json!({ verb: {"table": {"family": "inet", "name": "ours"}} });
        let chain = json!({"add": {"chain": {"family": "inet", "table": "ours", "name": "c"}}});
        let rule = |chain: &str| {
            json!({"add": {"rule": {
                "family": "inet", "table": "ours", "chain": chain, "expr": [{"drop": null}]
            }}})
        };
        assert_eq!(Nft.list("inet", "ours").await.unwrap(), None);

        let wrong = vec![table("add"), chain.clone(), rule("absent")];
        let error = Nft.apply(&wrong).await.unwrap_err().to_string();
        assert!(error.contains("nft -j -f -"), "{error}");
        assert_eq!(Nft.list("inet", "ours").await.unwrap(), None);

        let right = vec![table("add"), chain, rule("c")];
        let mut changes = changes().unwrap();
        Nft.check(&right).await.unwrap();
        assert_eq!(Nft.list("inet", "ours").await.unwrap(), None);
        assert!(!changes.has_changed().unwrap());
        Nft.apply(&right).await.unwrap();
        let heard = tokio::time::timeout(std::time::Duration::from_secs(20), changes.changed());
        heard.await.expect("in time").expect("the listener runs");
        let listing = Nft.list("inet", "ours").await.unwrap().expect("a table");
        assert_eq!(listing.len(), 3, "table, chain, rule: {listing:?}");
        assert_eq!(Nft.list("inet", "others").await.unwrap(), None);
    });
}

fn tracked() -> usize {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap();
    count.trim().parse().unwrap()
}

/// Those that are named, of the zone that is named, and no others; one that is not there is no error.
#[test]
fn deletes_the_connections_that_it_is_told_and_no_others() {
    in_namespace(|| async {
        ip("link set lo up");
        let rule = |chain: &str, expr: serde_json::Value| {
            json!({"add": {"rule": {
                "family": "inet", "table": "zones", "chain": chain, "expr": expr
            }}})
        };
        let base = |name: &str, priority: i32| {
            json!({"add": {"chain": {
                "family": "inet", "table": "zones", "name": name, "type": "filter", "hook": "output",
                "prio": priority, "policy": "accept"
            }}})
        };
        let zone = json!([{"mangle": {"key": {"ct": {"key": "zone"}}, "value": 77}}]);
        let tracks = json!([
            {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}, {"accept": null}
        ]);
        let commands = vec![
            json!({"add": {"table": {"family": "inet", "name": "zones"}}}),
            base("before", -300),
            base("after", 0),
            rule("before", zone),
            rule("after", tracks),
        ];
        Nft.apply(&commands).await.unwrap();
        let mut named = Vec::new();
        for local in ["127.0.0.1", "::1"] {
            let from = std::net::UdpSocket::bind((local, 0)).unwrap();
            // Somebody listens, or the kernel's answer would be a connection's end.
            let to = std::net::UdpSocket::bind((local, 0)).unwrap();
            from.send_to(b"x", to.local_addr().unwrap()).unwrap();
            named.push(Connection {
                zone: 77,
                protocol: 17,
                source: local.parse().unwrap(),
                destination: local.parse().unwrap(),
                ports: Some((
                    from.local_addr().unwrap().port(),
                    to.local_addr().unwrap().port(),
                )),
                icmp: None,
            });
        }
        assert_eq!(tracked(), 2);
        let other = |change: fn(&mut Connection)| {
            let mut other = named[0].clone();
            change(&mut other);
            other
        };
        let others = [
            other(|it| it.zone = 78),
            other(|it| it.ports = it.ports.map(|(from, to)| (from, to ^ 1))),
            other(|it| it.protocol = 6),
        ];
        Conntrack.remove(&others).await.unwrap();
        assert_eq!(tracked(), 2);
        Conntrack.remove(&named[..1]).await.unwrap();
        assert_eq!(tracked(), 1);
        Conntrack.remove(&named).await.unwrap();
        assert_eq!(tracked(), 0);
    });
}

#[test]
fn tells_and_lists_what_is_elsewhere_and_takes_it_back() {
    in_namespace(|| async {
        ip("link add br0 type bridge");
        ip("link add vx0 type vxlan id 7 local 192.0.2.1 dstport 4789 nolearning");
        ip("link set vx0 master br0 up");
        ip(
            "link set vx0 type bridge_slave learning off flood off mcast_flood off neigh_suppress on",
        );
        ip("link set br0 up");
        let links = Netlink::new().unwrap().list().await.unwrap();
        let tunnel = links.iter().find(|link| link.name == "vx0").unwrap();
        let expected = Vxlan {
            vni: 7,
            local: Some([192, 0, 2, 1].into()),
            port: 4789,
            learning: false,
        };
        assert_eq!(tunnel.kind, Kind::Vxlan(expected));
        let expected = BridgePort {
            learning: false,
            unicast_flood: false,
            multicast_flood: false,
            neighbour_suppression: true,
        };
        assert_eq!(tunnel.bridge_port, Some(expected));
        assert_eq!(tunnel.mtu, 1500);

        let databases = Databases::new().unwrap();
        assert_eq!(databases.list().await.unwrap(), []);
        let told = |host: u8| {
            let mac = [0xfa, 0x16, 0x3e, 0, 0, 9];
            let neighbour = |address: &str| Entry::Neighbour {
                device: "br0".to_owned(),
                address: address.parse().unwrap(),
                mac,
            };
            vec![
                Entry::Tunnel {
                    device: "vx0".to_owned(),
                    mac,
                    to: [192, 0, 2, host].into(),
                },
                Entry::Port {
                    device: "vx0".to_owned(),
                    mac,
                },
                neighbour("10.0.1.9"),
                neighbour("fd00::9"),
            ]
        };
        for host in [2, 2, 3] {
            databases.change(&[], &told(host)).await.unwrap();
            let mut listed = databases.list().await.unwrap();
            listed.sort();
            assert_eq!(listed, told(host));
        }
        // Twice: the second time there is nothing.
        for _ in 0..2 {
            databases.change(&told(3), &[]).await.unwrap();
            assert_eq!(databases.list().await.unwrap(), []);
        }
        ip("link del vx0");
        databases.change(&told(3), &[]).await.unwrap();
        let error = databases.change(&[], &told(3)).await.unwrap_err();
        assert!(error.to_string().contains("vx0"), "{error}");
    });
}

#[test]
fn the_local_table_is_asked_where_it_is_told_to_be() {
    in_namespace(|| async {
        ip("link set lo up");
        let rules = PolicyRouting::new().unwrap();
        let kernels = rules.local().await.unwrap();
        assert_eq!(kernels[&Family::V4], [0].into());
        for family in kernels.keys().copied() {
            for _ in 0..2 {
                rules.add_local(family, 1001).await.unwrap();
            }
            for _ in 0..2 {
                rules.remove_local(family, 0).await.unwrap();
            }
        }
        let moved = rules.local().await.unwrap();
        assert!(moved.values().all(|all| *all == [1001].into()), "{moved:?}");
        assert_eq!(moved.len(), kernels.len());
        // The host still reaches itself.
        let listener = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        assert_eq!(sender.send_to(b"x", to).unwrap(), 1);
        // One that is for some packets alone is none of these.
        ip("rule add pref 7 iif lo lookup local");
        assert_eq!(rules.local().await.unwrap(), moved);
    });
}
