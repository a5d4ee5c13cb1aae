//! Ports that are made with a VM, and go with it.

use photon_api::plasmavmc::v1 as pb;
use photon_api::prismnet::v1 as net;
use tonic::Code;

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::expect_error;

fn made(id: &str, subnet: &str) -> pb::NetworkInterface {
    pb::NetworkInterface {
        id: id.into(),
        subnet_id: subnet.into(),
        ..Default::default()
    }
}

fn vm_on(name: &str, network: Vec<pb::NetworkInterface>) -> pb::CreateVmRequest {
    let mut request = new_vm(name, &[]);
    request.spec.as_mut().unwrap().network = network;
    request
}

fn network(vm: &pb::Vm) -> &[pb::NetworkInterface] {
    &vm.spec.as_ref().unwrap().network
}

async fn ports(client: &mut Client) -> Vec<net::Port> {
    let listed = client
        .network
        .ports
        .list_ports(net::ListPortsRequest::default());
    listed.await.unwrap().into_inner().ports
}

async fn read_subnet(client: &mut Client, id: &str) -> net::Subnet {
    let request = net::GetSubnetRequest {
        id: id.into(),
        ..Default::default()
    };
    let read = client.network.subnets.get_subnet(request).await.unwrap();
    read.into_inner().subnet.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_brings_its_port_along_and_takes_it_with_it() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    // From a project in which there is nothing.
    let vm = tenant
        .create(vm_on("web", vec![made("eth0", "")]))
        .await
        .unwrap();
    let [interface] = network(&vm) else {
        panic!("one interface: {vm:?}");
    };
    assert!(interface.delete_with_vm);
    assert_eq!(
        (interface.id.as_str(), interface.subnet_id.as_str()),
        ("eth0", "")
    );
    let port = tenant.network.read_port(&interface.port_id).await;
    assert_eq!(port.device_id, vm.id);
    assert!(port.name.starts_with("web-eth0-"), "{}", port.name);
    assert!(port.description.contains("VM web"), "{port:?}");
    let subnet = read_subnet(&mut tenant, "default").await;
    assert_eq!(port.subnet_id, subnet.id);
    let now = tenant.get(&vm.id).await.unwrap();
    assert_eq!(now.spec, vm.spec);
    let expected = pb::InterfaceStatus {
        id: "eth0".into(),
        port_id: port.id.clone(),
        mac_address: port.mac_address.clone(),
        ip_address: port.ip_address.clone(),
        ipv6_address: String::new(),
    };
    assert_eq!(now.interfaces, [expected]);

    // The next one finds that network, and a VM of the same name another port.
    let second = tenant
        .create(vm_on("db", vec![made("eth0", "")]))
        .await
        .unwrap();
    let second_port = tenant.network.read_port(&network(&second)[0].port_id).await;
    assert_eq!(second_port.subnet_id, subnet.id);

    tenant.delete(&vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    let left = ports(&mut tenant).await;
    assert_eq!(left, [second_port]);
    tenant.delete(&second.id).await.unwrap();
    tenant.wait_gone(&second.id).await;
    assert_eq!(ports(&mut tenant).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_interface_has_the_port_that_it_asks_for() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let front = tenant.subnet().await;
    let own = tenant.port(&front, "own").await;
    let group = net::CreateSecurityGroupRequest {
        name: "web".into(),
        ..Default::default()
    };
    let group = tenant.network.groups.create_security_group(group).await;
    let group = group.unwrap().into_inner().security_group.unwrap();
    let there = pb::NetworkInterface {
        id: "eth0".into(),
        port_id: own.id.clone(),
        ..Default::default()
    };
    let grouped = pb::NetworkInterface {
        security_group_ids: vec!["web".into()],
        ..made("eth1", "front")
    };
    let request = pb::CreateVmRequest {
        request_id: "once".into(),
        ..vm_on("web", vec![there, grouped])
    };
    let vm = tenant.create(request.clone()).await.unwrap();
    let [eth0, eth1] = network(&vm) else {
        panic!("two interfaces: {vm:?}");
    };
    assert_eq!((&eth0.port_id, eth0.delete_with_vm), (&own.id, false));
    assert!(eth1.delete_with_vm);
    let port = tenant.network.read_port(&eth1.port_id).await;
    assert_eq!(port.subnet_id, front.id);
    assert_eq!(port.security_group_ids, [group.id]);
    // A repeated call makes nothing more.
    assert_eq!(tenant.create(request).await.unwrap(), vm);
    assert_eq!(ports(&mut tenant).await.len(), 2);

    // One that is taken out stays, as does one that was there.
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    let detach = pb::DetachInterfaceRequest {
        id: vm.id.clone(),
        port_id: port.id.clone(),
        ..Default::default()
    };
    tenant.vms.detach_interface(detach).await.unwrap();
    tenant.delete(&vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    let mut left: Vec<String> = ports(&mut tenant)
        .await
        .into_iter()
        .map(|port| port.id)
        .collect();
    left.sort();
    let mut expected = [own.id, port.id];
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_is_not_made_leaves_no_port() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let front = tenant.subnet().await;

    // One port is made, and the other refused.
    let half = vm_on("web", vec![made("eth0", "front"), made("eth1", "back")]);
    expect_error(
        tenant.create(half).await,
        Code::NotFound,
        "subnet 'back' not found",
    );
    assert_eq!(ports(&mut tenant).await, []);

    // No host has that room: none is made.
    let mut large = vm_on("web", vec![made("eth0", "front")]);
    large.spec.as_mut().unwrap().memory_mib = 1 << 20;
    expect_error(tenant.create(large).await, Code::ResourceExhausted, "host");
    assert_eq!(ports(&mut tenant).await, []);

    // A port is made, and then the VM is refused: its name is taken.
    let request = vm_on("web", vec![made("eth0", "front")]);
    tenant.create(request.clone()).await.unwrap();
    expect_error(
        tenant.create(request).await,
        Code::AlreadyExists,
        "VM 'web' already exists",
    );
    assert_eq!(ports(&mut tenant).await.len(), 1);

    // Many at once under one name and one request id.
    let calls = (0..8).map(|at| {
        let mut tenant = tenant.clone();
        let request = pb::CreateVmRequest {
            request_id: if at % 2 == 0 { "same" } else { "" }.into(),
            ..vm_on("many", vec![made("eth0", "front")])
        };
        tokio::spawn(async move { tenant.create(request).await })
    });
    for call in calls.collect::<Vec<_>>() {
        if let Err(status) = call.await.unwrap() {
            assert_eq!(status.code(), Code::AlreadyExists, "{status}");
        }
    }
    let left = ports(&mut tenant).await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.iter().all(|port| port.subnet_id == front.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prismnet_decides_what_a_caller_gets() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let theirs = acme.subnet().await;
    // Another tenant's subnet is as one that is not there.
    for subnet in [theirs.id.as_str(), "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e"] {
        expect_error(
            globex
                .create(vm_on("thief", vec![made("eth0", subnet)]))
                .await,
            Code::NotFound,
            &format!("subnet '{subnet}' not found"),
        );
    }
    // Who may make VMs and no networks gets none, not even by way of this server.
    let everything = [("compute:*", "org/acme/*", "")];
    let maker = cloud.people.permitted("acme", "web", &everything).await;
    let mut maker = cloud.client(&maker);
    expect_error(
        maker
            .create(vm_on("web", vec![made("eth0", "front")]))
            .await,
        Code::PermissionDenied,
        "network:ports:create",
    );
    expect_error(
        maker.create(vm_on("web", vec![made("eth0", "")])).await,
        Code::PermissionDenied,
        "network:vpcs:create",
    );
    // A wrong interface is refused before anything is made.
    expect_error(
        acme.create(vm_on(
            "web",
            vec![made("eth0", "front"), made("eth0", "front")],
        ))
        .await,
        Code::InvalidArgument,
        "spec.network[1].id 'eth0' is not valid: expected an id that no other",
    );
    assert_eq!(ports(&mut acme).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_go_when_their_vm_can_not_be_refused_at_once() {
    let mut cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    tenant.subnet().await;
    tenant.create(new_vm("web", &[])).await.unwrap();
    // Without its own identity the server makes ports, which it does for its caller, and removes none.
    cloud.hide_identity();
    expect_error(
        tenant
            .create(vm_on("web", vec![made("eth0", "front")]))
            .await,
        Code::AlreadyExists,
        "VM 'web' already exists",
    );
    assert_eq!(ports(&mut tenant).await.len(), 1);

    cloud.kill("plasmavmc").await;
    cloud.give_identity_back();
    cloud.start_again("plasmavmc");
    // What is removed is told; it is old enough within the next pass.
    let watch = net::WatchPortsRequest::default();
    let watch = tenant.network.ports.watch_ports(watch).await.unwrap();
    let mut watch = watch.into_inner();
    let gone = async {
        while watch
            .message()
            .await
            .unwrap()
            .unwrap()
            .deleted_id
            .is_empty()
        {}
    };
    let pass = std::time::Duration::from_secs(60);
    tokio::time::timeout(pass, gone)
        .await
        .expect("it is removed");
    assert_eq!(ports(&mut tenant).await, []);
}
