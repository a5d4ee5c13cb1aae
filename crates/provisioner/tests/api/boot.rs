//! The boot listener: open to anybody on the network, so nothing that is sent to it may hurt.

use futures::StreamExt;
use photon_testcloud::provisioner::{Rack, report_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_the_netboot_image_whole_and_in_parts() {
    let rack = Rack::start().await;
    let script = rack.boot(9).await;
    assert!(script.starts_with("#!ipxe\n"), "{script}");
    let kernel = format!(
        "kernel http://{}/boot/bzImage init=/nix/store/x/init",
        rack.boot_at()
    );
    assert!(script.contains(&kernel), "{script}");
    // Whatever firmware sends, it gets something to boot.
    for query in [
        "",
        "?mac=",
        "?mac=zz&serial=%20&uuid=%00",
        "?mac=%ff",
        "?other=1",
    ] {
        let (status, body) = rack
            .http("GET", &format!("/boot.ipxe{query}"), &[], b"")
            .await;
        assert!(
            status == 200 && body.contains("bzImage"),
            "{query}: {status} {body}"
        );
    }
    let (status, body) = rack.http("GET", "/boot/bzImage", &[], b"").await;
    assert_eq!((status, body.as_str()), (200, "kernel"));
    let (status, body) = rack
        .http("GET", "/boot/bzImage", &[("Range", "bytes=2-3")], b"")
        .await;
    assert_eq!((status, body.as_str()), (206, "rn"));
    let (status, _) = rack
        .http("GET", "/boot/bzImage", &[("Range", "bytes=9-")], b"")
        .await;
    assert_eq!(status, 416);
    let (status, body) = rack.http("HEAD", "/boot/initrd", &[], b"").await;
    assert_eq!((status, body.as_str()), (200, ""));
    for path in [
        "/boot/",
        "/boot/absent",
        "/boot/..",
        "/boot/../provisioner/flaredb.sqlite",
        "/boot/..%2fca%2fca-key.pem",
        "/boot/%2e%2e%2fca%2fca-key.pem",
        "/boot//etc/passwd",
        "/boot/.hidden",
        "/etc/passwd",
        "/",
    ] {
        let (status, body) = rack.http("GET", path, &[], b"").await;
        assert!(status == 404 || status == 400, "{path}: {status} {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_report_is_refused_and_a_flood_of_them_is_slowed() {
    let rack = Rack::start().await;
    let (status, body) = rack.http("POST", "/inventory", &[], b"{").await;
    assert!(status == 400 && body.contains("JSON"), "{status} {body}");
    let mut without = report_of(2);
    without.interfaces.clear();
    let (status, body) = rack.post_report(&without).await;
    assert!(
        status == 400 && body.contains("interfaces"),
        "{status} {body}"
    );
    let mut large = report_of(2);
    large.product = "x".repeat(80 << 10);
    let (status, body) = rack.post_report(&large).await;
    assert!(status == 413 && body.contains("65536"), "{status} {body}");
    let (status, _) = rack.http("GET", "/inventory", &[], b"").await;
    assert_eq!(status, 405);
    let report = report_of(2);
    let flood = (0..80).map(|_| rack.post_report(&report));
    // As many at a time as one address may have connections, and some less.
    let flood = futures::stream::iter(flood).buffer_unordered(16);
    let answers: Vec<(u16, String)> = flood.collect().await;
    let slowed = answers.iter().filter(|(status, _)| *status == 429);
    assert!(slowed.count() > 10, "80 reports at once from one address");
    assert_eq!(rack.machine("S-2").await.conflicts.len(), 0);
}

/// A connection to the boot listener that comes from this address.
async fn from(source: &str, rack: &Rack) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(rack.boot_at()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_takes_only_its_share_of_the_connections() {
    let rack = Rack::start().await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(from("127.0.0.3", &rack).await);
    }
    let mut more = from("127.0.0.3", &rack).await;
    let refused = more.read(&mut [0]).await;
    assert!(matches!(refused, Ok(0) | Err(_)), "{refused:?}");
    // Another is served, and so is this one when it has let go of some.
    assert_eq!(rack.http("GET", "/boot/bzImage", &[], b"").await.0, 200);
    held.truncate(1);
    photon_testkit::until(async || {
        let mut again = from("127.0.0.3", &rack).await;
        let request = b"GET /boot/bzImage HTTP/1.1\r\nHost: boot\r\nConnection: close\r\n\r\n";
        again.write_all(request).await.ok()?;
        let mut answer = String::new();
        again.read_to_string(&mut answer).await.ok()?;
        answer.ends_with("kernel").then_some(())
    })
    .await;
}
