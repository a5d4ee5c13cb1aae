//! What can be done to a host.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xtask::rack::Rack;

use crate::{SECOND, shared};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_command_gives_its_output_errors_and_status() {
    let host = shared().await;
    let output = host.run("echo out; echo err >&2; exit 7").await.unwrap();
    assert_eq!(output.status, 7);
    assert_eq!(output.stdout, "out\n");
    assert_eq!(output.stderr, "err\n");
    let killed = host.run("kill -9 $$").await.unwrap();
    assert_eq!(killed.status, 137);
    let error = host.check("echo why >&2; false").await.unwrap_err();
    assert!(error.to_string().contains("why"), "{error}");
}

#[tokio::test]
async fn commands_run_side_by_side() {
    let host = shared().await;
    host.check("rm -f /tmp/side; mkfifo /tmp/side")
        .await
        .unwrap();
    // Each needs the other to end.
    let (reader, writer) = tokio::join!(
        host.check("cat /tmp/side"),
        host.check("echo met > /tmp/side")
    );
    writer.unwrap();
    assert_eq!(reader.unwrap(), "met\n");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let host = shared().await;
    let begun = Instant::now();
    let error = host
        .run_for("echo begun; sleep 4711 & sleep 4711", SECOND)
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("begun"), "{error:#}");
    assert!(begun.elapsed() < 20 * SECOND);
    host.check("while pgrep -f '^sleep 4711'; do :; done")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_script_is_talked_to_while_it_runs() {
    let host = shared().await;
    let mut session = host
        .spawn("while read -r line; do echo \"<$line>\"; done; exit 3")
        .await
        .unwrap();
    session.write(b"one\n").await.unwrap();
    assert_eq!(session.read().await.unwrap(), b"<one>\n");
    session.write(b"two\n").await.unwrap();
    session.close_input().await.unwrap();
    let output = session.finish(10 * SECOND).await.unwrap();
    assert_eq!((output.stdout.as_str(), output.status), ("<two>\n", 3));
}

