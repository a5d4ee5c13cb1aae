//! Consoles and watches.

use pb::console_request::Message;
use std::time::Duration;

use photon_api::iam::v1 as pb_iam;
use photon_api::plasmavmc::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::host::Host;
use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{DEADLINE, expect_error};

fn message(message: Message) -> pb::ConsoleRequest {
    pb::ConsoleRequest {
        message: Some(message),
    }
}

async fn console(
    client: &mut Client,
    vm: &str,
) -> Result<
    (
        Streaming<pb::ConsoleResponse>,
        mpsc::Sender<pb::ConsoleRequest>,
    ),
    Status,
> {
    let (typed, input) = mpsc::channel(4);
    typed.send(message(Message::VmId(vm.into()))).await.unwrap();
    let response = client.vms.console(ReceiverStream::new(input)).await?;
    Ok((response.into_inner(), typed))
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_typed_reaches_the_guest_and_what_it_prints_comes_back() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    expect_error(
        console(&mut tenant, "web-1").await,
        Code::FailedPrecondition,
        "VM 'web-1' is PROVISIONING: it has a console when it is",
    );
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    expect_error(
        console(&mut tenant, "web-1").await,
        Code::Unavailable,
        "host is not connected",
    );

    let (mut to_host, from_host) = host.consoles().await;
    let (mut output, typed) = console(&mut tenant, "web-1").await.unwrap();
    let opened = within(to_host.message()).await.unwrap().unwrap();
    assert_eq!(opened.open_vm_id, vm.id);
    let request = photon_api::chainfire::v1::ListEventsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let events = cloud.operator().await.events.list_events(request).await;
    let events = events.unwrap().into_inner().events;
    let openings = events
        .iter()
        .filter(|event| event.action == "compute:instances:console");
    let who: Vec<&str> = openings
        .map(|event| event.principal_name.as_str())
        .collect();
    assert!(
        !who.is_empty() && who.iter().all(|name| *name == "admin"),
        "{who:?}"
    );
    let answer = |bytes: &[u8]| pb::ServeConsolesRequest {
        session: opened.session,
        output: bytes.to_vec(),
        ..Default::default()
    };
    from_host.send(answer(b"login: ")).await.unwrap();
    assert_eq!(
        within(output.message()).await.unwrap().unwrap().output,
        b"login: "
    );
    for byte in 0..=255u8 {
        typed
            .send(message(Message::Input(vec![byte])))
            .await
            .unwrap();
        let sent = within(to_host.message()).await.unwrap().unwrap();
        assert_eq!(
            (sent.session, sent.input.as_slice()),
            (opened.session, [byte].as_slice())
        );
        from_host.send(answer(&[byte, byte])).await.unwrap();
        assert_eq!(
            within(output.message()).await.unwrap().unwrap().output,
            [byte, byte]
        );
    }
    // The owner goes.
    drop((output, typed));
    let closed = within(to_host.message()).await.unwrap().unwrap();
    assert!(closed.close && closed.session == opened.session);

    // The VM ends.
    let (mut output, _typed) = console(&mut tenant, &vm.id).await.unwrap();
    let opened = within(to_host.message()).await.unwrap().unwrap();
    let ended = pb::ServeConsolesRequest {
        session: opened.session,
        output: b"bye".to_vec(),
        closed: true,
        reason: "the VM has stopped".into(),
        ..Default::default()
    };
    from_host.send(ended).await.unwrap();
    assert_eq!(
        within(output.message()).await.unwrap().unwrap().output,
        b"bye"
    );
    let end = within(output.message()).await;
    expect_error(
        end,
        Code::FailedPrecondition,
        "the console has ended: the VM has stopped",
    );

    // The host's stream ends.
    let (mut output, _typed) = console(&mut tenant, &vm.id).await.unwrap();
    within(to_host.message()).await.unwrap().unwrap();
    drop((to_host, from_host));
    let end = within(output.message()).await;
    expect_error(
        end,
        Code::FailedPrecondition,
        "the host is not connected any more",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_console_that_is_opened_wrongly_or_by_others_is_refused() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let mut other = cloud.tenant("globex").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    let (_to_host, _from_host) = host.consoles().await;
    expect_error(
        console(&mut other, &vm.id).await,
        Code::NotFound,
        "not found",
    );
    let viewer = cloud.user("acme", "viewer", "ProjectViewer").await;
    let mut viewer = cloud.client(&viewer);
    expect_error(
        console(&mut viewer, &vm.id).await,
        Code::PermissionDenied,
        "compute:instances:console",
    );
    let early = tokio_stream::once(message(Message::Input(b"x".to_vec())));
    expect_error(
        tenant.vms.console(early).await,
        Code::InvalidArgument,
        "expected 'vm_id' in the first message",
    );
    let none = tokio_stream::empty();
    expect_error(
        tenant.vms.console(none).await,
        Code::InvalidArgument,
        "expected 'vm_id' in the first message",
    );
    let (mut output, typed) = console(&mut tenant, &vm.id).await.unwrap();
    typed
        .send(message(Message::VmId("web-1".into())))
        .await
        .unwrap();
    expect_error(
        within(output.message()).await,
        Code::InvalidArgument,
        "expected 'input' in every message after the first",
    );
    let (mut output, typed) = console(&mut tenant, &vm.id).await.unwrap();
    typed
        .send(message(Message::Input(vec![b'x'; 65_537])))
        .await
        .unwrap();
    expect_error(
        within(output.message()).await,
        Code::InvalidArgument,
        "input '(65537 bytes)' is not valid: expected at most 65536 bytes in each message",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_ends_open_streams() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let desired = host.desired_now().await;
    host.obey(&desired).await;
    let (mut to_host, _from_host) = host.consoles().await;
    let (mut output, _typed) = console(&mut tenant, &vm.id).await.unwrap();
    within(to_host.message()).await.unwrap().unwrap();
    let mut watch = tenant
        .vms
        .watch_vm(pb::WatchVmRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    tenant
        .iam
        .tokens()
        .revoke_token(pb_iam::RevokeTokenRequest::default())
        .await
        .unwrap();
    expect_error(within(output.message()).await, Code::Unauthenticated, "");
    expect_error(within(watch.message()).await, Code::Unauthenticated, "");
    assert!(within(to_host.message()).await.unwrap().unwrap().close);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_is_and_then_every_change_until_the_end() {
    let cloud = Cloud::start().await;
    let host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let mut other = cloud.tenant("globex").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let request = pb::WatchVmRequest {
        id: "web-1".into(),
        ..Default::default()
    };
    let mut one = tenant.vms.watch_vm(request).await.unwrap().into_inner();
    let mut all = tenant
        .vms
        .watch_vm(pb::WatchVmRequest::default())
        .await
        .unwrap()
        .into_inner();
    let by_other = pb::WatchVmRequest {
        id: vm.id.clone(),
        ..Default::default()
    };
    expect_error(
        other.vms.watch_vm(by_other).await.map(|_| ()),
        Code::NotFound,
        "not found",
    );
    let first = within(one.message()).await.unwrap().unwrap();
    assert_eq!(first.vm.unwrap().phase(), pb::VmPhase::Provisioning);
    let _host = host.run();
    // Another tenant's VM is not told of.
    other.create(new_vm("theirs", &[])).await.unwrap();
    tenant.create(new_vm("web-2", &[])).await.unwrap();
    tenant.wait_for("web-1", pb::VmPhase::Running).await;
    tenant.delete("web-1").await.unwrap();
    let mut phases = Vec::new();
    while let Some(told) = within(one.message()).await.unwrap() {
        let phase = told.vm.unwrap().phase();
        if told.deleted {
            phases.push("gone");
        } else {
            phases.push(phase.as_str_name());
        }
    }
    phases.dedup();
    assert_eq!(phases, ["VM_PHASE_RUNNING", "VM_PHASE_DELETING", "gone"]);
    let mut names = Vec::new();
    loop {
        let told = within(all.message()).await.unwrap().unwrap();
        let vm = told.vm.unwrap();
        assert_eq!(vm.org_id, "acme");
        names.push(vm.name.clone());
        if told.deleted {
            assert_eq!(vm.name, "web-1");
            break;
        }
    }
    assert!(names.contains(&"web-2".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_with_a_condition_lasts_as_long_as_the_condition_holds() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut admin = cloud.tenant("acme").await;
    let theirs = admin.create(new_vm("theirs", &[])).await.unwrap();
    let role = pb_iam::CreateRoleRequest {
        org_id: "acme".into(),
        name: "owner".into(),
        permissions: vec![pb_iam::Permission {
            action: "compute:instances:*".into(),
            resource: String::new(),
            condition: "resource.owner == principal.id".into(),
        }],
        ..Default::default()
    };
    let role = cloud
        .operator()
        .await
        .iam
        .admin()
        .create_role(role)
        .await
        .unwrap();
    let role = role.into_inner().role.unwrap().id;
    let mut owner = cloud.client(&cloud.user("acme", "owner", &role).await);
    let own = owner.create(new_vm("own", &[])).await.unwrap();
    let of = |id: &str| pb::WatchVmRequest {
        id: id.into(),
        ..Default::default()
    };
    expect_error(
        owner.vms.watch_vm(of(&theirs.id)).await.map(|_| ()),
        Code::PermissionDenied,
        "compute:instances:watch",
    );
    let mut watch = owner.vms.watch_vm(of(&own.id)).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    // Longer than the right goes without being looked at again.
    let nothing = tokio::time::timeout(Duration::from_millis(2500), watch.message()).await;
    assert!(nothing.is_err(), "the watch goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_token_is_revoked_serves_no_consoles_any_more() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let (mut to_host, _from_host) = host.consoles().await;
    host.client
        .iam
        .tokens()
        .revoke_token(pb_iam::RevokeTokenRequest::default())
        .await
        .unwrap();
    expect_error(within(to_host.message()).await, Code::Unauthenticated, "");
}
