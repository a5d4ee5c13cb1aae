//! Interfaces that come and go while there is a VM.

use photon_api::plasmavmc::v1 as pb;
use photon_api::prismnet::v1 as net;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{eventually, expect_error, new_id};
use tonic::{Code, Status};

use crate::host::{Host, as_wanted};

async fn attach(
    client: &mut Client,
    vm: &str,
    name: &str,
    port: &net::Port,
    request_id: &str,
) -> Result<pb::Vm, Status> {
    let request = pb::AttachInterfaceRequest {
        id: vm.into(),
        interface: Some(pb::NetworkInterface {
            id: name.into(),
            port_id: port.id.clone(),
            ..Default::default()
        }),
        request_id: request_id.into(),
        ..Default::default()
    };
    let answer = client.vms.attach_interface(request).await?;
    Ok(answer.into_inner().vm.unwrap())
}

async fn detach(client: &mut Client, vm: &str, port: &net::Port) -> Result<pb::Vm, Status> {
    let request = pb::DetachInterfaceRequest {
        id: vm.into(),
        port_id: port.id.clone(),
        ..Default::default()
    };
    let answer = client.vms.detach_interface(request).await?;
    Ok(answer.into_inner().vm.unwrap())
}

/// The report of a VM whose process has these TAPs open.
fn holding(vm: &pb::DesiredVm, taps: &[&str]) -> pb::VmReport {
    pb::VmReport {
        interfaces: Some(pb::HeldInterfaces {
            names: taps.iter().map(|tap| (*tap).to_owned()).collect(),
        }),
        ..as_wanted(vm)
    }
}

