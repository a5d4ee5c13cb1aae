//! A running guest gets a network interface, uses it, and gives it back.

use photon_api::plasmavmc::v1::{
    AttachInterfaceRequest, DetachInterfaceRequest, GetVmRequest, NetworkInterface, StopVmRequest,
    VmPhase,
};
use photon_api::prismnet::v1::{Port, PortStatus};
use photon_e2e::scenario::GATEWAY;

use crate::SECOND;
use crate::cloud::{BOOT, Cloud, Machine, Tenant};

async fn attach(tenant: &Tenant, vm: &str, name: &str, port: &Port) {
    let request = AttachInterfaceRequest {
        id: vm.into(),
        interface: Some(NetworkInterface {
            id: name.into(),
            port_id: port.id.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    tenant
        .session
        .vms()
        .attach_interface(request)
        .await
        .unwrap();
}

async fn detach(tenant: &Tenant, vm: &str, port: &Port) {
    let request = DetachInterfaceRequest {
        id: vm.into(),
        port_id: port.id.clone(),
        ..Default::default()
    };
    tenant
        .session
        .vms()
        .detach_interface(request)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_running_guest_gets_an_interface_and_gives_it_back() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let session = &acme.session;
    let first = session
        .create_port(&acme.subnet, "web-1", "10.0.1.10")
        .await
        .unwrap();
    let second = session
        .create_port(&acme.subnet, "extra", "10.0.1.11")
        .await
        .unwrap();
    let vm = session
        .create_vm("web-1", &acme.image, &first, 160)
        .await
        .unwrap();
    let machine = Machine::of(first, vm);
    let id = machine.vm.id.clone();
    let mut guest = acme.guest(&machine).await;
    let unit = format!("photon-vm-{id}.service");
    let started = format!("systemctl show -P ExecMainStartTimestampMonotonic {unit}");
    let before = host.check(&started).await.unwrap();

    for round in 0..2 {
        attach(&acme, &id, "eth1", &second).await;
        let attached = acme.wait_for_port(&second.id, PortStatus::Active).await;
        assert_eq!(attached.device_id, id, "round {round}");
        guest
            .check(
                "for try in $(seq 100); do [ -e /sys/class/net/eth1 ] && break; sleep 0.1; done; [ -e /sys/class/net/eth1 ]",
                60 * SECOND,
            )
            .await
            .unwrap();
        guest
            .check(
                &format!(
                    "[ \"$(cat /sys/class/net/eth1/address)\" = {} ]",
                    second.mac_address
                ),
                10 * SECOND,
            )
            .await
            .unwrap();
        // Its address is the port's, and what it sends arrives.
        guest
            .check(
                &format!("ip link set eth1 up && ip addr add 10.0.1.11/24 dev eth1 && ping -c 1 -W 5 -I eth1 {GATEWAY}"),
                30 * SECOND,
            )
            .await
            .unwrap();

        detach(&acme, &id, &second).await;
        let detached = acme.wait_for_port(&second.id, PortStatus::Detached).await;
        assert_eq!(detached.device_id, "", "round {round}");
        guest
            .check("[ ! -e /sys/class/net/eth1 ]", 30 * SECOND)
            .await
            .unwrap();
        let tap = photon_resource::tap_name(second.id.parse().unwrap());
        host.check(&format!(
            "for try in $(seq 100); do ! ip link show {tap} 2>/dev/null && exit 0; sleep 0.1; done; exit 1"
        ))
        .await
        .unwrap();
    }
    // The guest never noticed more than that.
    assert_eq!(host.check(&started).await.unwrap(), before);
    guest
        .check(&format!("ping -c 1 -W 5 {GATEWAY}"), 30 * SECOND)
        .await
        .unwrap();

    // The interface that it was started with goes as well.
    detach(&acme, &id, &machine.port).await;
    acme.wait_for_port(&machine.port.id, PortStatus::Detached)
        .await;
    let request = GetVmRequest {
        id: id.clone(),
        ..Default::default()
    };
    let now = session
        .vms()
        .get_vm(request)
        .await
        .unwrap()
        .into_inner()
        .vm
        .unwrap();
    assert_eq!(now.phase(), VmPhase::Running);
    assert!(now.leaving_port_ids.is_empty() && now.spec.unwrap().network.is_empty());

    // One that is stopped gets and loses them too, without a guest to ask.
    let request = StopVmRequest {
        id: id.clone(),
        force: true,
        ..Default::default()
    };
    session.vms().stop_vm(request).await.unwrap();
    session
        .wait_for_phase(&machine.vm, VmPhase::Stopped, BOOT)
        .await
        .unwrap();
    attach(&acme, &id, "eth0", &second).await;
    acme.wait_for_port(&second.id, PortStatus::Active).await;
    detach(&acme, &id, &second).await;
    acme.wait_for_port(&second.id, PortStatus::Detached).await;
}
