//! Names follow VMs and their ports.

use photon_api::plasmavmc::v1 as compute;
use photon_testcloud::flashdns::{Cloud, names};
use photon_testcloud::plasmavmc::{Client, HOST, new_vm};

/// The cloud with a host that VMs are placed on.
pub async fn cloud() -> Cloud {
    let cloud = Cloud::start().await;
    let mut host = cloud.client(&cloud.agent(HOST).await);
    let node = compute::Node {
        name: HOST.into(),
        vcpus: 16,
        memory_mib: 32768,
        accelerator: "tcg".into(),
        hypervisors: vec![compute::HypervisorKind::Qemu.into()],
        ..Default::default()
    };
    let request = compute::RegisterNodeRequest { node: Some(node) };
    host.nodes.register_node(request).await.unwrap();
    tokio::spawn(obey(host));
    cloud
}

/// Everything that should be on the host is so at once, and what should not be is gone.
async fn obey(mut host: Client) {
    let request = compute::WatchDesiredRequest {
        node: HOST.into(),
        ..Default::default()
    };
    let stream = host.nodes.watch_desired(request).await;
    let mut stream = stream.unwrap().into_inner();
    while let Ok(Some(desired)) = stream.message().await {
        let report = |vm: &compute::DesiredVm| compute::VmReport {
            id: vm.id.clone(),
            phase: compute::VmPhase::Running.into(),
            gone: vm.deleting,
            ..Default::default()
        };
        let request = compute::ReportStatusRequest {
            node: HOST.into(),
            revision: desired.revision,
            vms: desired.vms.iter().map(report).collect(),
            ..Default::default()
        };
        host.nodes.report_status(request).await.unwrap();
    }
}

async fn rename(client: &mut Client, vm: &compute::Vm, name: &str) {
    let request = compute::UpdateVmRequest {
        id: vm.id.clone(),
        name: Some(name.into()),
        ..Default::default()
    };
    client.vms.update_vm(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_comes_and_goes_with_its_vm() {
    let cloud = cloud().await;
    let mut told = cloud.told(HOST).await;
    // Before there is anything: a host learns that, too.
    told.until(|known| known.suffix.as_deref() == Some("cloud.internal"))
        .await;
    assert!(told.known.views.is_empty());

    let mut acme = cloud.tenant("acme").await;
    let subnet = acme.subnet().await;
    let vpc = subnet.vpc_id.clone();
    let port = acme.port(&subnet, "eth0").await;
    let vm = acme.create(new_vm("db", &[&port])).await.unwrap();
    let addresses = &port.ip_address;
    let db = format!("db.web.acme {addresses}");
    told.until_names(&vpc, &[&db]).await;
    let view = &told.known.views[0];
    assert_eq!(view.gateways, [subnet.gateway]);
    assert_eq!(view.networks, [subnet.cidr]);

    rename(&mut acme, &vm, "main").await;
    let main = format!("main.web.acme {addresses}");
    told.until_names(&vpc, &[&main]).await;

    // Nobody has a port of the VPC on that host any more.
    acme.delete(&vm.id).await.unwrap();
    told.until(|known| known.views.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_names_and_addresses_do_not_meet() {
    let cloud = cloud().await;
    let mut vpcs = Vec::new();
    for org in ["acme", "globex"] {
        let mut tenant = cloud.tenant(org).await;
        let subnet = tenant.subnet().await;
        let port = tenant.port(&subnet, "eth0").await;
        tenant.create(new_vm("db", &[&port])).await.unwrap();
        vpcs.push((subnet.vpc_id, format!("db.web.{org} {}", port.ip_address)));
    }
    let mut told = cloud.told(HOST).await;
    told.until(|known| {
        vpcs.iter()
            .all(|(vpc, name)| names(known, vpc) == [name.clone()])
    })
    .await;
    // A host without a port of either hears of neither.
    let mut other = cloud.told("host-2").await;
    other.until(|known| known.suffix.is_some()).await;
    assert!(other.known.views.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_heard_of_stays() {
    let mut cloud = cloud().await;
    let mut acme = cloud.tenant("acme").await;
    let subnet = acme.subnet().await;
    let vpc = subnet.vpc_id.clone();
    let port = acme.port(&subnet, "eth0").await;
    let vm = acme.create(new_vm("db", &[&port])).await.unwrap();
    let db = format!("db.web.acme {}", port.ip_address);
    let mut told = cloud.told(HOST).await;
    told.until_names(&vpc, &[&db]).await;

    cloud.stop("plasmavmc").await;
    cloud.stop("prismnet").await;
    // Who asks now is told what is known.
    let mut again = cloud.told(HOST).await;
    again.until_names(&vpc, &[&db]).await;
    cloud.start_again("prismnet");
    cloud.start_again("plasmavmc");
    rename(&mut cloud.client(&acme.iam), &vm, "main").await;
    let main = format!("main.web.acme {}", port.ip_address);
    told.until_names(&vpc, &[&main]).await;

    // One that starts tells nobody anything before it has heard of everything.
    cloud.stop("plasmavmc").await;
    cloud.restart("flashdns").await;
    let mut told = cloud.told(HOST).await;
    let early = tokio::time::timeout(
        std::time::Duration::from_millis(500),
        told.until(|known| known.suffix.is_some()),
    );
    assert!(early.await.is_err(), "{:?}", told.known);
    cloud.start_again("plasmavmc");
    told.until_names(&vpc, &[&main]).await;
}
