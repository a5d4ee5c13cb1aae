//! Images: what is taken in, what is refused, who may use them, and how hosts read them.

use std::fs;

use pb::import_image_request::Message;
use photon_api::plasmavmc::v1 as pb;
use tonic::{Code, Status};

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::expect_error;

/// SHA-256 of a sector of zeros, as `sha256sum` gives it.
const ZEROS: &str = "076a27c79e5ace2a3d47f9dd2e83e4ff6ea8872b3c2218f66c92b89b55f36560";

fn header(name: &str, format: pb::ImageFormat) -> pb::ImportImageHeader {
    pb::ImportImageHeader {
        name: name.into(),
        format: format.into(),
        ..Default::default()
    }
}

fn disk(header: pb::ImportImageHeader, content: &[u8]) -> Vec<pb::ImportImageRequest> {
    import(header, &[(pb::ImagePart::Disk, content)])
}

/// The messages of an import, with chunks of an odd size.
fn import(
    header: pb::ImportImageHeader,
    parts: &[(pb::ImagePart, &[u8])],
) -> Vec<pb::ImportImageRequest> {
    let mut messages = vec![Message::Header(header)];
    for (part, content) in parts {
        for data in content.chunks(10_007) {
            messages.push(Message::Chunk(pb::ImportImageChunk {
                part: (*part).into(),
                data: data.to_vec(),
            }));
        }
    }
    let requests = messages.into_iter().map(|message| pb::ImportImageRequest {
        message: Some(message),
    });
    requests.collect()
}

async fn send(
    client: &mut Client,
    messages: Vec<pb::ImportImageRequest>,
) -> Result<pb::Image, Status> {
    let response = client
        .images
        .import_image(tokio_stream::iter(messages))
        .await?;
    Ok(response.into_inner().image.unwrap())
}

/// A qcow2 file as `qemu-img create` makes it: header, refcount table, refcount block, L1 table.
fn qcow2(virtual_size: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; 4 * 65536];
    let mut put = |offset: usize, value: &[u8]| {
        bytes[offset..offset + value.len()].copy_from_slice(value);
    };
    put(0, b"QFI\xfb");
    put(4, &3u32.to_be_bytes());
    put(20, &16u32.to_be_bytes());
    put(24, &virtual_size.to_be_bytes());
    put(36, &1u32.to_be_bytes());
    put(40, &(3u64 * 65536).to_be_bytes());
    put(48, &65536u64.to_be_bytes());
    put(56, &1u32.to_be_bytes());
    put(96, &4u32.to_be_bytes());
    put(100, &104u32.to_be_bytes());
    bytes
}

fn kernel() -> Vec<u8> {
    let mut bytes = vec![0u8; 2 * 512 + 16 * 100];
    bytes[0x1f1] = 1;
    bytes[0x1f4..0x1f8].copy_from_slice(&100u32.to_le_bytes());
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
    bytes
}

