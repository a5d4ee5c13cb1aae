//! Hosts: who speaks for one, what it is told, what its reports do, and who is placed where.

use photon_api::plasmavmc::v1 as pb;
use tonic::{Code, Status};

use crate::host::{Host, about, as_wanted};
use photon_testcloud::plasmavmc::{Cloud, HOST, new_vm};
use photon_testkit::expect_error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_hosts_own_agent_speaks_for_it() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let tenant = cloud.tenant("acme").await;
    let operator = cloud.operator().await;
    for (caller, reason) in [
        (tenant, "is for the agents of hosts alone"),
        (operator, "is for the agents of hosts alone"),
        (
            Host::named(&cloud, "host-2", 1, 64).await.client,
            "this one is 'host-2', not 'host-1'",
        ),
    ] {
        let mut nodes = caller.nodes;
        let mut refusals: Vec<Result<(), Status>> = Vec::new();
        let node = Some(about(HOST, 1, 64));
        refusals.push(
            nodes
                .register_node(pb::RegisterNodeRequest { node })
                .await
                .map(|_| ()),
        );
        let request = pb::WatchDesiredRequest {
            node: HOST.into(),
            ..Default::default()
        };
        refusals.push(nodes.watch_desired(request).await.map(|_| ()));
        let request = pb::ReportStatusRequest {
            node: HOST.into(),
            ..Default::default()
        };
        refusals.push(nodes.report_status(request).await.map(|_| ()));
        let request = pb::FetchImageRequest {
            node: HOST.into(),
            ..Default::default()
        };
        refusals.push(nodes.fetch_image(request).await.map(|_| ()));
        let first = pb::ServeConsolesRequest {
            node: HOST.into(),
            ..Default::default()
        };
        refusals.push(
            nodes
                .serve_consoles(tokio_stream::once(first))
                .await
                .map(|_| ()),
        );
        for refusal in refusals {
            expect_error(refusal, Code::PermissionDenied, reason);
        }
    }
    // And an agent is no operator.
    let listed = host
        .client
        .nodes
        .list_nodes(pb::ListNodesRequest::default())
        .await;
    expect_error(listed, Code::PermissionDenied, "compute:nodes:list");
    expect_error(
        host.client.create(new_vm("x", &[])).await,
        Code::InvalidArgument,
        "org_id",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_and_what_runs_guests_count_where_a_host_says_them() {
    const GIB: u64 = 1 << 30;
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let told = pb::Node {
        memory_overhead: Some(pb::MemoryOverhead {
            per_vm_mib: 160,
            per_vcpu_mib: 8,
            per_gib_mib: 32,
        }),
        disk_bytes: 10 * GIB,
        ..about(HOST, 16, 32768)
    };
    let request = pb::RegisterNodeRequest { node: Some(told) };
    host.client.nodes.register_node(request).await.unwrap();
    let mut tenant = cloud.tenant("acme").await;
    let with_disk = |name: &str, size_bytes| {
        let mut request = new_vm(name, &[]);
        let spec = request.spec.as_mut().unwrap();
        spec.memory_mib = 1024;
        spec.disks = vec![pb::Disk {
            id: "data".into(),
            size_bytes,
            ..Default::default()
        }];
        request
    };
    // Twice its size is promised.
    let one = tenant.create(with_disk("one", 15 * GIB)).await.unwrap();
    expect_error(
        tenant.create(with_disk("two", 6 * GIB)).await,
        Code::ResourceExhausted,
        "with 6144 MiB of disks: the most that is free on one is 63 vCPUs and 30425 MiB, with 5120 MiB for disks",
    );
    let mut operator = cloud.operator().await;
    let request = pb::ListNodesRequest::default();
    let listed = operator.nodes.list_nodes(request).await.unwrap();
    let node = listed.into_inner().nodes.remove(0);
    assert_eq!(
        (node.memory_mib_used, node.memory_mib_overhead),
        (1024, 200)
    );
    assert_eq!(
        (node.disk_bytes, node.disk_bytes_used),
        (10 * GIB, 15 * GIB)
    );

    // Disks that are there already keep no VM from growing.
    let grow = pb::UpdateVmRequest {
        id: one.id.clone(),
        memory_mib: Some(2048),
        ..Default::default()
    };
    tenant.vms.update_vm(grow).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vms_go_where_there_is_room_and_operators_choose() {
    let cloud = Cloud::start().await;
    let _small = Host::first(&cloud).await;
    let mut large = Host::named(&cloud, "host-2", 64, 131_072).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("one", &[])).await.unwrap();
    assert_eq!(vm.node, "host-2");
    let named = |name: &str, node: &str| pb::CreateVmRequest {
        node: node.into(),
        ..new_vm(name, &[])
    };
    let refused = tenant.create(named("two", HOST)).await;
    expect_error(
        refused,
        Code::PermissionDenied,
        "only operators choose the host: leave it out",
    );
    let of_acme = |request| pb::CreateVmRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..request
    };
    let mut operator = cloud.operator().await;
    let vm = operator.create(of_acme(named("two", HOST))).await.unwrap();
    assert_eq!(vm.node, HOST);
    let nowhere = operator.create(of_acme(named("three", "host-9"))).await;
    expect_error(
        nowhere,
        Code::InvalidArgument,
        "node 'host-9' is not valid: expected one of host-1, host-2",
    );

    let mut huge = new_vm("huge", &[]);
    huge.spec.as_mut().unwrap().memory_mib = 200_000;
    expect_error(
        tenant.create(huge).await,
        Code::ResourceExhausted,
        "no host has room for 1 vCPUs and 200000 MiB of memory: the most that is free on one is 255 vCPUs and 130560 MiB",
    );
    let mut fire = new_vm("fire", &[]);
    fire.spec.as_mut().unwrap().hypervisor = pb::HypervisorKind::Firecracker.into();
    expect_error(
        tenant.create(fire.clone()).await,
        Code::FailedPrecondition,
        "no host offers Firecracker as hypervisor: use one of QEMU",
    );
    let mut node = about("host-2", 64, 131_072);
    node.hypervisors
        .push(pb::HypervisorKind::Firecracker.into());
    large
        .client
        .nodes
        .register_node(pb::RegisterNodeRequest { node: Some(node) })
        .await
        .unwrap();
    assert_eq!(tenant.create(fire).await.unwrap().node, "host-2");

    let page = pb::ListNodesRequest {
        page_size: 1,
        ..Default::default()
    };
    let first = operator
        .nodes
        .list_nodes(page.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.nodes[0].name, HOST);
    assert_eq!(
        (first.nodes[0].vcpus_used, first.nodes[0].memory_mib_used),
        (1, 512)
    );
    assert!(first.nodes[0].ready);
    let page = pb::ListNodesRequest {
        page_token: first.next_page_token,
        ..page
    };
    let second = operator.nodes.list_nodes(page).await.unwrap().into_inner();
    assert_eq!(
        (
            second.nodes[0].name.as_str(),
            second.next_page_token.as_str()
        ),
        ("host-2", "")
    );
    expect_error(
        tenant
            .nodes
            .list_nodes(pb::ListNodesRequest::default())
            .await,
        Code::PermissionDenied,
        "compute:nodes:list",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_not_heard_of_gets_no_new_vms() {
    let cloud = Cloud::with(plasmavmc::Settings {
        node_timeout_seconds: 1,
        ..Default::default()
    })
    .await;
    let mut tenant = cloud.tenant("acme").await;
    expect_error(
        tenant.create(new_vm("one", &[])).await,
        Code::Unavailable,
        "no host is ready",
    );
    let mut host = Host::first(&cloud).await;
    let mut operator = cloud.operator().await;
    let silent = async {
        loop {
            let nodes = operator
                .nodes
                .list_nodes(pb::ListNodesRequest::default())
                .await;
            if !nodes.unwrap().into_inner().nodes[0].ready {
                return;
            }
        }
    };
    tokio::time::timeout(photon_testkit::DEADLINE, silent)
        .await
        .unwrap();
    expect_error(
        tenant.create(new_vm("one", &[])).await,
        Code::Unavailable,
        "no host is ready",
    );
    host.register(16, 32768).await.unwrap();
    tenant.create(new_vm("one", &[])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_told_everything_and_then_every_change() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let mut desired = host.desired().await;
    assert!(desired.message().await.unwrap().unwrap().vms.is_empty());
    let mut request = new_vm("one", &[]);
    let spec = request.spec.as_mut().unwrap();
    spec.user_data = "#cloud-config\n".into();
    let vm = tenant.create(request).await.unwrap();
    let told = desired.message().await.unwrap().unwrap();
    assert_eq!(
        (told.vms[0].id.as_str(), told.vms[0].power_state()),
        (vm.id.as_str(), pb::PowerState::On)
    );
    assert_eq!(
        told.vms[0].spec.as_ref().unwrap().user_data,
        "#cloud-config\n"
    );
    assert_eq!(told.vms[0].spec.as_ref().unwrap().hostname, "one");
    // A report of its own is no change to it.
    host.obey(&told).await;
    tenant
        .vms
        .stop_vm(pb::StopVmRequest {
            id: vm.id.clone(),
            force: true,
            timeout_seconds: 5,
            ..Default::default()
        })
        .await
        .unwrap();
    let told = desired.message().await.unwrap().unwrap();
    assert_eq!(told.vms[0].power_state(), pb::PowerState::Off);
    assert!(told.vms[0].force);
    assert_eq!(told.vms[0].stop_timeout_seconds, 5);
    tenant.delete(&vm.id).await.unwrap();
    let told = desired.message().await.unwrap().unwrap();
    assert!(told.vms[0].deleting);
    host.obey(&told).await;
    assert!(desired.message().await.unwrap().unwrap().vms.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_of_the_past_of_others_and_of_nonsense_change_nothing() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut other = Host::named(&cloud, "host-2", 1, 64).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("one", &[])).await.unwrap();
    let before = host.desired_now().await;
    host.obey(&before).await;
    tenant.stop(&vm.id).await.unwrap();
    // From before the stop; from another host; about a VM that never was; gone without having to go.
    host.obey(&before).await;
    let now = host.desired_now().await;
    let stopped = as_wanted(&now.vms[0]);
    other
        .report(now.revision + 1000, vec![stopped.clone()])
        .await
        .unwrap();
    let stranger = pb::VmReport {
        id: "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".into(),
        ..stopped.clone()
    };
    let gone = pb::VmReport {
        gone: true,
        phase: pb::VmPhase::Stopping.into(),
        ..stopped.clone()
    };
    host.report(now.revision, vec![stranger, gone])
        .await
        .unwrap();
    assert_eq!(
        tenant.get(&vm.id).await.unwrap().phase(),
        pb::VmPhase::Stopping
    );
    for (report, text) in [
        (
            pb::VmReport {
                id: "x".into(),
                ..stopped.clone()
            },
            "vms.id 'x' is not valid",
        ),
        (
            pb::VmReport {
                phase: 99,
                ..stopped.clone()
            },
            "vms.phase '99' is not valid",
        ),
    ] {
        expect_error(
            host.report(now.revision, vec![report]).await,
            Code::InvalidArgument,
            text,
        );
    }
    let failed = pb::VmReport {
        phase: pb::VmPhase::Failed.into(),
        message: "QEMU has ended with status 1".into(),
        ..stopped
    };
    host.report(now.revision, vec![failed]).await.unwrap();
    let vm = tenant.get(&vm.id).await.unwrap();
    assert_eq!(
        (vm.phase(), vm.status_message.as_str()),
        (pb::VmPhase::Failed, "QEMU has ended with status 1")
    );

    for (node, text) in [
        (
            about(HOST, 0, 64),
            "node.vcpus '0' is not valid: expected 1 to 8192",
        ),
        (about(HOST, 1, 0), "node.memory_mib '0' is not valid"),
        (
            pb::Node {
                accelerator: "xen".into(),
                ..about(HOST, 1, 1)
            },
            "node.accelerator 'xen' is not valid: expected 'kvm' or 'tcg'",
        ),
        (
            pb::Node {
                hypervisors: vec![],
                ..about(HOST, 1, 1)
            },
            "node.hypervisors '' is not valid",
        ),
        (
            pb::Node {
                hypervisors: vec![0],
                ..about(HOST, 1, 1)
            },
            "node.hypervisors '0' is not valid",
        ),
    ] {
        let request = pb::RegisterNodeRequest { node: Some(node) };
        expect_error(
            host.client.nodes.register_node(request).await,
            Code::InvalidArgument,
            text,
        );
    }
}
