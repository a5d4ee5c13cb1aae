//! Images by URL on a real host: systemd starts a process for each download, and its sandbox holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use photon_api::plasmavmc::v1::{Image, ImportImageFromUrlRequest, ListImagesRequest};
use photon_e2e::{Account, onboard};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use xtask::rack::Host;

use crate::cloud::Cloud;

/// The rack's own address on the management network.
pub const WEB: &str = "198.51.100.254";

fn content() -> Vec<u8> {
    (0..(6_u32 << 20)).map(|at| (at % 251) as u8).collect()
}

/// Settings of PlasmaVMC, and what the unit of downloads may reach by its own.
pub async fn set(host: &Host, settings: &str, unit: &str) {
    host.check(&format!(
        "set -e; file=/etc/photoncloud/plasmavmc-server; mkdir -p /etc/photoncloud; \
         printf '{settings}' > $file.toml; echo PHOTON_CONFIG=$file.toml > $file.env; \
         mkdir -p /etc/systemd/system/photon-fetch@.service.d; \
         printf '[Service]\\n{unit}\\n' > /etc/systemd/system/photon-fetch@.service.d/allow.conf; \
         systemctl daemon-reload; systemctl restart plasmavmc-server"
    ))
    .await
    .unwrap();
}

/// Answers each connection with the file from where it is asked for, and cuts the first one of all in the middle, if it is
/// told to.
pub async fn serve(cloud: &Cloud, content: Vec<u8>, cuts: usize) -> (u16, Arc<AtomicUsize>) {
    let content: Arc<[u8]> = content.into();
    let socket = cloud.rack.namespace().socket().await.unwrap();
    socket.bind(format!("{WEB}:0").parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let turn = count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(answer(connection, content.clone(), turn < cuts));
        }
    });
    (port, asked)
}

async fn answer(mut connection: TcpStream, content: Arc<[u8]>, cut: bool) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let from = head.split_once("range: bytes=");
    let from = from.and_then(|(_, rest)| rest.split_once('-')?.0.parse().ok());
    let from = from.unwrap_or(0_usize);
    let (all, rest) = (content.len(), &content[from..]);
    let status = match from {
        0 => "200 OK".to_owned(),
        from => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}",
            all - 1
        ),
    };
    let shown = if cut { rest.len() / 2 } else { rest.len() };
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Length: {}\r\n\r\n",
        rest.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(&rest[..shown]).await?;
    connection.shutdown().await
}

#[tokio::test]
async fn what_a_url_names_is_fetched_in_a_sandbox() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let (port, asked) = serve(&cloud, content(), 1).await;
    let account = Account::new("fetching").unwrap();
    onboard(&cloud.operator, &account).await.unwrap();
    let sum = hex::encode(Sha256::digest(content()));
    let request = |name: &str, url: String| ImportImageFromUrlRequest {
        name: name.into(),
        url,
        sha256: sum.clone(),
        ..Default::default()
    };
    let fetch = async |request| -> Result<Image, Status> {
        let session = account.sign_in(&cloud.channels).await.unwrap();
        let mut told = session
            .images()
            .import_image_from_url(request)
            .await?
            .into_inner();
        let mut image = None;
        while let Some(news) = told.message().await? {
            image = news.image;
        }
        Ok(image.unwrap())
    };
    let url = |path: &str| format!("http://{WEB}:{port}{path}");
    let refused = |answer: Result<Image, Status>, code: Code, words: &str| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    };

    // As it comes, the cloud's own networks are nobody's.
    let answer = fetch(request("none", url("/disk"))).await;
    refused(answer, Code::InvalidArgument, "198.51.100.254 is neither");

    // If the server were fooled, its unit would not be.
    let allowed = format!("[plasmavmc]\\nimage_networks = [\"{WEB}/32\", \"127.0.0.0/8\"]\\n");
    set(&host, &allowed, "").await;
    let answer = fetch(request("tried", url("/disk"))).await;
    let unable = "journalctl -b --no-pager -o cat -g 'bpf-firewall.*failed' | head -1";
    let unable = host.check(unable).await.unwrap_or_default();
    let own = request("own", "http://127.0.0.1:51082/metrics".into());
    let held = unable.is_empty();
    if held {
        refused(answer, Code::Unavailable, WEB);
        refused(fetch(own).await, Code::Unavailable, "127.0.0.1");
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    } else {
        // The rack's kernel has no maps of networks for systemd's filter; with one for KVM the unit is tried.
        println!(
            "not tried here: IPAddressDeny of photon-fetch@.service ({})",
            unable.trim()
        );
        answer.unwrap();
    }

    // With both, it comes; and the connection that the web server cuts is gone on with.
    set(&host, &allowed, &format!("IPAddressAllow={WEB}")).await;
    let image = fetch(request("there", url("/disk"))).await.unwrap();
    assert_eq!(image.files[0].sha256, sum);
    assert_eq!(asked.load(Ordering::SeqCst), if held { 2 } else { 3 });
    let left = "systemctl list-units --all --plain --no-legend 'photon-fetch@*'";
    assert_eq!(host.check(left).await.unwrap(), "", "processes are left");

    // A stranger on the host is not let near it.
    let stranger = "setpriv --reuid=65534 --regid=65534 --clear-groups \
                    perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(\"/run/photon-fetch.socket\")'";
    assert!(!host.run(stranger).await.unwrap().success());

    // The catalogue fills itself.
    let offer = format!(
        "{allowed}[plasmavmc.images.debian]\\nurl = \"{}\"\\nsha256 = \"{sum}\"\\ndefault_user = \"debian\"\\n",
        url("/disk")
    );
    set(&host, &offer, &format!("IPAddressAllow={WEB}")).await;
    let session = account.sign_in(&cloud.channels).await.unwrap();
    for _ in 0..300 {
        let list = ListImagesRequest::default();
        let images = session.images().list_images(list).await.unwrap();
        let images = images.into_inner().images;
        if images
            .iter()
            .any(|image| image.name == "debian" && image.public)
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!(
        "it is not offered: {}",
        host.check("journalctl -u plasmavmc-server --no-pager -n 30")
            .await
            .unwrap()
    );
}
