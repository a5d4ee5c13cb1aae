//! Ports, and what a crash leaves: whatever point it comes at, the next start goes on from the record.

use photon_api::plasmavmc::v1 as pb;
use photon_api::prismnet::v1 as net;
use tonic::Code;

use crate::host::Host;
use photon_testcloud::plasmavmc::{Cloud, new_vm};
use photon_testkit::expect_error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_free_ports_of_the_same_project_can_be_used() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let subnet = acme.subnet().await;
    let port = acme.port(&subnet, "one").await;

    // Another tenant's port is not there.
    let theirs = globex.create(new_vm("thief", &[&port])).await;
    expect_error(
        theirs,
        Code::NotFound,
        &format!("port '{}' not found", port.id),
    );
    // Not even for an operator, who sees it.
    let mut operator = cloud.operator().await;
    let for_globex = pb::CreateVmRequest {
        org_id: "globex".into(),
        project_id: "web".into(),
        ..new_vm("thief", &[&port])
    };
    expect_error(operator.create(for_globex).await, Code::NotFound, "port");
    // Nor does another project of the same organization get it.
    cloud.people.ensure("acme", "shop").await;
    let for_shop = pb::CreateVmRequest {
        org_id: "acme".into(),
        project_id: "shop".into(),
        ..new_vm("neighbour", &[&port])
    };
    expect_error(
        operator.create(for_shop).await,
        Code::InvalidArgument,
        "this one belongs to project 'web'",
    );

    let vm = acme.create(new_vm("one", &[&port])).await.unwrap();
    let second = acme.create(new_vm("two", &[&port])).await;
    let message = format!(
        "port {} can't be attached: device {} has it",
        port.id, vm.id
    );
    expect_error(second, Code::FailedPrecondition, &message);
    let nobodys = net::Port {
        id: vm.id.clone(),
        ..Default::default()
    };
    expect_error(
        acme.create(new_vm("three", &[&nobodys])).await,
        Code::NotFound,
        "port",
    );
    let listed = acme
        .vms
        .list_vms(pb::ListVmsRequest::default())
        .await
        .unwrap();
    assert_eq!(
        listed.into_inner().vms.len(),
        1,
        "what was refused left nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_want_one_port_at_once_one_gets_it() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "one").await;
    let calls = (0..12).map(|at| {
        let (mut tenant, port) = (tenant.clone(), port.clone());
        let name = format!("web-{at}");
        tokio::spawn(async move { tenant.create(new_vm(&name, &[&port])).await })
    });
    let mut made = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok(vm) => made.push(vm.id),
            Err(refused) => {
                let message = format!("port {} can't be attached", port.id);
                expect_error::<()>(Err(refused), Code::FailedPrecondition, &message);
            }
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(tenant.device_of(&port).await, made[0]);
    assert_eq!(host.desired_with(&made[0]).await.vms.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creation_goes_on_after_a_crash_before_its_ports_are_attached() {
    let mut cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let ports = [
        tenant.port(&subnet, "one").await,
        tenant.port(&subnet, "two").await,
    ];
    // Without its own identity the server gets as far as the record.
    cloud.hide_identity();
    let vm = tenant
        .create(new_vm("web-1", &[&ports[0], &ports[1]]))
        .await
        .unwrap();
    assert_eq!(tenant.device_of(&ports[0]).await, "");
    assert!(
        host.desired_now().await.vms.is_empty(),
        "the host hears of it when its ports are attached"
    );

    cloud.kill("plasmavmc").await;
    cloud.give_identity_back();
    cloud.start_again("plasmavmc");
    let mut host = Host::first(&cloud).await;
    let mut desired = host.desired().await;
    let told = loop {
        let told = desired.message().await.unwrap().unwrap();
        if !told.vms.is_empty() {
            break told;
        }
    };
    let handed: Vec<&str> = told.vms[0]
        .ports
        .iter()
        .map(|port| port.interface_id.as_str())
        .collect();
    assert_eq!(handed, ["eth0", "eth1"]);
    assert_eq!(told.vms[0].ports[0].mac_address, ports[0].mac_address);
    assert!(told.vms[0].ports[0].interface_name.starts_with("pt"));
    assert_eq!(told.vms[0].ports[0].mtu, 1450);
    let addressing = told.vms[0].ports[0].addressing.as_ref().unwrap();
    let address = addressing.address.split_once('/').unwrap();
    assert_eq!(address.0, ports[0].ip_address);
    assert!(addressing.gateway.ends_with(".1"), "{addressing:?}");
    for port in &ports {
        assert_eq!(tenant.device_of(port).await, vm.id);
    }
    host.obey(&told).await;
    let mut tenant = cloud.client(&cloud.sign_in("acme", "admin").await);
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_else_takes_meanwhile_undoes_the_creation() {
    let mut cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let (kept, taken) = (
        tenant.port(&subnet, "kept").await,
        tenant.port(&subnet, "taken").await,
    );
    cloud.hide_identity();
    let request = pb::CreateVmRequest {
        request_id: "create-once".into(),
        ..new_vm("web-1", &[&kept, &taken])
    };
    let vm = tenant.create(request.clone()).await.unwrap();
    let other = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
    let attach = net::AttachPortRequest {
        id: taken.id.clone(),
        device_id: other.into(),
        device_type: net::DeviceType::Vm.into(),
        node: "elsewhere".into(),
        ..Default::default()
    };
    cloud
        .operator()
        .await
        .network
        .ports
        .attach_port(attach)
        .await
        .unwrap();
    cloud.kill("plasmavmc").await;
    cloud.give_identity_back();
    cloud.start_again("plasmavmc");

    let mut tenant = cloud.client(&cloud.sign_in("acme", "admin").await);
    tenant.wait_gone(&vm.id).await;
    assert_eq!(tenant.device_of(&kept).await, "");
    assert_eq!(
        tenant.device_of(&taken).await,
        other,
        "what is another's stays so"
    );
    host.client = cloud.client(&cloud.agent(&host.node).await);
    assert!(host.desired_now().await.vms.is_empty());
    let mut operator = cloud.operator().await;
    let nodes = operator
        .nodes
        .list_nodes(pb::ListNodesRequest::default())
        .await
        .unwrap();
    assert_eq!(nodes.into_inner().nodes[0].memory_mib_used, 0);
    // The same call again learns how it ended.
    let again = tenant.create(request).await;
    expect_error(
        again,
        Code::FailedPrecondition,
        &format!("port {} can't be attached", taken.id),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_goes_on_after_crashes_between_all_of_its_steps() {
    let mut cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "web-1").await;
    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;

    // Crash after the call was answered: the host still hears that the VM must go.
    tenant.delete(&vm.id).await.unwrap();
    cloud.hide_identity();
    cloud.kill("plasmavmc").await;
    cloud.start_again("plasmavmc");
    let mut host = Host::first(&cloud).await;
    let desired = host.desired_now().await;
    assert!(desired.vms[0].deleting);
    assert_eq!(
        tenant.device_of(&port).await,
        vm.id,
        "the host may still use it"
    );

    // The host is done, and the server can't reach PrismNET; crash.
    host.obey(&desired).await;
    assert!(host.desired_now().await.vms.is_empty());
    let token = cloud.sign_in("acme", "admin").await;
    let vms = cloud.client(&token).get(&vm.id).await.unwrap();
    assert_eq!(vms.phase(), pb::VmPhase::Deleting);
    cloud.kill("plasmavmc").await;
    cloud.give_identity_back();
    cloud.start_again("plasmavmc");
    let mut tenant = cloud.client(&token);
    tenant.wait_gone(&vm.id).await;
    assert_eq!(tenant.device_of(&port).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_waits_for_prismnet_to_come_back() {
    let mut cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "web-1").await;
    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;

    cloud.kill("prismnet").await;
    let without = tenant.create(new_vm("web-2", &[&port])).await;
    expect_error(without, Code::Unavailable, "PrismNET can't be reached");
    tenant.delete(&vm.id).await.unwrap();
    let waiting = |vm: &pb::Vm| {
        vm.phase() == pb::VmPhase::Deleting
            && vm
                .status_message
                .starts_with("its ports are not detached yet: PrismNET can't be reached")
    };
    tenant.wait(&vm.id, waiting).await;
    cloud.start_again("prismnet");
    tenant.wait_gone(&vm.id).await;
    assert_eq!(tenant.device_of(&port).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_stop_and_a_crash() {
    let mut cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let first = tenant.create(new_vm("web-1", &[])).await.unwrap();
    cloud.stop("plasmavmc").await;
    cloud.start_again("plasmavmc");
    let token = cloud.sign_in("acme", "admin").await;
    let mut tenant = cloud.client(&token);
    // The host is given time to be heard of again.
    let second = tenant.create(new_vm("web-2", &[])).await.unwrap();
    cloud.kill("plasmavmc").await;
    cloud.start_again("plasmavmc");
    let mut tenant = cloud.client(&token);
    assert_eq!(tenant.get("web-1").await.unwrap().id, first.id);
    assert_eq!(tenant.get("web-2").await.unwrap().id, second.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_used_by_those_who_may_change_it() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut acme = cloud.tenant("acme").await;
    let subnet = acme.subnet().await;
    let port = acme.port(&subnet, "lab-1").await;
    let other = acme.port(&subnet, "prod-1").await;
    let attached = |vm: &str, port: &net::Port| pb::AttachInterfaceRequest {
        id: vm.into(),
        interface: Some(pb::NetworkInterface {
            id: "eth0".into(),
            port_id: port.id.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };

    // Who sees ports and makes VMs plugs none in, neither into a new VM nor into one that is there.
    let sees = [
        ("compute:*", "org/acme/*", ""),
        ("network:*:get", "org/acme/*", ""),
        ("network:*:list", "org/acme/*", ""),
    ];
    let mut maker = cloud.client(&cloud.people.permitted("acme", "web", &sees).await);
    let needed = "network:ports:update";
    let refused = maker.create(new_vm("thief", &[&port])).await;
    expect_error(refused, Code::PermissionDenied, needed);
    maker.create(new_vm("bare", &[])).await.unwrap();
    let refused = maker.vms.attach_interface(attached("bare", &port)).await;
    expect_error(refused, Code::PermissionDenied, needed);
    assert_eq!(acme.device_of(&port).await, "");

    // A condition of the role is about the port, as PrismNET knows it.
    let labs = [
        ("compute:*", "org/acme/*", ""),
        (needed, "org/acme/*", "resource.name like \"lab-*\""),
    ];
    let mut maker = cloud.client(&cloud.people.permitted("acme", "web", &labs).await);
    let refused = maker.create(new_vm("two", &[&other])).await;
    expect_error(refused, Code::PermissionDenied, needed);
    let vm = maker.create(new_vm("one", &[&port])).await.unwrap();
    assert_eq!(acme.device_of(&port).await, vm.id);
    // To ask is no change of the port.
    let before = acme.network.read_port(&port.id).await.revision;
    let refused = maker.create(new_vm("again", &[&port])).await;
    expect_error(refused, Code::FailedPrecondition, "can't be attached");
    let after = acme.network.read_port(&port.id).await.revision;
    assert_eq!(after, before);
}
