//! User data often holds secrets: who may look at VMs need not see it.

use photon_api::plasmavmc::v1 as pb;

use crate::host::Host;
use photon_testcloud::plasmavmc::{Cloud, new_vm};

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

    // To look at a VM whose user data one may not see is no offence.
    let request = photon_api::chainfire::v1::ListEventsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let mut operator = cloud.operator().await;
    let events = operator.events.list_events(request).await.unwrap();
    assert!(
        events
            .into_inner()
            .events
            .iter()
            .all(|event| event.action != "compute:instances:getUserData")
    );
}
