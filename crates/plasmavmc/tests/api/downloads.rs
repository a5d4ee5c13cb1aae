//! Images by URL, and the catalogue. The web server and the fetching are real; systemd and its sandbox are not here.

use std::time::Duration;

use ipnet::IpNet;
use photon_api::plasmavmc::v1 as pb;
use plasmavmc::{Offer, Settings};
use sha2::{Digest, Sha256};
use tonic::{Code, Status};

use crate::host::Host;
use photon_testcloud::downloads::Web;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::expect_error;

fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().unwrap()]
}

fn sum(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn from(url: &str, name: &str, content: &[u8]) -> pb::ImportImageFromUrlRequest {
    pb::ImportImageFromUrlRequest {
        name: name.into(),
        url: url.into(),
        sha256: sum(content),
        ..Default::default()
    }
}

async fn fetch(
    client: &mut Client,
    request: pb::ImportImageFromUrlRequest,
) -> Result<pb::Image, Status> {
    let mut told = client
        .images
        .import_image_from_url(request)
        .await?
        .into_inner();
    let mut image = None;
    while let Some(news) = told.message().await? {
        image = news.image;
    }
    Ok(image.expect("an image at the end"))
}

async fn cloud() -> Cloud {
    Cloud::with(Settings {
        image_networks: loopback(),
        image_max_bytes: 1 << 20,
        ..Settings::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_comes_from_a_url_and_is_as_any_other() {
    let (cloud, web) = (cloud().await, Web::start().await);
    let mut tenant = cloud.tenant("acme").await;
    let content = vec![7; 700_416];
    let url = web.put("/disk?version=1", &content);
    let mut request = from(&url, "fetched", &content);
    request.default_user = "debian".into();
    request.sha256.make_ascii_uppercase();
    request.request_id = "5c6bd3e4-2f0e-4d5a-9a67-000000000001".into();
    let image = fetch(&mut tenant, request.clone()).await.unwrap();
    assert_eq!(image.name, "fetched");
    assert_eq!(image.default_user, "debian");
    assert_eq!(image.format, i32::from(pb::ImageFormat::Raw));
    assert_eq!(image.virtual_size_bytes, 700_416);
    assert_eq!(image.files[0].sha256, sum(&content));
    // The same call again is the same image.
    let again = fetch(&mut tenant, request).await.unwrap();
    assert_eq!(again, image);
    let change = pb::UpdateImageRequest {
        id: image.id.clone(),
        default_user: Some("admin".into()),
        ..Default::default()
    };
    let changed = tenant
        .images
        .update_image(change)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(changed.image.unwrap().default_user, "admin");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_it_should_be_leaves_nothing() {
    let (cloud, web) = (cloud().await, Web::start().await);
    let mut tenant = cloud.tenant("acme").await;
    let content = vec![7; 512];
    let url = web.put("/disk", &content);
    let good = || from(&url, "it", &content);
    let large = web.put("/large", &vec![0; (1 << 20) + 512]);
    let vmdk = web.put("/vmdk", &[b"KDMV".as_slice(), &[0; 508]].concat());
    for (request, code, text) in [
        (from(&url, "it", b"other"), Code::InvalidArgument, "SHA-256"),
        (
            from(&web.url("/none"), "it", b""),
            Code::InvalidArgument,
            "answers 404",
        ),
        (
            from("ftp://example.org/x", "it", b""),
            Code::InvalidArgument,
            "https://",
        ),
        (
            from("http://10.1.2.3/x", "it", b""),
            Code::InvalidArgument,
            "10.1.2.3 is neither",
        ),
        (
            from("http://169.254.169.254/x", "it", b""),
            Code::InvalidArgument,
            "is neither",
        ),
        (
            from("http://127.0.0.1:1024/x", "it", b""),
            Code::Unavailable,
            "127.0.0.1:1024",
        ),
        (from(&large, "it", b""), Code::ResourceExhausted, "1048576"),
        (from(&vmdk, "it", b""), Code::InvalidArgument, "VMDK"),
        (from(&url, "It", &content), Code::InvalidArgument, "name"),
    ] {
        let refused = fetch(&mut tenant, request).await;
        expect_error(refused, code, text);
    }
    let no_sum = pb::ImportImageFromUrlRequest {
        sha256: String::new(),
        ..good()
    };
    expect_error(
        fetch(&mut tenant, no_sum).await,
        Code::InvalidArgument,
        "sha256",
    );
    let no_user = pb::ImportImageFromUrlRequest {
        default_user: "Root!".into(),
        ..good()
    };
    expect_error(
        fetch(&mut tenant, no_user).await,
        Code::InvalidArgument,
        "default_user",
    );
    let kernel = pb::ImportImageFromUrlRequest {
        format: pb::ImageFormat::KernelInitrd.into(),
        ..good()
    };
    expect_error(
        fetch(&mut tenant, kernel).await,
        Code::InvalidArgument,
        "format",
    );
    let public = pb::ImportImageFromUrlRequest {
        public: true,
        ..good()
    };
    expect_error(
        fetch(&mut tenant, public).await,
        Code::PermissionDenied,
        "operators",
    );
    assert_eq!(std::fs::read_dir(cloud.images_dir()).unwrap().count(), 0);
    fetch(&mut tenant, good()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_networks_are_nobodys_download() {
    let (cloud, web) = (Cloud::start().await, Web::start().await);
    let mut tenant = cloud.tenant("acme").await;
    let url = web.put("/disk", &[7; 512]);
    let refused = fetch(&mut tenant, from(&url, "it", &[7; 512])).await;
    expect_error(refused, Code::InvalidArgument, "127.0.0.1 is neither");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_has_imported_nothing() {
    let (cloud, web) = (cloud().await, Web::start().await);
    let mut tenant = cloud.tenant("acme").await;
    // A server that accepts and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let told = tenant
        .images
        .import_image_from_url(from(&url, "it", b""))
        .await;
    let mut told = told.unwrap().into_inner();
    let first = told.message().await.unwrap().unwrap();
    assert_eq!((first.image, first.received_bytes), (None, 0));
    drop(told);
    // Its share of imports is free again.
    let content = vec![7; 512];
    let url = web.put("/disk", &content);
    for turn in 0..8 {
        fetch(&mut tenant, from(&url, &format!("it-{turn}"), &content))
            .await
            .unwrap();
    }
}

/// What anybody sees of the catalogue: names, and the sums of disks.
async fn offered(client: &mut Client) -> Vec<(String, String)> {
    let list = pb::ListImagesRequest::default();
    let images = client
        .images
        .list_images(list)
        .await
        .unwrap()
        .into_inner()
        .images;
    let mut offered: Vec<_> = images
        .iter()
        .map(|image| (image.name.clone(), image.files[0].sha256.clone()))
        .collect();
    offered.sort();
    offered
}

async fn until(client: &mut Client, wanted: &[(&str, &[u8])]) {
    offered_until(client, wanted).await;
}

/// The names that were offered, each time that it was looked.
async fn offered_until(client: &mut Client, wanted: &[(&str, &[u8])]) -> Vec<Vec<String>> {
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(name, content)| ((*name).to_owned(), sum(content)))
        .collect();
    let (mut is, mut names) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        is = offered(client).await;
        names.push(is.iter().map(|(name, _)| name.clone()).collect());
        if is == wanted {
            return names;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("offered is {is:?}, and should be {wanted:?}");
}

fn catalogue(entries: &[(&str, String, &[u8])]) -> Settings {
    let entries = entries.iter().map(|(name, url, content)| {
        let offer = Offer {
            url: url.clone(),
            sha256: sum(content),
            description: "Of the cloud".into(),
            default_user: "debian".into(),
        };
        ((*name).to_owned(), offer)
    });
    Settings {
        image_networks: loopback(),
        images: entries.collect(),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogue_is_what_the_settings_say() {
    let web = Web::start().await;
    let (first, second) = (vec![1; 512], vec![2; 1024]);
    let (old, new) = (web.put("/1", &first), web.put("/2", &second));
    let gone = ("gone", web.url("/none"), first.as_slice());
    let settings = catalogue(&[("debian", old, &first), gone]);
    let mut cloud = Cloud::with(settings).await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    // What one server has lost keeps nothing else away.
    until(&mut tenant, &[("debian", &first)]).await;
    let mut request = new_vm("it", &[]);
    request.spec.as_mut().unwrap().disks.push(pb::Disk {
        id: "root".into(),
        image_id: "debian".into(),
        ..Default::default()
    });
    let vm = tenant.vms.create_vm(request).await.unwrap();
    let vm = vm.into_inner().vm.unwrap();

    drop(host);

    // Another version that does not come leaves the name as it is. That it was tried shows in what was tried after it.
    let (lost, third) = (
        ("debian", web.url("/none"), second.as_slice()),
        vec![3; 512],
    );
    let after = ("fedora", web.put("/3", &third), third.as_slice());
    cloud.restart_with(catalogue(&[lost, after])).await;
    let mut tenant = cloud.client(&cloud.sign_in("acme", "admin").await);
    until(&mut tenant, &[("debian", &first), ("fedora", &third)]).await;

    // One that comes takes the name, which is never nobody's; what a VM was made of stays, hidden.
    cloud
        .restart_with(catalogue(&[("debian", new, &second)]))
        .await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.client(&cloud.sign_in("acme", "admin").await);
    let had = offered_until(&mut tenant, &[("debian", &second)]).await;
    assert!(
        had.iter().all(|names| names.contains(&"debian".to_owned())),
        "{had:?}"
    );
    let mut operator = cloud.operator().await;
    let names = |offered: Vec<(String, String)>| -> Vec<String> {
        offered.into_iter().map(|(name, _)| name).collect()
    };
    let old_name = format!("debian-{}", &sum(&first)[..12]);
    let all = names(offered(&mut operator).await);
    assert_eq!(all, ["debian".to_owned(), old_name]);

    // It goes when nobody uses it; and all go that the settings name no more.
    let gone = pb::DeleteVmRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    tenant.vms.delete_vm(gone).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    drop(host);
    cloud.restart_with(catalogue(&[])).await;
    let mut operator = cloud.operator().await;
    until(&mut operator, &[]).await;
}
