//! A port from its making to its removal, in the API and on the host.

use photon_api::prismnet::v1::{DeletePortRequest, DeleteSubnetRequest, DeviceType, PortStatus};
use tonic::Code;

use crate::SECOND;
use crate::cloud::{Cloud, Machine};

#[tokio::test]
async fn prismnet_port_attachment_lifecycle() {
    let cloud = Cloud::start().await;
    let host = cloud.host();
    let acme = cloud.tenant("acme").await;
    let mut ports = acme.session.ports();

    let port = acme
        .session
        .create_port(&acme.subnet, "web-1", "10.0.1.10")
        .await
        .unwrap();
    assert_eq!(port.status(), PortStatus::Detached);
    assert_eq!(port.device_id, "");
    let tap = photon_resource::tap_name(port.id.parse().unwrap());
    let bridge = photon_resource::bridge_name(acme.subnet.id.parse().unwrap());
    let vrf = photon_resource::vrf_name(acme.vpc.id.parse().unwrap());
    let absent = format!("! ip link show {tap} 2>/dev/null");
    host.check(&absent).await.unwrap();

    // Creating a VM attaches it, and the host makes its interface.
    let vm = acme
        .session
        .create_vm("web-1", &acme.image, &port, 160)
        .await
        .unwrap();
    let machine = Machine::of(port, vm);
    let attached = acme
        .wait_for_port(&machine.port.id, PortStatus::Active)
        .await;
    assert_eq!(attached.device_id, machine.vm.id);
    assert_eq!(attached.device_type(), DeviceType::Vm);
    assert_eq!(attached.interface_name, tap);
    assert_eq!(attached.ip_address, "10.0.1.10");
    host.check(&format!(
        "ip -o link show {tap} | grep -q 'master {bridge}' && ip -o link show {bridge} | grep -q 'master {vrf}'"
    ))
    .await
    .unwrap();
    let mut guest = acme.guest(&machine).await;
    guest
        .check(
            &format!("ping -c 1 -W 5 {}", photon_e2e::scenario::GATEWAY),
            30 * SECOND,
        )
        .await
        .unwrap();

    // What is in use stays.
    let id = machine.port.id.clone();
    let request = DeletePortRequest {
        id: id.clone(),
        ..Default::default()
    };
    let refused = ports.delete_port(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains(&machine.vm.id), "{refused}");

    // Deleting the VM detaches it, and the interface goes.
    acme.session.delete_vm(&machine.vm).await.unwrap();
    let detached = acme.wait_for_port(&id, PortStatus::Detached).await;
    assert_eq!(detached.device_id, "");
    assert_eq!(detached.node, "");
    host.check(&format!(
        "for try in $(seq 100); do {absent} && exit 0; sleep 0.1; done; exit 1"
    ))
    .await
    .unwrap();
    let unit = format!("photon-vm-{}.service", machine.vm.id);
    host.check(&format!(
        "! systemctl is-active {unit} && ! systemctl cat {unit} 2>/dev/null"
    ))
    .await
    .unwrap();

    // The same port serves the next VM.
    let vm = acme
        .session
        .create_vm("web-2", &acme.image, &detached, 160)
        .await
        .unwrap();
    let next = Machine::of(detached, vm);
    acme.guest(&next).await;
    acme.session.delete_vm(&next.vm).await.unwrap();
    acme.wait_for_port(&id, PortStatus::Detached).await;

    // With its last port the subnet leaves the host.
    ports.delete_port(request).await.unwrap();
    let request = DeleteSubnetRequest {
        id: acme.subnet.id.clone(),
        ..Default::default()
    };
    acme.session.subnets().delete_subnet(request).await.unwrap();
    host.check(&format!(
        "for try in $(seq 100); do ! ip link show {bridge} 2>/dev/null && ! ip link show {vrf} 2>/dev/null && exit 0; \
         sleep 0.1; done; ip -br link; exit 1"
    ))
    .await
    .unwrap();
}