fn interfaces(vm: &pb::Vm) -> Vec<&str> {
    let network = vm.spec.as_ref().unwrap().network.iter();
    network.map(|interface| interface.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interface_comes_with_its_port_and_goes_when_the_guest_has_let_go() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let first = tenant.port(&subnet, "one").await;
    let second = tenant.port(&subnet, "two").await;
    let vm = tenant.create(new_vm("web-1", &[&first])).await.unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;

    // By name, as everywhere.
    let attached = attach(&mut tenant, "web-1", "eth1", &second, "")
        .await
        .unwrap();
    assert_eq!(interfaces(&attached), ["eth0", "eth1"]);
    assert_eq!(tenant.device_of(&second).await, vm.id);
    let desired = host.desired_now().await;
    let wanted = &desired.vms[0];
    assert_eq!(wanted.ports.len(), 2);
    assert_eq!(wanted.ports[1].interface_id, "eth1");
    assert_eq!(wanted.spec.as_ref().unwrap().network.len(), 2);
    let taps: Vec<String> = wanted
        .ports
        .iter()
        .map(|it| it.interface_name.clone())
        .collect();
    // Once more is no change.
    let again = attach(&mut tenant, "web-1", "eth1", &second, "")
        .await
        .unwrap();
    assert_eq!(again.revision, attached.revision);

    let detached = detach(&mut tenant, "web-1", &second).await.unwrap();
    assert_eq!(interfaces(&detached), ["eth0"]);
    assert_eq!(detached.leaving_port_ids, std::slice::from_ref(&second.id));
    let again = detach(&mut tenant, "web-1", &second).await.unwrap();
    assert_eq!(again.revision, detached.revision);
    let back = attach(&mut tenant, "web-1", "eth1", &second, "").await;
    expect_error(
        back,
        Code::FailedPrecondition,
        "is on its way out of VM 'web-1'",
    );

    // The host hears of it no more; what it said before, and what does not say, gives no port away.
    let earlier = desired.revision;
    let desired = host.desired_now().await;
    let wanted = &desired.vms[0];
    assert_eq!(wanted.ports.len(), 1);
    host.report(earlier, vec![holding(wanted, &[&taps[0]])])
        .await
        .unwrap();
    host.report(desired.revision, vec![as_wanted(wanted)])
        .await
        .unwrap();
    host.report(
        desired.revision,
        vec![holding(wanted, &[&taps[0], &taps[1]])],
    )
    .await
    .unwrap();
    assert_eq!(tenant.device_of(&second).await, vm.id);
    assert_eq!(tenant.get("web-1").await.unwrap().leaving_port_ids.len(), 1);

    host.report(desired.revision, vec![holding(wanted, &[&taps[0]])])
        .await
        .unwrap();
    eventually("the port is free", || {
        let (mut tenant, port) = (tenant.clone(), second.clone());
        async move { tenant.device_of(&port).await.is_empty() }
    })
    .await;
    let now = tenant
        .wait("web-1", |vm| vm.leaving_port_ids.is_empty())
        .await;
    assert_eq!(interfaces(&now), ["eth0"]);
    // It is free for anybody.
    tenant.create(new_vm("web-2", &[&second])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_an_interface_is_refused_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let mut other = cloud.tenant("globex").await;
    let subnet = tenant.subnet().await;
    let ports = [
        tenant.port(&subnet, "one").await,
        tenant.port(&subnet, "two").await,
        tenant.port(&subnet, "three").await,
    ];
    let vm = tenant.create(new_vm("web-1", &[&ports[0]])).await.unwrap();
    let second = tenant.create(new_vm("web-2", &[&ports[1]])).await.unwrap();
    let theirs = {
        let subnet = other.subnet().await;
        other.port(&subnet, "theirs").await
    };

    let taken = attach(&mut tenant, "web-1", "eth1", &ports[1], "").await;
    expect_error(
        taken,
        Code::FailedPrecondition,
        &format!("device {} has it", second.id),
    );
    let foreign = attach(&mut tenant, "web-1", "eth1", &theirs, "").await;
    expect_error(foreign, Code::NotFound, "port");
    let same_name = attach(&mut tenant, "web-1", "eth0", &ports[2], "").await;
    expect_error(
        same_name,
        Code::InvalidArgument,
        "no other interface of the VM has",
    );
    let bad_name = attach(&mut tenant, "web-1", "lo", &ports[2], "").await;
    expect_error(bad_name, Code::InvalidArgument, "interface.id 'lo'");
    let same_port = attach(&mut tenant, "web-1", "eth1", &ports[0], "").await;
    expect_error(same_port, Code::InvalidArgument, "interface.port_id");
    let nothing = pb::AttachInterfaceRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    expect_error(
        tenant.vms.attach_interface(nothing).await,
        Code::InvalidArgument,
        "interface.port_id '' is not valid: expected the id of a port",
    );
    let not_there = detach(&mut tenant, "web-1", &ports[2]).await;
    expect_error(not_there, Code::InvalidArgument, "spec.network");
    expect_error(
        attach(&mut other, &vm.id, "eth1", &theirs, "").await,
        Code::NotFound,
        "not found",
    );
    let viewer = cloud.user("acme", "viewer", "ProjectViewer").await;
    let mut viewer = cloud.client(&viewer);
    expect_error(
        attach(&mut viewer, &vm.id, "eth1", &ports[2], "").await,
        Code::PermissionDenied,
        "compute:instances:attachInterface",
    );
    let stale = pb::DetachInterfaceRequest {
        id: vm.id.clone(),
        port_id: ports[0].id.clone(),
        expected_revision: 99,
        ..Default::default()
    };
    expect_error(
        tenant.vms.detach_interface(stale).await,
        Code::Aborted,
        "revision",
    );

    assert_eq!(tenant.get("web-1").await.unwrap().spec, vm.spec);
    assert_eq!(tenant.device_of(&ports[2]).await, "");
    // None of that kept the port from anybody.
    tenant.create(new_vm("web-3", &[&ports[2]])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_call_answers_as_the_first_and_many_at_once_are_one() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "one").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let request_id = new_id();
    let calls = (0..8).map(|_| {
        let (mut tenant, port, request_id) = (tenant.clone(), port.clone(), request_id.clone());
        tokio::spawn(async move { attach(&mut tenant, "web-1", "eth0", &port, &request_id).await })
    });
    let mut answers = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        answers.push(call.await.unwrap().unwrap().revision);
    }
    answers.dedup();
    assert_eq!(answers, [vm.revision + 1]);
    // It is kept, whatever has happened since.
    detach(&mut tenant, "web-1", &port).await.unwrap();
    let later = attach(&mut tenant, "web-1", "eth0", &port, &request_id)
        .await
        .unwrap();
    assert_eq!(interfaces(&later), ["eth0"]);
    assert!(interfaces(&tenant.get("web-1").await.unwrap()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_prismnet_nothing_is_attached_and_what_was_begun_is_taken_back() {
    let mut cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "one").await;
    tenant.create(new_vm("web-1", &[])).await.unwrap();
    // Without its own identity the server gets as far as its note.
    cloud.hide_identity();
    cloud.restart("plasmavmc").await;
    let tried = attach(&mut tenant, "web-1", "eth0", &port, "").await;
    assert!(tried.is_err(), "{tried:?}");
    assert!(interfaces(&tenant.get("web-1").await.unwrap()).is_empty());
    assert_eq!(tenant.device_of(&port).await, "");
    cloud.give_identity_back();
    cloud.restart("plasmavmc").await;
    // Once that is settled another VM gets it.
    eventually("the port is free", || {
        let (mut tenant, port) = (tenant.clone(), port.clone());
        async move { tenant.create(new_vm("web-2", &[&port])).await.is_ok() }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_goes_takes_none_of_its_ports_along() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let ports = [
        tenant.port(&subnet, "one").await,
        tenant.port(&subnet, "two").await,
    ];
    let vm = tenant.create(new_vm("web-1", &[&ports[0]])).await.unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;
    attach(&mut tenant, "web-1", "eth1", &ports[1], "")
        .await
        .unwrap();
    detach(&mut tenant, "web-1", &ports[0]).await.unwrap();
    tenant.delete("web-1").await.unwrap();
    let late = attach(&mut tenant, "web-1", "eth2", &ports[0], "").await;
    expect_error(late, Code::FailedPrecondition, "VM 'web-1' is DELETING");
    let _host = host.run();
    tenant.wait_gone(&vm.id).await;
    for port in &ports {
        assert_eq!(tenant.device_of(port).await, "");
    }
    tenant
        .create(new_vm("web-2", &[&ports[0], &ports[1]]))
        .await
        .unwrap();
}

/// A guest that never lets go keeps what it has, and its VM gets no more than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_does_not_let_go_of_counts() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let first = tenant.port(&subnet, "first").await;
    let vm = tenant.create(new_vm("web-1", &[&first])).await.unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;
    for n in 1..16 {
        let port = tenant.port(&subnet, &format!("p{n}")).await;
        let attached = attach(&mut tenant, "web-1", "eth1", &port, "").await;
        attached.unwrap();
        detach(&mut tenant, "web-1", &port).await.unwrap();
    }
    let last = tenant.port(&subnet, "last").await;
    let refused = attach(&mut tenant, "web-1", "eth1", &last, "").await;
    expect_error(refused, Code::FailedPrecondition, "reboot or stop it");
    let vm = tenant.get("web-1").await.unwrap();
    assert_eq!(vm.leaving_port_ids.len(), 15);
}

/// An operator may take a port from under a VM, whose record still names it; and then it may be deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_gets_rid_of_a_port_that_is_gone() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let mut operator = cloud.operator().await;
    let subnet = tenant.subnet().await;
    let ports = [
        tenant.port(&subnet, "one").await,
        tenant.port(&subnet, "two").await,
        tenant.port(&subnet, "three").await,
    ];
    let vm = tenant
        .create(new_vm("web-1", &[&ports[0], &ports[1], &ports[2]]))
        .await
        .unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;
    for port in &ports[1..] {
        operator.network.detach(port).await;
        let request = net::DeletePortRequest {
            id: port.id.clone(),
            ..Default::default()
        };
        tenant.network.ports.delete_port(request).await.unwrap();
    }
    // Taken out, it is not waited for.
    detach(&mut tenant, "web-1", &ports[1]).await.unwrap();
    let desired = host.desired_now().await;
    let wanted = &desired.vms[0];
    let held: Vec<&str> = wanted.ports.iter().map(|it| &*it.interface_name).collect();
    host.report(desired.revision, vec![holding(wanted, &held)])
        .await
        .unwrap();
    let now = tenant
        .wait("web-1", |vm| vm.leaving_port_ids.is_empty())
        .await;
    assert_eq!(interfaces(&now), ["eth0", "eth2"]);
    // Left in, it does not keep the VM.
    let _host = host.run();
    tenant.delete("web-1").await.unwrap();
    tenant.wait_gone(&vm.id).await;
    assert_eq!(tenant.device_of(&ports[0]).await, "");
}
