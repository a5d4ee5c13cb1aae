//! What each call refuses, with the message that a person reads, and who may call it at all.

use photon_api::plasmavmc::v1 as pb;
use tonic::{Code, Status};

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{Session, expect_error};

const NO_VM: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";

fn hops(hop_limit: u32) -> pb::MetadataOptions {
    pb::MetadataOptions {
        hop_limit,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_creation_is_refused_with_field_value_and_what_is_accepted() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    tenant.create(new_vm("taken", &[])).await.unwrap();
    type Change = fn(&mut pb::CreateVmRequest, &mut pb::VmSpec);
    let invalid = Code::InvalidArgument;
    let cases: [(Change, Code, &str); 32] = [
        (
            |r, _| r.name = String::new(),
            invalid,
            "name '' is not valid: expected 1 to 63 of a-z, 0-9 and '-'",
        ),
        (
            |r, _| r.name = "Web".into(),
            invalid,
            "name 'Web' is not valid",
        ),
        (
            |r, _| r.name = "taken".into(),
            Code::AlreadyExists,
            "VM 'taken' already exists",
        ),
        (
            |r, _| r.description = "\u{7}".into(),
            invalid,
            "description",
        ),
        (
            |r, _| {
                r.labels.insert("a b".into(), "c".into());
            },
            invalid,
            "labels 'a b' is not valid",
        ),
        (
            |r, _| r.project_id = "No Project".into(),
            invalid,
            "project",
        ),
        (
            |r, _| {
                r.org_id = "globex".into();
                r.project_id = "web".into();
            },
            Code::PermissionDenied,
            "it is outside of the tenant",
        ),
        (
            |r, _| r.power_state = 7,
            invalid,
            "power_state '7' is not valid: expected one of POWER_STATE_ON and POWER_STATE_OFF",
        ),
        (
            |r, _| r.request_id = "a b".into(),
            invalid,
            "request_id 'a b' is not valid",
        ),
        (
            |_, s| s.vcpus = 65,
            invalid,
            "spec.vcpus '65' is not valid: expected 1 to 64",
        ),
        (
            |_, s| s.memory_mib = 63,
            invalid,
            "spec.memory_mib '63' is not valid: expected 64 to 1048576 MiB",
        ),
        (|_, s| s.memory_mib = u64::MAX, invalid, "spec.memory_mib"),
        (
            |_, s| s.restart_policy = 9,
            invalid,
            "spec.restart_policy '9' is not valid",
        ),
        (
            |_, s| s.hypervisor = 9,
            invalid,
            "spec.hypervisor '9' is not valid",
        ),
        (
            |_, s| s.metadata_options = Some(hops(65)),
            invalid,
            "spec.metadata_options.hop_limit '65' is not valid: expected 1 to 64",
        ),
        (
            |_, s| {
                s.metadata_options = Some(pb::MetadataOptions {
                    http_tokens: 3,
                    ..Default::default()
                })
            },
            invalid,
            "spec.metadata_options.http_tokens '3' is not valid: expected one of HTTP_TOKENS_REQUIRED",
        ),
        (
            |_, s| s.hostname = "a_b".into(),
            invalid,
            "spec.hostname 'a_b' is not valid: expected a host name",
        ),
        (
            |_, s| s.user_data = "x".repeat(65_537),
            invalid,
            "spec.user_data '(65537 bytes)' is not valid: expected at most 65536 bytes",
        ),
        (
            |_, s| s.ssh_authorized_keys.push("ssh-rsa nope".into()),
            invalid,
            "spec.ssh_authorized_keys[0] 'ssh-rsa nope' is not valid: expected one public key",
        ),
        (
            |_, s| s.kernel_command_line = "quiet".into(),
            invalid,
            "spec.kernel_command_line 'quiet' is not valid: expected nothing, unless",
        ),
        (
            |_, s| s.kernel_image_id = "missing".into(),
            Code::NotFound,
            "image 'missing' not found",
        ),
        (
            |_, s| s.kernel_image_id = NO_VM.into(),
            Code::NotFound,
            "image",
        ),
        (
            |_, s| s.kernel_image_id = "../../etc".into(),
            Code::NotFound,
            "image '../../etc' not found",
        ),
        (
            |_, s| {
                s.disks.push(pb::Disk {
                    id: "root".into(),
                    ..Default::default()
                })
            },
            invalid,
            "spec.disks[0].size_bytes '0' is not valid: expected 1048576 (1 MiB) to 17592186044416 (16 TiB)",
        ),
        (
            |_, s| {
                s.disks.push(pb::Disk {
                    id: "root".into(),
                    size_bytes: 1 << 60,
                    ..Default::default()
                })
            },
            invalid,
            "spec.disks[0].size_bytes '1152921504606846976' is not valid",
        ),
        (
            |_, s| {
                s.disks.push(pb::Disk {
                    id: "../root".into(),
                    size_bytes: 1 << 20,
                    ..Default::default()
                })
            },
            invalid,
            "spec.disks[0].id '../root' is not valid: expected 1 to 20 of a-z",
        ),
        (
            |_, s| {
                s.disks = vec![
                    pb::Disk {
                        id: "a".into(),
                        size_bytes: 1 << 20,
                        ..Default::default()
                    };
                    2
                ]
            },
            invalid,
            "spec.disks[1].id 'a' is not valid: expected an id that no other disk",
        ),
        (
            |_, s| s.disks = vec![pb::Disk::default(); 17],
            invalid,
            "spec.disks '(17 entries)' is not valid: expected at most 16",
        ),
        (
            |_, s| {
                s.network.push(pb::NetworkInterface {
                    id: "eth0".into(),
                    port_id: "x".into(),
                    ..Default::default()
                })
            },
            invalid,
            "spec.network[0].port_id 'x' is not valid: expected the id of a port (a UUID)",
        ),
        (
            |_, s| {
                s.network.push(pb::NetworkInterface {
                    id: "eth0".into(),
                    port_id: NO_VM.into(),
                    ..Default::default()
                })
            },
            Code::NotFound,
            "port '6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e' not found",
        ),
        (
            |_, s| {
                s.network.push(pb::NetworkInterface {
                    id: "an interface".into(),
                    port_id: NO_VM.into(),
                    ..Default::default()
                })
            },
            invalid,
            "spec.network[0].id 'an interface' is not valid",
        ),
        (
            |_, s| {
                s.network = vec![
                    pb::NetworkInterface {
                        id: "eth0".into(),
                        port_id: NO_VM.into(),
                        ..Default::default()
                    };
                    2
                ]
            },
            invalid,
            "spec.network[1].id 'eth0' is not valid",
        ),
    ];
    for (change, code, text) in cases {
        let mut request = new_vm("new", &[]);
        let mut spec = request.spec.take().unwrap();
        change(&mut request, &mut spec);
        request.spec = Some(spec);
        expect_error(tenant.create(request).await, code, text);
    }
    let listed = tenant
        .vms
        .list_vms(pb::ListVmsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().vms.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_arguments_of_the_other_calls_are_refused() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    tenant.create(new_vm("one", &[])).await.unwrap();
    let invalid = Code::InvalidArgument;
    let vms = &mut tenant.vms;

    let get = |id: &str| pb::GetVmRequest {
        id: id.into(),
        ..Default::default()
    };
    expect_error(
        vms.get_vm(get("")).await,
        invalid,
        "id '' is not valid: expected the id or name of a VM",
    );
    expect_error(
        vms.get_vm(get("a/b")).await,
        Code::NotFound,
        "VM 'a/b' not found",
    );
    expect_error(
        vms.get_vm(get("missing")).await,
        Code::NotFound,
        "VM 'missing' not found",
    );
    expect_error(
        vms.get_vm(get(NO_VM)).await,
        Code::NotFound,
        "VM '6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e' not found",
    );

    let stop = pb::StopVmRequest {
        id: "one".into(),
        timeout_seconds: 601,
        ..Default::default()
    };
    expect_error(
        vms.stop_vm(stop).await,
        invalid,
        "timeout_seconds '601' is not valid: expected at most 600 seconds, or 0 for 30",
    );

    type Change = fn(&mut pb::UpdateVmRequest);
    let updates: [(Change, &str); 8] = [
        (|r| r.name = Some("-".into()), "name '-' is not valid"),
        (
            |r| r.vcpus = Some(0),
            "vcpus '0' is not valid: expected 1 to 64",
        ),
        (
            |r| r.memory_mib = Some(1),
            "memory_mib '1' is not valid: expected 64 to 1048576 MiB",
        ),
        (
            |r| r.user_data = Some("x".repeat(65_537)),
            "user_data '(65537 bytes)' is not valid",
        ),
        (
            |r| r.metadata_options = Some(hops(65)),
            "metadata_options.hop_limit '65' is not valid: expected 1 to 64",
        ),
        (
            |r| r.restart_policy = Some(0),
            "restart_policy '0' is not valid",
        ),
        (
            |r| r.restart_policy = Some(9),
            "restart_policy '9' is not valid",
        ),
        (
            |r| {
                r.labels = Some(pb::Labels {
                    labels: [("".to_owned(), "x".to_owned())].into(),
                })
            },
            "labels '' is not valid",
        ),
    ];
    for (change, text) in updates {
        let mut request = pb::UpdateVmRequest {
            id: "one".into(),
            ..Default::default()
        };
        change(&mut request);
        expect_error(vms.update_vm(request).await, invalid, text);
    }

    type Filter = fn(&mut pb::ListVmsRequest);
    let lists: [(Filter, &str); 3] = [
        (
            |r| r.page_size = 1001,
            "page_size '1001' is not valid: expected 0 to 1000",
        ),
        (
            |r| r.page_token = "zz".into(),
            "page_token 'zz' is not valid: expected the next_page_token of the previous page",
        ),
        (
            |r| r.phase = 99,
            "phase '99' is not valid: expected a VmPhase of 1 to 7, or 0 for all",
        ),
    ];
    for (change, text) in lists {
        let mut request = pb::ListVmsRequest::default();
        change(&mut request);
        expect_error(vms.list_vms(request).await, invalid, text);
    }
    let images = &mut tenant.images;
    let get = pb::GetImageRequest {
        id: "A".into(),
        ..Default::default()
    };
    expect_error(
        images.get_image(get).await,
        Code::NotFound,
        "image 'A' not found",
    );
    let update = pb::UpdateImageRequest {
        id: NO_VM.into(),
        ..Default::default()
    };
    expect_error(images.update_image(update).await, Code::NotFound, "image");
    let list = pb::ListImagesRequest {
        page_size: 5000,
        ..Default::default()
    };
    expect_error(
        images.list_images(list).await,
        invalid,
        "page_size '5000' is not valid",
    );
}

/// One call of each kind about a VM.
async fn all_calls(client: &mut Client, id: &str) -> Vec<(&'static str, Result<(), Status>)> {
    let id = id.to_owned();
    let vms = &mut client.vms;
    let get = pb::GetVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let update = pb::UpdateVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let start = pb::StartVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let stop = pb::StopVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let reboot = pb::RebootVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let delete = pb::DeleteVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let watch = pb::WatchVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let console = pb::ConsoleRequest {
        message: Some(pb::console_request::Message::VmId(id)),
    };
    vec![
        ("get", vms.get_vm(get).await.map(drop)),
        ("update", vms.update_vm(update).await.map(drop)),
        ("start", vms.start_vm(start).await.map(drop)),
        ("stop", vms.stop_vm(stop).await.map(drop)),
        ("reboot", vms.reboot_vm(reboot).await.map(drop)),
        ("delete", vms.delete_vm(delete).await.map(drop)),
        ("watch", vms.watch_vm(watch).await.map(drop)),
        (
            "console",
            vms.console(tokio_stream::once(console)).await.map(drop),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_others_and_the_unpermitted_get_nowhere() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("one", &[])).await.unwrap();
    let mut other = cloud.tenant("globex").await;
    let mut nobody = cloud.client(&cloud.without_role("acme", "nobody").await);
    let mut forged = cloud.client(&Session::with_token("eyJhbGciOiJub25lIn0.e30."));
    for (call, result) in all_calls(&mut other, &vm.id).await {
        let status = result.expect_err(call);
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, format!("VM '{}' not found", vm.id).as_str()),
            "{call}"
        );
    }
    for id in [vm.id.as_str(), NO_VM] {
        for (call, result) in all_calls(&mut nobody, id).await {
            let status = result.expect_err(call);
            assert_eq!(
                status.code(),
                Code::PermissionDenied,
                "{call}: {}",
                status.message()
            );
            // Word for word the same for what is there and what is not.
            assert!(
                status.message().contains(&format!(
                    "compute:instances:{call} on org/acme/project/web/instances/*"
                )),
                "{}",
                status.message()
            );
        }
        for (call, result) in all_calls(&mut forged, id).await {
            assert_eq!(
                result.expect_err(call).code(),
                Code::Unauthenticated,
                "{call}"
            );
        }
    }
    expect_error(
        nobody.create(new_vm("two", &[])).await,
        Code::PermissionDenied,
        "compute:instances:create",
    );
    let list = pb::ListVmsRequest::default();
    expect_error(
        nobody.vms.list_vms(list.clone()).await,
        Code::PermissionDenied,
        "compute:instances:list",
    );
    // Another tenant's list is refused, and its own holds nothing of others.
    let theirs = pb::ListVmsRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..Default::default()
    };
    expect_error(
        other.vms.list_vms(theirs).await,
        Code::PermissionDenied,
        "outside of the tenant",
    );
    assert!(
        other
            .vms
            .list_vms(list)
            .await
            .unwrap()
            .into_inner()
            .vms
            .is_empty()
    );
    let by_name = pb::GetVmRequest {
        id: "one".into(),
        org_id: "acme".into(),
        project_id: "web".into(),
    };
    expect_error(
        other.vms.get_vm(by_name).await,
        Code::NotFound,
        "VM 'one' not found",
    );
    // A viewer looks, and changes nothing.
    let mut viewer = cloud.client(&cloud.user("acme", "viewer", "ProjectViewer").await);
    for (call, result) in all_calls(&mut viewer, &vm.id).await {
        match call {
            "get" | "watch" => result.unwrap(),
            _ => assert_eq!(
                result.expect_err(call).code(),
                Code::PermissionDenied,
                "{call}"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_paged_without_a_gap() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    cloud.people.ensure("acme", "shop").await;
    let mut operator = cloud.operator().await;
    for at in 0..12 {
        let mut request = new_vm(&format!("vm-{at}"), &[]);
        request.org_id = "acme".into();
        request.project_id = if at < 10 { "web" } else { "shop" }.into();
        request.labels.insert("half".into(), (at % 2).to_string());
        operator.create(request).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = pb::ListVmsRequest {
        page_size: 3,
        ..Default::default()
    };
    let mut pages = 0;
    loop {
        let page = tenant
            .vms
            .list_vms(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(page.vms.len() <= 3);
        names.extend(page.vms.into_iter().map(|vm| vm.name));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    names.sort();
    assert_eq!(
        names,
        (0..10).map(|at| format!("vm-{at}")).collect::<Vec<_>>()
    );
    assert_eq!(pages, 4);
    let count = async |client: &mut Client, change: fn(&mut pb::ListVmsRequest)| {
        let mut request = pb::ListVmsRequest::default();
        change(&mut request);
        client
            .vms
            .list_vms(request)
            .await
            .unwrap()
            .into_inner()
            .vms
            .len()
    };
    assert_eq!(
        count(&mut tenant, |r| {
            r.labels.insert("half".into(), "1".into());
        })
        .await,
        5
    );
    assert_eq!(count(&mut tenant, |r| r.name = "vm-3".into()).await, 1);
    assert_eq!(count(&mut tenant, |r| r.node = "host-1".into()).await, 10);
    assert_eq!(count(&mut tenant, |r| r.node = "host-2".into()).await, 0);
    assert_eq!(
        count(&mut tenant, |r| r.phase = pb::VmPhase::Failed.into()).await,
        0
    );
    assert_eq!(count(&mut operator, |_| {}).await, 12);
    assert_eq!(count(&mut operator, |r| r.org_id = "acme".into()).await, 12);
    assert_eq!(
        count(&mut operator, |r| {
            r.org_id = "acme".into();
            r.project_id = "shop".into();
        })
        .await,
        2
    );
    tenant.wait_for("vm-3", pb::VmPhase::Running).await;
    assert!(count(&mut tenant, |r| r.phase = pb::VmPhase::Running.into()).await >= 1);
}