fn files(cloud: &Cloud) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(cloud.images_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_images_are_registered_once_by_content() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let raw = tenant.clone();
    let image = send(
        &mut raw.clone(),
        disk(header("raw", pb::ImageFormat::Raw), &[0; 512]),
    )
    .await
    .unwrap();
    assert_eq!(
        (image.files[0].sha256.as_str(), image.files[0].size_bytes),
        (ZEROS, 512)
    );
    assert_eq!(image.virtual_size_bytes, 512);
    assert_eq!(
        (image.org_id.as_str(), image.project_id.as_str()),
        ("acme", "web")
    );
    // The same content under another name is the same file.
    let expected = pb::ImportImageHeader {
        expected_files: vec![pb::ImageFile {
            part: pb::ImagePart::Disk.into(),
            sha256: ZEROS.to_uppercase(),
            size_bytes: 512,
        }],
        request_id: "import-once".into(),
        ..header("again", pb::ImageFormat::Raw)
    };
    let again = send(&mut tenant, disk(expected.clone(), &[0; 512]))
        .await
        .unwrap();
    assert_eq!(files(&cloud), [ZEROS]);
    // A repeated call answers as the first, without its content.
    let repeated = send(&mut tenant, import(expected, &[])).await.unwrap();
    assert_eq!(repeated, again);

    let image = send(
        &mut tenant,
        disk(header("qcow2", pb::ImageFormat::Qcow2), &qcow2(5 << 30)),
    )
    .await
    .unwrap();
    assert_eq!(image.virtual_size_bytes, 5 << 30);
    let with_line = pb::ImportImageHeader {
        kernel_command_line: "console=ttyS0".into(),
        ..header("linux", pb::ImageFormat::KernelInitrd)
    };
    let parts = [
        (pb::ImagePart::Kernel, kernel()),
        (pb::ImagePart::Initrd, b"070701...".to_vec()),
    ];
    let parts: Vec<_> = parts
        .iter()
        .map(|(part, content)| (*part, content.as_slice()))
        .collect();
    let image = send(&mut tenant, import(with_line, &parts)).await.unwrap();
    assert_eq!(
        (image.files.len(), image.kernel_command_line.as_str()),
        (2, "console=ttyS0")
    );
    let taken = send(
        &mut tenant,
        disk(header("raw", pb::ImageFormat::Raw), &[0; 512]),
    )
    .await;
    expect_error(taken, Code::AlreadyExists, "image 'raw' already exists");
    assert_eq!(files(&cloud).len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_images_are_refused_and_leave_nothing() {
    let cloud = Cloud::with(plasmavmc::Settings {
        image_max_bytes: 1 << 20,
        ..Default::default()
    })
    .await;
    let mut tenant = cloud.tenant("acme").await;
    let (raw, qcow) = (pb::ImageFormat::Raw, pb::ImageFormat::Qcow2);
    let changed = |offset: usize, value: &[u8]| {
        let mut bytes = qcow2(1 << 30);
        bytes[offset..offset + value.len()].copy_from_slice(value);
        bytes
    };
    let announced = |sha256: &str, size_bytes| pb::ImportImageHeader {
        expected_files: vec![pb::ImageFile {
            part: pb::ImagePart::Disk.into(),
            sha256: sha256.into(),
            size_bytes,
        }],
        ..header("x", raw)
    };
    let mut fixed_vhd = vec![0; 2048];
    fixed_vhd[1536..1544].copy_from_slice(b"conectix");
    // A level 2 table behind the others, with a cluster 5 MiB into the file.
    let mut lost_cluster = changed(3 * 65536, &(4u64 * 65536).to_be_bytes());
    lost_cluster.extend((79u64 * 65536).to_be_bytes());
    lost_cluster.resize(5 * 65536, 0);
    let linux = || header("x", pb::ImageFormat::KernelInitrd);
    let wrong_order = vec![pb::ImportImageRequest {
        message: Some(Message::Chunk(pb::ImportImageChunk::default())),
    }];
    let mut two_headers = disk(header("x", raw), &[0; 512]);
    two_headers.insert(1, two_headers[0].clone());
    let huge_chunk = vec![
        pb::ImportImageRequest {
            message: Some(Message::Header(header("x", raw))),
        },
        pb::ImportImageRequest {
            message: Some(Message::Chunk(pb::ImportImageChunk {
                part: pb::ImagePart::Disk.into(),
                data: vec![0; (1 << 20) + 1],
            })),
        },
    ];
    let invalid = Code::InvalidArgument;
    let cases = [
        (
            disk(header("x", qcow), &changed(8, &4096u64.to_be_bytes())),
            invalid,
            "it has a backing file; flatten it first: qemu-img convert",
        ),
        (
            disk(header("x", qcow), &changed(72, &4u64.to_be_bytes())),
            invalid,
            "it keeps its data in an external file",
        ),
        (
            disk(
                header("x", qcow),
                &changed(104, &0x4441_5441u32.to_be_bytes()),
            ),
            invalid,
            "it keeps its data in an external file",
        ),
        (
            disk(header("x", qcow), &qcow2(1 << 30)[..70_000]),
            invalid,
            "it is cut off",
        ),
        (
            disk(header("x", qcow), b"#!/bin/sh"),
            invalid,
            "it is not qcow2: it begins with 23212f62",
        ),
        (
            disk(header("x", raw), &qcow2(1 << 30)),
            invalid,
            "import it with format IMAGE_FORMAT_QCOW2",
        ),
        (
            disk(header("x", raw), &[0; 1000]),
            invalid,
            "content of the disk '(1000 bytes)' is not valid: expected IMAGE_FORMAT_RAW, but it has 1000 bytes, which is no multiple of 512",
        ),
        (
            disk(header("x", raw), &fixed_vhd),
            invalid,
            "it is a VHD disk of Virtual PC, Hyper-V or Azure; convert it first: qemu-img convert -f vpc",
        ),
        (
            disk(header("x", qcow), &lost_cluster),
            invalid,
            "it is cut off: it speaks of 5242880 bytes of itself, and has 327680",
        ),
        (
            disk(announced(&"a".repeat(64), 0), &[0; 512]),
            invalid,
            "content of the disk 'SHA-256 076a27c7",
        ),
        (
            disk(announced("", 1024), &[0; 512]),
            invalid,
            "expected the 1024 bytes that expected_files announces",
        ),
        (
            disk(announced("", 512), &[0; 20_480]),
            invalid,
            "(more than 512 bytes)",
        ),
        (
            disk(announced("xyz", 0), &[0; 512]),
            invalid,
            "expected_files[0].sha256 'xyz' is not valid: expected 64 hexadecimal digits",
        ),
        (
            disk(header("x", raw), &vec![0; (1 << 20) + 512]),
            Code::ResourceExhausted,
            "an import may have at most 1048576 bytes",
        ),
        (
            disk(header("x", raw), &[]),
            invalid,
            "at least one chunk of it",
        ),
        (
            disk(header("X", raw), &[0; 512]),
            invalid,
            "name 'X' is not valid",
        ),
        (
            disk(header("x", pb::ImageFormat::Unspecified), &[]),
            invalid,
            "format '0' is not valid: expected one of IMAGE_FORMAT_RAW",
        ),
        (
            import(linux(), &[(pb::ImagePart::Disk, &[0])]),
            invalid,
            "expected kernel or initrd, which is what IMAGE_FORMAT_KERNEL_INITRD has",
        ),
        (
            import(linux(), &[(pb::ImagePart::Kernel, &kernel())]),
            invalid,
            "content of the initrd",
        ),
        (
            import(
                linux(),
                &[
                    (pb::ImagePart::Kernel, b"no kernel"),
                    (pb::ImagePart::Initrd, b"070701"),
                ],
            ),
            invalid,
            "neither a Linux bzImage nor",
        ),
        (
            import(
                linux(),
                &[
                    (pb::ImagePart::Kernel, &kernel()),
                    (pb::ImagePart::Initrd, b"PK"),
                ],
            ),
            invalid,
            "neither a cpio archive nor",
        ),
        (
            disk(
                pb::ImportImageHeader {
                    kernel_command_line: "quiet".into(),
                    ..header("x", raw)
                },
                &[],
            ),
            invalid,
            "kernel_command_line 'quiet' is not valid",
        ),
        (
            wrong_order,
            invalid,
            "expected 'header' in the first message",
        ),
        (
            two_headers,
            invalid,
            "expected 'chunk' in every message after the first",
        ),
        (huge_chunk, invalid, "at most 1048576 bytes"),
        (vec![], invalid, "expected 'header' in the first message"),
    ];
    for (messages, code, text) in cases {
        expect_error(send(&mut tenant, messages).await, code, text);
    }
    let mut cd = vec![0; 36 << 10];
    let record = b"\0CD001\x01EL TORITO SPECIFICATION";
    cd[34 << 10..][..record.len()].copy_from_slice(record);
    // What the beginning shows is said at once, while the client still has gigabytes to send.
    for (format, content, text) in [
        (
            raw,
            b"vhdxfile".as_slice(),
            "it is a VHDX disk of Hyper-V; convert it first",
        ),
        (raw, &cd, "it is a CD to install from (ISO)"),
        (raw, b"QFI\xfb", "import it with format IMAGE_FORMAT_QCOW2"),
        (
            qcow,
            b"KDMV",
            "it is a VMware disk (VMDK); convert it first",
        ),
    ] {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        let mut first = content.to_vec();
        first.resize(first.len().max(512), 0);
        for message in disk(header("x", format), &first) {
            sender.send(message).await.unwrap();
        }
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answer = tenant.images.import_image(stream).await;
        expect_error(answer, invalid, text);
        drop(sender);
    }
    // A client that goes away in the middle.
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let mut leaving = tenant.clone();
    let call = tokio::spawn(async move {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        leaving.images.import_image(stream).await.map(|_| ())
    });
    for message in disk(header("x", raw), &[0; 512]) {
        sender.send(message).await.unwrap();
    }
    call.abort();
    let _ = call.await;
    let listed = tenant
        .images
        .list_images(pb::ListImagesRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().images.is_empty());
    let left = async {
        while !files(&cloud).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(photon_testkit::DEADLINE, left)
        .await
        .expect("temporary files go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_has_a_quota() {
    let cloud = Cloud::with(plasmavmc::Settings {
        image_quota_bytes: 1024,
        ..Default::default()
    })
    .await;
    let mut tenant = cloud.tenant("acme").await;
    let raw = |name| disk(header(name, pb::ImageFormat::Raw), &[0; 512]);
    let first = send(&mut tenant, raw("one")).await.unwrap();
    send(&mut tenant, raw("two")).await.unwrap();
    expect_error(
        send(&mut tenant, raw("three")).await,
        Code::ResourceExhausted,
        "the project acme/web may have 1024 image_bytes, has 1024",
    );
    let request = pb::DeleteImageRequest {
        id: first.id,
        ..Default::default()
    };
    tenant.images.delete_image(request).await.unwrap();
    send(&mut tenant, raw("three")).await.unwrap();
    // Another project is not concerned.
    let mut other = cloud.tenant("globex").await;
    send(&mut other, raw("one")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_stays_while_a_vm_uses_it_and_its_file_while_an_image_does() {
    let mut cloud = Cloud::start().await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let raw = |name| disk(header(name, pb::ImageFormat::Raw), &[7; 1 << 20]);
    let image = send(&mut tenant, raw("debian")).await.unwrap();
    let twin = send(&mut tenant, raw("twin")).await.unwrap();
    let mut request = new_vm("web-1", &[]);
    request.spec.as_mut().unwrap().disks.push(pb::Disk {
        id: "root".into(),
        image_id: "debian".into(),
        size_bytes: 0,
    });
    let vm = tenant.create(request).await.unwrap();
    let root = &vm.spec.as_ref().unwrap().disks[0];
    assert_eq!(
        (root.image_id.as_str(), root.size_bytes),
        (image.id.as_str(), 1 << 20)
    );
    let delete = |id: &str| pb::DeleteImageRequest {
        id: id.into(),
        ..Default::default()
    };
    let refused = tenant.images.delete_image(delete("debian")).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "image 'debian' is in use by VM 'web-1': delete them first",
    );
    tenant.delete(&vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    drop(host);
    tenant.images.delete_image(delete("debian")).await.unwrap();
    assert_eq!(files(&cloud).len(), 1, "the twin has the same content");
    let refused = tenant.images.delete_image(delete("debian")).await;
    expect_error(refused, Code::NotFound, "image 'debian' not found");

    // A crash between the record and the file: the next start removes the file.
    tenant.images.delete_image(delete(&twin.id)).await.unwrap();
    cloud.kill("plasmavmc").await;
    fs::write(cloud.images_dir().join(ZEROS), [0; 512]).unwrap();
    fs::write(cloud.images_dir().join(".import-half"), "half").unwrap();
    cloud.start_again("plasmavmc");
    let token = cloud.sign_in("acme", "admin").await;
    let mut tenant = cloud.client(&token);
    let listed = tenant
        .images
        .list_images(pb::ListImagesRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().images.is_empty());
    assert!(files(&cloud).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_publish_and_everybody_uses_what_is_public() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let mut operator = cloud.operator().await;
    let raw = |header| disk(header, &[0; 1024]);
    let public = |name| pb::ImportImageHeader {
        public: true,
        ..header(name, pb::ImageFormat::Raw)
    };

    let refused = send(&mut acme, raw(public("mine"))).await;
    expect_error(
        refused,
        Code::PermissionDenied,
        "only operators make images public",
    );
    let own = send(&mut acme, raw(header("own", pb::ImageFormat::Raw)))
        .await
        .unwrap();
    let publish = pb::UpdateImageRequest {
        id: own.id.clone(),
        public: Some(true),
        ..Default::default()
    };
    expect_error(
        acme.images.update_image(publish.clone()).await,
        Code::PermissionDenied,
        "only operators",
    );

    let debian = send(&mut operator, raw(public("debian"))).await.unwrap();
    assert_eq!(debian.org_id, "");
    let get = |id: &str| pb::GetImageRequest {
        id: id.into(),
        ..Default::default()
    };
    for tenant in [&mut acme, &mut globex] {
        let found = tenant
            .images
            .get_image(get("debian"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.image.unwrap().id, debian.id);
        let mut request = new_vm("web-1", &[]);
        request.spec.as_mut().unwrap().disks.push(pb::Disk {
            id: "root".into(),
            image_id: "debian".into(),
            size_bytes: 0,
        });
        tenant.create(request).await.unwrap();
        let delete = pb::DeleteImageRequest {
            id: debian.id.clone(),
            ..Default::default()
        };
        expect_error(
            tenant.images.delete_image(delete).await,
            Code::NotFound,
            "image",
        );
    }
    // What is not public is not there for others, by id or by name.
    expect_error(
        globex.images.get_image(get(&own.id)).await,
        Code::NotFound,
        "not found",
    );
    expect_error(
        globex.images.get_image(get("own")).await,
        Code::NotFound,
        "image 'own' not found",
    );
    let theirs = pb::GetImageRequest {
        id: "own".into(),
        org_id: "acme".into(),
        project_id: "web".into(),
    };
    expect_error(
        globex.images.get_image(theirs).await,
        Code::NotFound,
        "image 'own' not found",
    );
    let mut request = new_vm("web-2", &[]);
    request.spec.as_mut().unwrap().disks.push(pb::Disk {
        id: "root".into(),
        image_id: own.id.clone(),
        size_bytes: 0,
    });
    expect_error(globex.create(request).await, Code::NotFound, "image");

    let names = |page: tonic::Response<pb::ListImagesResponse>| -> Vec<String> {
        page.into_inner()
            .images
            .into_iter()
            .map(|image| image.name)
            .collect()
    };
    let all = pb::ListImagesRequest::default();
    assert_eq!(
        names(acme.images.list_images(all.clone()).await.unwrap()),
        ["own", "debian"]
    );
    assert_eq!(
        names(globex.images.list_images(all.clone()).await.unwrap()),
        ["debian"]
    );
    operator.images.update_image(publish).await.unwrap();
    assert_eq!(
        names(acme.images.list_images(all.clone()).await.unwrap()),
        ["own", "debian"]
    );
    assert_eq!(
        names(globex.images.list_images(all.clone()).await.unwrap()),
        ["debian", "own"]
    );
    let first = pb::ListImagesRequest {
        page_size: 1,
        ..all
    };
    let page = acme
        .images
        .list_images(first.clone())
        .await
        .unwrap()
        .into_inner();
    let second = pb::ListImagesRequest {
        page_token: page.next_page_token,
        ..first
    };
    let rest = acme.images.list_images(second).await.unwrap().into_inner();
    assert_eq!(
        (rest.images[0].name.as_str(), rest.next_page_token.as_str()),
        ("debian", "")
    );
    expect_error(
        send(&mut operator, raw(public("own"))).await,
        Code::AlreadyExists,
        "public image 'own' already exists",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_reads_the_images_of_its_own_vms_from_any_offset() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut other = Host::named(&cloud, "host-2", 1, 64).await;
    let mut tenant = cloud.tenant("acme").await;
    let content: Vec<u8> = (0..3_000_320u32).map(|at| (at * 31 % 251) as u8).collect();
    let used = send(
        &mut tenant,
        disk(header("used", pb::ImageFormat::Raw), &content),
    )
    .await
    .unwrap();
    let unused = send(
        &mut tenant,
        disk(header("unused", pb::ImageFormat::Raw), &[0; 512]),
    )
    .await
    .unwrap();
    let mut request = new_vm("web-1", &[]);
    request.spec.as_mut().unwrap().disks.push(pb::Disk {
        id: "root".into(),
        image_id: "used".into(),
        size_bytes: 1 << 30,
    });
    tenant.create(request).await.unwrap();
    let desired = host.desired_now().await;
    assert_eq!(desired.vms[0].images[0].files, used.files);

    let fetch = |node: &str, image: &str, offset| pb::FetchImageRequest {
        node: node.into(),
        image_id: image.into(),
        part: pb::ImagePart::Disk.into(),
        offset,
    };
    for offset in [0, 1, 2_999_999, 3_000_320] {
        let stream = host
            .client
            .nodes
            .fetch_image(fetch("host-1", &used.id, offset))
            .await;
        let (mut stream, mut read) = (stream.unwrap().into_inner(), Vec::new());
        while let Some(chunk) = stream.message().await.unwrap() {
            read.extend(chunk.data);
        }
        assert!(read == content[offset as usize..], "from {offset}");
    }
    let past = host
        .client
        .nodes
        .fetch_image(fetch("host-1", &used.id, 3_000_321))
        .await;
    expect_error(
        past.map(|_| ()),
        Code::InvalidArgument,
        "offset '3000321' is not valid: expected at most the file's size of 3000320",
    );
    let not_used = host
        .client
        .nodes
        .fetch_image(fetch("host-1", &unused.id, 0))
        .await;
    expect_error(not_used.map(|_| ()), Code::NotFound, "image");
    let not_here = other
        .client
        .nodes
        .fetch_image(fetch("host-2", &used.id, 0))
        .await;
    expect_error(not_here.map(|_| ()), Code::NotFound, "image");
    let as_another = other
        .client
        .nodes
        .fetch_image(fetch("host-1", &used.id, 0))
        .await;
    expect_error(
        as_another.map(|_| ()),
        Code::PermissionDenied,
        "this one is 'host-2', not 'host-1'",
    );
    let mut kernel = fetch("host-1", &used.id, 0);
    kernel.part = pb::ImagePart::Kernel.into();
    expect_error(
        host.client.nodes.fetch_image(kernel).await.map(|_| ()),
        Code::NotFound,
        "image",
    );
    let _ = other.desired_now().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_and_a_deletion_of_its_image_at_once_never_both_succeed() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    for round in 0..10u8 {
        let name = format!("image-{round}");
        let content = [round; 512];
        let image = send(
            &mut tenant,
            disk(header(&name, pb::ImageFormat::Raw), &content),
        )
        .await
        .unwrap();
        let mut request = new_vm(&format!("vm-{round}"), &[]);
        request.spec.as_mut().unwrap().disks.push(pb::Disk {
            id: "root".into(),
            image_id: image.id.clone(),
            size_bytes: 0,
        });
        let delete = pb::DeleteImageRequest {
            id: image.id.clone(),
            ..Default::default()
        };
        let (mut one, mut other) = (tenant.clone(), tenant.clone());
        let (created, deleted) =
            tokio::join!(one.create(request), other.images.delete_image(delete));
        assert_ne!(created.is_ok(), deleted.is_ok(), "round {round}");
        match (created, deleted) {
            (Ok(vm), deleted) => {
                expect_error(deleted, Code::FailedPrecondition, "is in use by VM");
                let told = host.desired_now().await;
                let told = told.vms.iter().find(|told| told.id == vm.id).unwrap();
                assert_eq!(told.images[0].id, image.id);
            }
            (created, _) => expect_error(created, Code::NotFound, "image"),
        }
    }
}
