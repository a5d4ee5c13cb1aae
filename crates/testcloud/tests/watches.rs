//! What many watches cost the rest of the cloud. Alone in its process: it counts in the metrics, which all servers share.

use std::time::Duration;

use photon_api::plasmavmc::v1 as pb;
use photon_testcloud::plasmavmc::{Client, Cloud, HOST, new_vm};
use photon_testkit::DEADLINE;
use tonic::Streaming;

/// Questions that IAM has answered to other servers since the start, of this RPC.
fn questions(method: &str) -> u64 {
    let metrics = photon_program::metrics::recorder().render();
    let of = format!("/{method}\"");
    let lines = metrics.lines().filter(|line| {
        line.starts_with(photon_program::metrics::CALLS)
            && line.contains("IamAuthz")
            && line.contains(&of)
    });
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.sum::<f64>() as u64
}

async fn watch(client: &mut Client, id: &str) -> Streaming<pb::WatchVmResponse> {
    let request = pb::WatchVmRequest {
        id: id.into(),
        ..Default::default()
    };
    let mut watch = client.vms.watch_vm(request).await.unwrap().into_inner();
    within(watch.message()).await.unwrap().unwrap();
    watch
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_watches_of_one_user_are_one_question_a_second_and_all_are_told() {
    const WATCHES: usize = 50;
    let cloud = Cloud::start().await;
    let mut agent = cloud.client(&cloud.agent(HOST).await);
    let node = pb::Node {
        name: HOST.into(),
        vcpus: 64,
        memory_mib: 65_536,
        accelerator: "tcg".into(),
        hypervisors: vec![pb::HypervisorKind::Qemu.into()],
        ..Default::default()
    };
    let register = pb::RegisterNodeRequest { node: Some(node) };
    agent.nodes.register_node(register).await.unwrap();
    let mut tenant = cloud.tenant("acme").await;
    let mut vms = Vec::new();
    for number in 0..4 {
        let vm = tenant.create(new_vm(&format!("vm-{number}"), &[])).await;
        vms.push(vm.unwrap());
    }
    let mut open = Vec::new();
    for number in 0..WATCHES {
        // Of one VM each, of four VMs; and some of all.
        let id = match number % 5 {
            4 => "",
            at => vms[at].id.as_str(),
        };
        open.push((id, watch(&mut tenant, id).await));
    }

    let before = (questions("Authorize"), questions("AuthorizeEach"));
    const SECONDS: u64 = 4;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let single = questions("Authorize") - before.0;
    let together = questions("AuthorizeEach") - before.1;
    println!("{WATCHES} watches in {SECONDS} s: {single} single questions, {together} together");
    assert!(
        (1..=SECONDS + 2).contains(&together),
        "{together} questions for {WATCHES} watches"
    );
    assert!(single <= 2, "{single} questions of their own");

    // All of the first VM, and of all VMs, hear of a change; the others do not.
    let update = pb::UpdateVmRequest {
        id: vms[0].id.clone(),
        description: Some("changed".into()),
        ..Default::default()
    };
    tenant.vms.update_vm(update).await.unwrap();
    for (id, watch) in &mut open {
        if !id.is_empty() && *id != vms[0].id {
            continue;
        }
        loop {
            let told = within(watch.message()).await.unwrap().unwrap().vm.unwrap();
            if told.id == vms[0].id && told.description == "changed" {
                break;
            }
        }
    }
    let other = open.iter_mut().find(|(id, _)| *id == vms[1].id).unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(200), other.1.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}
