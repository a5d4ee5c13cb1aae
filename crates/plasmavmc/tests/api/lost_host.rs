//! A host that does not come back, and one that does after all: an operator gives it up.

use photon_api::plasmavmc::v1 as pb;
use tonic::Code;

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{DEADLINE, expect_error};

async fn force(client: &mut Client, id: &str) -> Result<pb::Vm, tonic::Status> {
    let request = pb::DeleteVmRequest {
        id: id.into(),
        force: true,
        request_id: format!("force-{id}"),
    };
    let response = client.vms.delete_vm(request).await?;
    Ok(response.into_inner().vm.unwrap())
}

/// Waits until the first host counts as lost.
async fn lost(operator: &mut Client) {
    let silent = async {
        loop {
            let request = pb::ListNodesRequest::default();
            let nodes = operator.nodes.list_nodes(request).await.unwrap();
            if !nodes.into_inner().nodes[0].ready {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, silent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_gives_up_what_a_lost_host_had_and_a_host_that_returns_removes_it() {
    let cloud = Cloud::with(plasmavmc::Settings {
        node_timeout_seconds: 1,
        ..Default::default()
    })
    .await;
    let mut tenant = cloud.tenant("acme").await;
    let mut operator = cloud.operator().await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "web").await;
    let mut host = Host::first(&cloud).await;
    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    let desired = host.desired_with(&vm.id).await;
    host.obey(&desired).await;
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;

    // While the host is there, it is asked.
    host.register(16, 32768).await.unwrap();
    expect_error(
        force(&mut operator, &vm.id).await,
        Code::FailedPrecondition,
        "delete without `force`",
    );
    lost(&mut operator).await;
    // Its owner's deletion waits for the host, and giving it up is not the owner's to do.
    tenant.delete(&vm.id).await.unwrap();
    expect_error(
        force(&mut tenant, &vm.id).await,
        Code::PermissionDenied,
        "only operators give up a host",
    );
    assert_eq!(
        tenant.get(&vm.id).await.unwrap().phase(),
        pb::VmPhase::Deleting
    );
    assert_eq!(tenant.device_of(&port).await, vm.id);

    force(&mut operator, &vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    assert_eq!(tenant.device_of(&port).await, "");
    // Again: as the first time.
    assert_eq!(force(&mut operator, &vm.id).await.unwrap().id, vm.id);
    // Name, port and room are free.
    let request = pb::ListNodesRequest::default();
    let nodes = operator.nodes.list_nodes(request).await.unwrap();
    assert_eq!(nodes.into_inner().nodes[0].vcpus_used, 0);

    // The host comes back with the VM still on it, and is told to remove it, until it has.
    host.register(16, 32768).await.unwrap();
    let again = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    let desired = host.desired_with(&again.id).await;
    let left = desired.vms.iter().find(|it| it.id == vm.id).unwrap();
    assert!(left.deleting && left.force);
    assert_eq!(
        (left.org_id.as_str(), left.name.as_str()),
        ("acme", "web-1")
    );
    assert!(
        desired
            .vms
            .iter()
            .any(|it| it.id == again.id && !it.deleting)
    );
    host.obey(&desired).await;
    let desired = host.desired_now().await;
    let ids: Vec<&str> = desired.vms.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [again.id.as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_is_deleting_already_is_given_up_too() {
    let cloud = Cloud::with(plasmavmc::Settings {
        node_timeout_seconds: 1,
        ..Default::default()
    })
    .await;
    let mut tenant = cloud.tenant("acme").await;
    let mut operator = cloud.operator().await;
    let mut host = Host::first(&cloud).await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    tenant.delete(&vm.id).await.unwrap();
    lost(&mut operator).await;
    force(&mut operator, &vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    let desired = host.desired_now().await;
    assert_eq!(desired.vms.len(), 1);
    host.obey(&desired).await;
    assert_eq!(host.desired_now().await.vms.len(), 0);
}
