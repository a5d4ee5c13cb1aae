//! User data often holds secrets: who may look at VMs need not see it.

use photon_api::chainfire::v1::Outcome;
use photon_api::plasmavmc::v1 as pb;

use crate::host::Host;
use photon_testcloud::plasmavmc::{Cloud, new_vm};
use photon_testkit::expect_error;
use tonic::Code;

const SECRET: &str = "#cloud-config\npassword: hunter2\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_data_is_for_those_who_may_read_it_and_for_the_host() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut admin = cloud.tenant("acme").await;
    let token = cloud.user("acme", "member", "ProjectMember").await;
    let mut member = cloud.client(&token);
    let token = cloud.user("acme", "viewer", "ProjectViewer").await;
    let mut viewer = cloud.client(&token);

    let mut request = new_vm("web-1", &[]);
    request.spec.as_mut().unwrap().user_data = SECRET.into();
    let made = admin.create(request).await.unwrap();
    let hidden = |vm: &pb::Vm| {
        assert_eq!(vm.spec.as_ref().unwrap().user_data, "");
        assert!(vm.user_data_withheld);
    };
    // Not even to who has just written it, unless asked for.
    hidden(&made);
    for client in [&mut admin, &mut member] {
        let vm = client.get(&made.id).await.unwrap();
        assert_eq!(vm.spec.unwrap().user_data, SECRET);
        assert!(!vm.user_data_withheld);
    }
    hidden(&viewer.get(&made.id).await.unwrap());
    for client in [&mut admin, &mut viewer] {
        let request = pb::ListVmsRequest::default();
        let listed = client.vms.list_vms(request).await.unwrap().into_inner();
        hidden(&listed.vms[0]);
        let request = pb::WatchVmRequest::default();
        let mut watch = client.vms.watch_vm(request).await.unwrap().into_inner();
        hidden(&watch.message().await.unwrap().unwrap().vm.unwrap());
    }
    hidden(&admin.stop(&made.id).await.unwrap());
    let desired = host.desired_now().await;
    assert_eq!(desired.vms[0].spec.as_ref().unwrap().user_data, SECRET);

    let plain = admin.create(new_vm("web-2", &[])).await.unwrap();
    assert!(!viewer.get(&plain.id).await.unwrap().user_data_withheld);

    // What is no text is hidden from the same.
    let gzip = b"\x1f\x8b\x08\xff\xfe".to_vec();
    let mut request = new_vm("web-3", &[]);
    request.spec.as_mut().unwrap().user_data_binary = gzip.clone();
    let made = admin.create(request).await.unwrap();
    for vm in [&made, &viewer.get(&made.id).await.unwrap()] {
        hidden(vm);
        assert!(vm.spec.as_ref().unwrap().user_data_binary.is_empty());
    }
    member.get(&made.id).await.unwrap();
    let seen = member.get(&made.id).await.unwrap().spec.unwrap();
    assert_eq!((seen.user_data_binary, seen.user_data.as_str()), (gzip, ""));

    // To look at a VM whose user data one may not see is no offence.
    let request = photon_api::chainfire::v1::ListEventsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let mut operator = cloud.operator().await;
    let events = operator.events.list_events(request).await.unwrap();
    let events = events.into_inner().events;
    let readings = events
        .iter()
        .filter(|event| event.action == "compute:instances:getUserData");
    // Of those who were shown them each is recorded, and once for all that it looks again within the hour.
    let readers: Vec<&str> = readings
        .inspect(|event| assert_eq!(event.outcome(), Outcome::Success))
        .map(|event| event.principal_name.as_str())
        .collect();
    assert_eq!(readers, ["admin", "member", "member"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_user_data_are_taken_and_a_change_is_told_to_the_host() {
    let cloud = Cloud::start().await;
    let mut host = Host::first(&cloud).await;
    let mut admin = cloud.tenant("acme").await;
    // As Terraform's `cloudinit_config` makes them by default.
    let encoded = "H4sIAAAAAAAA/w==";
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";
    let mut request = new_vm("web-1", &[]);
    request.spec.as_mut().unwrap().user_data = encoded.into();
    let made = admin.create(request).await.unwrap();
    let told = host.desired_now().await.vms.remove(0);
    assert_eq!(told.spec.unwrap().user_data_binary, gzip);
    assert_eq!(told.user_data_changes, 0);

    let update = |user_data: Option<&str>, binary: Option<&[u8]>| pb::UpdateVmRequest {
        id: made.id.clone(),
        user_data: user_data.map(str::to_owned),
        user_data_binary: binary.map(<[u8]>::to_vec),
        ..Default::default()
    };
    let mut changes = async |request| {
        admin.vms.update_vm(request).await.unwrap();
        let told = host.desired_now().await.vms.remove(0);
        (told.user_data_changes, told.spec.unwrap().user_data)
    };
    assert_eq!(changes(update(None, Some(gzip))).await, (0, String::new()));
    let text = "#cloud-config\n".to_owned();
    assert_eq!(changes(update(Some(&text), None)).await, (1, text.clone()));
    assert_eq!(changes(update(Some(&text), None)).await, (1, text.clone()));
    let renamed = pb::UpdateVmRequest {
        name: Some("web-2".into()),
        ..update(None, None)
    };
    assert_eq!(changes(renamed).await, (1, text.clone()));
    assert_eq!(changes(update(None, Some(gzip))).await, (2, String::new()));

    let both = admin.vms.update_vm(update(Some("x"), Some(gzip))).await;
    expect_error(
        both,
        Code::InvalidArgument,
        "user_data_binary '(10 bytes)' is not valid: expected nothing beside user_data",
    );
}