#[tokio::test]
async fn files_are_copied_both_ways() {
    let host = shared().await;
    let scratch = std::env::temp_dir().join(format!("rack-files-{}", std::process::id()));
    // More than a frame, and every byte.
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7) as u8).collect();
    std::fs::write(&scratch, &content).unwrap();
    host.copy_in(&scratch, "/root/it's here").await.unwrap();
    std::fs::remove_file(&scratch).unwrap();
    host.copy_out("/root/it's here", &scratch).await.unwrap();
    assert!(std::fs::read(&scratch).unwrap() == content);
    std::fs::remove_file(&scratch).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_carries_many_connections_at_once() {
    let host = shared().await;
    let echo = "socat TCP-LISTEN:4700,bind=127.0.0.1,fork,reuseaddr,backlog=128 EXEC:cat";
    let _server = host.spawn(echo).await.unwrap();
    host.check("until ss -Hltn sport = :4700 | grep -q .; do :; done")
        .await
        .unwrap();
    let forward = host.forward(4700, ANY_PORT).await.unwrap();
    let address = forward.address();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..32_u8 {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let sent = vec![client; 100_000];
            let (mut read, mut write) = stream.split();
            let mut received = Vec::new();
            let (_, result) = tokio::join!(
                async {
                    write.write_all(&sent).await.unwrap();
                    write.shutdown().await.unwrap();
                },
                read.read_to_end(&mut received)
            );
            result.unwrap();
            assert!(received == sent, "client {client}");
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    drop(forward);
    // The listener is gone as soon as its task has been dropped.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_behind_a_forward_closes_the_connection() {
    let host = shared().await;
    let forward = host.forward(4799, ANY_PORT).await.unwrap();
    let mut stream = TcpStream::connect(forward.address()).await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
    let error = host.dial(4799).await.unwrap_err().to_string();
    assert!(
        error.contains("refused") && error.contains("4799"),
        "{error}"
    );
}

#[tokio::test]
async fn a_cut_host_is_unreachable_until_it_is_healed() {
    let rack = Rack::start(2).await.unwrap();
    let (near, far) = (rack.host(1), rack.host(2).address());
    let ping = format!("ping -c1 -W1 {far}");
    near.check(&ping).await.unwrap();
    rack.host(2).cut().unwrap();
    assert!(!near.run(&ping).await.unwrap().success());
    assert_eq!(rack.host(2).check("hostname").await.unwrap(), "h2\n");
    rack.host(2).heal().unwrap();
    near.check(&format!("until {ping}; do :; done"))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_was_synced_survives_a_power_cut() {
    let rack = Rack::start(1).await.unwrap();
    let host = rack.host(1);
    let identity = "cat /etc/machine-id; hostname";
    let before = host.check(identity).await.unwrap();
    host.check("dd if=/dev/urandom of=/root/kept bs=64k count=16 conv=fsync; cp /root/kept /run/rack/share/reference")
        .await
        .unwrap();
    host.power_cut().await.unwrap();
    assert!(host.run("true").await.is_err());
    host.boot().await.unwrap();
    host.check("cmp /root/kept /run/rack/share/reference")
        .await
        .unwrap();
    assert_eq!(host.check(identity).await.unwrap(), before);
    let error = host.boot().await.unwrap_err().to_string();
    assert!(error.contains("runs already"), "{error}");
    host.power_off().await.unwrap();
    assert!(host.run("true").await.is_err());
}

/// What the components count on; a kernel or an image without it is not a rack host.
#[tokio::test]
async fn a_host_can_do_what_the_components_need() {
    let host = shared().await;
    for (what, script) in [
        (
            "every family of nftables, with state in a bridge and zones",
            "set -e; for family in inet ip ip6 arp; do nft add table $family probe; done; \
             nft 'add table netdev probe; add table bridge probe; \
                  add chain bridge probe c { type filter hook forward priority 0; }; \
                  add chain bridge probe p { type filter hook prerouting priority -300; }; \
                  add rule bridge probe p ct zone set 7; \
                  add rule bridge probe c ct state established,related accept; \
                  add map bridge probe m { type ifname : verdict; }; \
                  add rule bridge probe c oifname vmap @m'; \
             for family in inet ip ip6 arp netdev bridge; do nft delete table $family probe; done",
        ),
        (
            "limits of a unit",
            "systemd-run --wait -p MemoryMax=32M -p CPUQuota=50% -p TasksMax=10 -p IOWeight=50 \
               sh -c 'grep -qx 33554432 /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max && \
                      grep -qx \"50000 100000\" /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cpu.max'",
        ),
        (
            "the sandbox of a unit",
            "systemd-run --wait -p DynamicUser=yes -p ProtectSystem=strict -p PrivateTmp=yes -p NoNewPrivileges=yes \
               -p SystemCallFilter=@system-service -p DevicePolicy=closed -p RestrictAddressFamilies=AF_UNIX \
               -p PrivateUsers=yes -p ProtectKernelTunables=yes -p RestrictNamespaces=yes \
               sh -c '! touch /usr/x && ! head -c1 /dev/ubda'",
        ),
        ("pressure", "grep -q some /proc/pressure/memory"),
        (
            "a seed as iso9660 and vfat",
            "set -e; truncate -s 2M /tmp/seed.img; busybox mkdosfs -n CIDATA /tmp/seed.img; mkdir -p /tmp/seed; \
             mount -o loop /tmp/seed.img /tmp/seed; umount /tmp/seed; grep -qw iso9660 /proc/filesystems",
        ),
        (
            "delay and loss",
            "set -e; ip link add probe0 type veth peer name probe1; \
             tc qdisc add dev probe0 root netem delay 10ms loss 1%; \
             ip link add probe2 type geneve id 1 remote 192.0.2.9 dstport 6081; ip link del probe0; ip link del probe2",
        ),
        (
            "an overlay",
            "set -e; mkdir -p /tmp/o/{l,u,w,m}; mount -t tmpfs none /tmp/o; mkdir -p /tmp/o/{l,u,w,m}; \
             mount -t overlay none /tmp/o/m -o lowerdir=/tmp/o/l,upperdir=/tmp/o/u,workdir=/tmp/o/w; \
             umount /tmp/o/m; umount /tmp/o",
        ),
    ] {
        let output = host.run(script).await.unwrap();
        assert!(output.success(), "{what}: {output:?}");
    }
}

#[tokio::test]
async fn a_forward_carries_much_in_both_directions() {
    let host = shared().await;
    const BYTES: usize = 40_000_000;
    let _server = host
        .spawn("socat -b 65536 TCP-LISTEN:4701,bind=127.0.0.1,reuseaddr EXEC:cat")
        .await
        .unwrap();
    host.check("until ss -Hltn sport = :4701 | grep -q .; do :; done")
        .await
        .unwrap();
    let forward = host.forward(4701, ANY_PORT).await.unwrap();
    let mut stream = TcpStream::connect(forward.address()).await.unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|i| (i / 1000) as u8).collect();
    let begun = Instant::now();
    let (mut read, mut write) = stream.split();
    let mut received = Vec::new();
    let both = async {
        let (_, result) = tokio::join!(
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            },
            read.read_to_end(&mut received)
        );
        result.unwrap();
    };
    tokio::time::timeout(60 * SECOND, both).await.unwrap();
    assert!(received == sent, "{} of {BYTES} bytes", received.len());
    eprintln!("{BYTES} bytes there and back in {:?}", begun.elapsed());
}
