//! A VM from its creation to its end.

use photon_api::chainfire::v1::{ListEventsRequest, VerifyChainRequest};
use photon_api::plasmavmc::v1 as pb;
use tonic::Code;

use crate::host::{Host, as_wanted};
use photon_testcloud::plasmavmc::{Cloud, new_vm};
use photon_testkit::expect_error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_lives_from_creation_to_deletion_and_its_port_with_it() {
    let cloud = Cloud::start().await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "web-1").await;

    let vm = tenant.create(new_vm("web-1", &[&port])).await.unwrap();
    assert_eq!(
        (vm.org_id.as_str(), vm.project_id.as_str()),
        ("acme", "web")
    );
    assert_eq!(vm.phase(), pb::VmPhase::Provisioning);
    assert_eq!(tenant.device_of(&port).await, vm.id);
    let vm = tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    assert_eq!(vm.accelerator, "tcg");
    assert_eq!(vm.unit, format!("photon-vm-{}.service", vm.id));

    let stopped = tenant.stop(&vm.id).await.unwrap();
    assert_eq!(stopped.phase(), pb::VmPhase::Stopping);
    assert_eq!(stopped.power_state(), pb::PowerState::Off);
    tenant.wait_for(&vm.id, pb::VmPhase::Stopped).await;
    let reboot = pb::RebootVmRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    let refused = tenant.vms.reboot_vm(reboot.clone()).await;
    expect_error(
        refused,
        Code::FailedPrecondition,
        "VM 'web-1' is STOPPED: it can be rebooted when it is RUNNING",
    );

    let started = tenant.start("web-1").await.unwrap();
    assert_eq!(started.phase(), pb::VmPhase::Starting);
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    assert_eq!(host.reboots_of(&vm.id), 0);
    tenant.vms.reboot_vm(reboot).await.unwrap();
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    assert_eq!(host.reboots_of(&vm.id), 1);

    let deleting = tenant.delete(&vm.id).await.unwrap();
    assert_eq!(deleting.phase(), pb::VmPhase::Deleting);
    tenant.wait_gone(&vm.id).await;
    expect_error(tenant.get(&vm.id).await, Code::NotFound, "VM");
    assert_eq!(tenant.device_of(&port).await, "");

    // The name and the port are free again.
    tenant.create(new_vm("web-1", &[&port])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_in_the_log_and_the_log_is_whole() {
    let cloud = Cloud::start().await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    tenant.delete(&vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    drop(host);
    let mut operator = cloud.operator().await;
    let request = ListEventsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let events = operator.events.list_events(request).await.unwrap();
    let events = events.into_inner().events;
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event.action.as_str(), event.principal_name.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("compute:instances:create", "admin"),
            ("compute:nodes:report", "plasmavmc-agent@host-1"),
            ("compute:instances:delete", "admin"),
            ("compute:nodes:report", "plasmavmc-agent@host-1"),
            ("compute:instances:delete", "plasmavmc-server"),
        ]
    );
    assert!(events.iter().all(|event| event.resource.ends_with(&vm.id)));
    let request = VerifyChainRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let proof = operator.events.verify_chain(request).await.unwrap();
    assert!(proof.into_inner().intact);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_powers_itself_off_is_started_again_by_its_owner() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    let off = pb::VmReport {
        phase: pb::VmPhase::Stopped.into(),
        message: "the guest has powered off".into(),
        ..as_wanted(&desired.vms[0])
    };
    host.report(desired.revision, vec![off.clone()])
        .await
        .unwrap();
    let stopped = tenant.get(&vm.id).await.unwrap();
    assert_eq!(stopped.phase(), pb::VmPhase::Stopped);
    assert_eq!(stopped.status_message, "the guest has powered off");

    tenant.start(&vm.id).await.unwrap();
    // A report from before the host knew of it does not count.
    host.report(desired.revision, vec![off]).await.unwrap();
    assert_eq!(
        tenant.get(&vm.id).await.unwrap().phase(),
        pb::VmPhase::Starting
    );
    let desired = host.desired_now().await;
    assert_eq!(desired.vms[0].reboot_generation, 1);
    host.obey(&desired).await;
    assert_eq!(
        tenant.get(&vm.id).await.unwrap().phase(),
        pb::VmPhase::Running
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_count_from_the_next_start_and_against_the_host() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let before = host.desired_now().await.vms[0].clone();
    let update = |change: fn(&mut pb::UpdateVmRequest)| {
        let mut request = pb::UpdateVmRequest {
            id: vm.id.clone(),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let renamed = update(|request| {
        request.name = Some("web-2".into());
        request.labels = Some(pb::Labels {
            labels: [("tier".to_owned(), "web".to_owned())].into(),
        });
        request.expected_revision = 1;
    });
    let changed = tenant
        .vms
        .update_vm(renamed.clone())
        .await
        .unwrap()
        .into_inner()
        .vm
        .unwrap();
    assert_eq!((changed.name.as_str(), changed.revision), ("web-2", 2));
    assert_eq!(
        host.desired_now().await.vms[0].spec_revision,
        before.spec_revision
    );
    expect_error(
        tenant.vms.update_vm(renamed).await,
        Code::Aborted,
        "is at revision 2, not 1",
    );
    expect_error(
        tenant.get("web-1").await,
        Code::NotFound,
        "VM 'web-1' not found",
    );

    let larger = update(|request| {
        request.vcpus = Some(4);
        request.memory_mib = Some(2048);
        request.user_data = Some("#cloud-config\n".into());
    });
    tenant.vms.update_vm(larger).await.unwrap();
    let after = host.desired_now().await.vms[0].clone();
    assert_eq!(after.spec_revision, before.spec_revision + 1);
    assert_eq!(after.spec.unwrap().memory_mib, 2048);
    let mut operator = cloud.operator().await;
    let nodes = operator
        .nodes
        .list_nodes(pb::ListNodesRequest::default())
        .await
        .unwrap();
    let node = nodes.into_inner().nodes.remove(0);
    assert_eq!((node.vcpus_used, node.memory_mib_used), (4, 2048));
    let too_large = update(|request| request.memory_mib = Some(65536));
    expect_error(
        tenant.vms.update_vm(too_large).await,
        Code::ResourceExhausted,
        "the most that is free on one is 64 vCPUs and 32768 MiB",
    );

    tenant.create(new_vm("web-3", &[])).await.unwrap();
    let taken = update(|request| request.name = Some("web-3".into()));
    expect_error(
        tenant.vms.update_vm(taken).await,
        Code::AlreadyExists,
        "VM 'web-3' already exists",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_id_makes_one_vm() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let subnet = tenant.subnet().await;
    let port = tenant.port(&subnet, "web-1").await;
    let request = pb::CreateVmRequest {
        request_id: "create-once".into(),
        ..new_vm("web-1", &[&port])
    };
    let calls = (0..20).map(|_| {
        let (mut tenant, request) = (tenant.clone(), request.clone());
        tokio::spawn(async move { tenant.create(request).await.unwrap().id })
    });
    let mut ids = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        ids.push(call.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let listed = tenant
        .vms
        .list_vms(pb::ListVmsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().vms.len(), 1);

    let other = pb::CreateVmRequest {
        name: "web-2".into(),
        ..request
    };
    expect_error(
        tenant.create(other).await,
        Code::InvalidArgument,
        "it was used for another request",
    );

    // A repeated deletion answers as the first, even when the VM is gone.
    let request = pb::DeleteVmRequest {
        id: ids[0].clone(),
        request_id: "delete-once".into(),
        ..Default::default()
    };
    tenant.vms.delete_vm(request.clone()).await.unwrap();
    tenant.wait_gone(&ids[0]).await;
    let again = tenant.vms.delete_vm(request).await.unwrap().into_inner();
    assert_eq!(again.vm.unwrap().id, ids[0]);
    expect_error(tenant.delete(&ids[0]).await, Code::NotFound, "VM");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_vms_at_once_are_placed_within_the_host() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    // Room for 20 of 512 MiB.
    host.register(16, 20 * 512).await.unwrap();
    let tenant = cloud.tenant("acme").await;
    let calls = (0..30).map(|at| {
        let mut tenant = tenant.clone();
        tokio::spawn(async move { tenant.create(new_vm(&format!("vm-{at}"), &[])).await })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        if let Err(status) = call.await.unwrap() {
            assert_eq!(
                status.code(),
                Code::ResourceExhausted,
                "{}",
                status.message()
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 10);
    assert_eq!(host.desired_now().await.vms.len(), 20);
}
