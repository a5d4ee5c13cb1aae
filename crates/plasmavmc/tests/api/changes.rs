//! What holds for every change and every list: once per `request_id`, answered as it is stored, recorded with what is
//! stored, and nothing at all if nothing changes.

use photon_api::chainfire::v1 as pb_events;
use photon_api::plasmavmc::v1 as pb;
use tonic::{Code, Streaming};

use photon_testcloud::plasmavmc::{Client, Cloud, new_vm};
use photon_testkit::{DEADLINE, expect_error};

use crate::host::Host;

async fn image(client: &mut Client, name: &str) -> pb::Image {
    use pb::import_image_request::Message;
    let header = pb::ImportImageHeader {
        name: name.into(),
        format: pb::ImageFormat::Raw.into(),
        ..Default::default()
    };
    let chunk = pb::ImportImageChunk {
        part: pb::ImagePart::Disk.into(),
        data: vec![0; 512],
    };
    let messages = [Message::Header(header), Message::Chunk(chunk)];
    let messages = messages.map(|message| pb::ImportImageRequest {
        message: Some(message),
    });
    let stream = tokio_stream::iter(messages);
    let response = client.images.import_image(stream).await.unwrap();
    response.into_inner().image.unwrap()
}

async fn get_image(client: &mut Client, id: &str) -> pb::Image {
    let request = pb::GetImageRequest {
        id: id.into(),
        ..Default::default()
    };
    let response = client.images.get_image(request).await.unwrap();
    response.into_inner().image.unwrap()
}

fn describe_image(id: &str, text: &str) -> pb::UpdateImageRequest {
    pb::UpdateImageRequest {
        id: id.into(),
        description: Some(text.into()),
        ..Default::default()
    }
}

fn describe_vm(id: &str, text: &str) -> pb::UpdateVmRequest {
    pb::UpdateVmRequest {
        id: id.into(),
        description: Some(text.into()),
        ..Default::default()
    }
}

async fn update_image(client: &mut Client, request: pb::UpdateImageRequest) -> pb::Image {
    let response = client.images.update_image(request).await.unwrap();
    response.into_inner().image.unwrap()
}

async fn update_vm(client: &mut Client, request: pb::UpdateVmRequest) -> pb::Vm {
    let response = client.vms.update_vm(request).await.unwrap();
    response.into_inner().vm.unwrap()
}

/// All events about one resource.
async fn events_of(cloud: &Cloud, id: &str) -> Vec<pb_events::Event> {
    let request = pb_events::ListEventsRequest {
        org_id: "acme".into(),
        ..Default::default()
    };
    let events = cloud.operator().await.events.list_events(request).await;
    let mut events = events.unwrap().into_inner().events;
    events.retain(|event| event.resource.ends_with(id));
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_change_answers_is_what_is_read_later() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    assert_eq!(tenant.get(&vm.id).await.unwrap(), vm);
    let changed = update_vm(&mut tenant, describe_vm(&vm.id, "ours")).await;
    assert_eq!(changed.revision, vm.revision + 1);
    assert_eq!(tenant.get(&vm.id).await.unwrap(), changed);

    let made = image(&mut tenant, "debian").await;
    assert_eq!(get_image(&mut tenant, &made.id).await, made);
    let changed = update_image(&mut tenant, describe_image(&made.id, "ours")).await;
    assert_eq!(changed.revision, made.revision + 1);
    assert_eq!(get_image(&mut tenant, "debian").await, changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_changes_nothing_is_no_event_and_no_revision() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    let made = image(&mut tenant, "debian").await;
    let same_image = pb::UpdateImageRequest {
        request_id: "nothing-1".into(),
        ..describe_image(&made.id, "")
    };
    let same_vm = pb::UpdateVmRequest {
        request_id: "nothing-2".into(),
        ..describe_vm(&vm.id, "")
    };
    assert_eq!(update_image(&mut tenant, same_image.clone()).await, made);
    assert_eq!(update_vm(&mut tenant, same_vm.clone()).await, vm);
    assert_eq!(events_of(&cloud, &made.id).await.len(), 1);
    assert_eq!(events_of(&cloud, &vm.id).await.len(), 1);
    // And it is remembered: a repeated call answers as the first, whatever came between.
    update_image(&mut tenant, describe_image(&made.id, "other")).await;
    update_vm(&mut tenant, describe_vm(&vm.id, "other")).await;
    assert_eq!(update_image(&mut tenant, same_image).await, made);
    assert_eq!(update_vm(&mut tenant, same_vm).await, vm);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_digests_of_one_event_go_on_where_those_of_the_last_ended() {
    let cloud = Cloud::start().await;
    let host = Host::first(&cloud).await.run();
    let mut tenant = cloud.tenant("acme").await;
    let vm = tenant.create(new_vm("web-1", &[])).await.unwrap();
    tenant.wait_for(&vm.id, pb::VmPhase::Running).await;
    update_vm(&mut tenant, describe_vm(&vm.id, "one")).await;
    update_vm(&mut tenant, describe_vm(&vm.id, "two")).await;
    tenant.delete(&vm.id).await.unwrap();
    tenant.wait_gone(&vm.id).await;
    drop(host);
    let made = image(&mut tenant, "debian").await;
    update_image(&mut tenant, describe_image(&made.id, "one")).await;
    update_image(&mut tenant, describe_image(&made.id, "two")).await;
    let delete = pb::DeleteImageRequest {
        id: made.id.clone(),
        ..Default::default()
    };
    tenant.images.delete_image(delete).await.unwrap();
    for (id, least) in [(vm.id, 6), (made.id, 4)] {
        let events = events_of(&cloud, &id).await;
        assert!(events.len() >= least, "{events:?}");
        let mut last = String::new();
        for event in events {
            assert_eq!(event.before_digest, last, "{event:?}");
            last = event.after_digest;
        }
        assert_eq!(last, "", "it is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_change_that_is_sent_many_times_at_once_is_one_change() {
    let cloud = Cloud::start().await;
    let mut tenant = cloud.tenant("acme").await;
    let made = image(&mut tenant, "debian").await;
    let request = pb::UpdateImageRequest {
        name: Some("trixie".into()),
        expected_revision: made.revision,
        request_id: "rename-once".into(),
        ..describe_image(&made.id, "newer")
    };
    let calls = (0..20).map(|_| {
        let (mut tenant, request) = (tenant.clone(), request.clone());
        tokio::spawn(async move { update_image(&mut tenant, request).await })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().revision, made.revision + 1);
    }
    assert_eq!(events_of(&cloud, &made.id).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_leads_out_of_no_list() {
    let cloud = Cloud::start().await;
    let _host = Host::first(&cloud).await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    for name in ["one", "two"] {
        acme.create(new_vm(name, &[])).await.unwrap();
        image(&mut acme, name).await;
    }
    let vms = pb::ListVmsRequest {
        page_size: 1,
        ..Default::default()
    };
    let images = pb::ListImagesRequest {
        page_size: 1,
        ..Default::default()
    };
    let of_vms = acme.vms.list_vms(vms.clone()).await.unwrap().into_inner();
    let of_images = acme.images.list_images(images.clone()).await.unwrap();
    let of_images = of_images.into_inner();
    assert!(of_vms.revision > 0 && of_images.revision >= of_vms.revision);
    let (of_vms, of_images) = (of_vms.next_page_token, of_images.next_page_token);
    let text = "expected the next_page_token of a page of the same list";
    for (client, token) in [(&mut acme, &of_images), (&mut globex, &of_vms)] {
        let request = pb::ListVmsRequest {
            page_token: token.clone(),
            ..vms.clone()
        };
        let refused = client.vms.list_vms(request).await;
        expect_error(refused, Code::InvalidArgument, text);
    }
    for (client, token) in [(&mut acme, &of_vms), (&mut globex, &of_images)] {
        let request = pb::ListImagesRequest {
            page_token: token.clone(),
            ..images.clone()
        };
        let refused = client.images.list_images(request).await;
        expect_error(refused, Code::InvalidArgument, text);
    }
}

async fn watch(client: &mut Client, since_revision: u64) -> Streaming<pb::WatchImagesResponse> {
    let request = pb::WatchImagesRequest {
        since_revision,
        ..Default::default()
    };
    client
        .images
        .watch_images(request)
        .await
        .unwrap()
        .into_inner()
}

/// The name of what is there now, `-id` of what is gone, `.` when all has been told.
async fn next(stream: &mut Streaming<pb::WatchImagesResponse>) -> String {
    let told = tokio::time::timeout(DEADLINE, stream.message()).await;
    let told = told.expect("news in time").unwrap().expect("no end");
    match (&told.image, told.deleted_id.as_str()) {
        (Some(image), "") => image.name.clone(),
        (None, "") => ".".to_owned(),
        (None, id) => format!("-{id}"),
        both => panic!("one thing at a time: {both:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_are_followed_from_a_lists_revision_on_and_nothing_of_others_is_told() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let mut operator = cloud.operator().await;
    let old = image(&mut acme, "old").await;
    image(&mut globex, "theirs").await;
    let listed = acme.images.list_images(pb::ListImagesRequest::default());
    let revision = listed.await.unwrap().into_inner().revision;

    let mut now = watch(&mut acme, 0).await;
    assert_eq!([next(&mut now).await, next(&mut now).await], ["old", "."]);
    let mut all = watch(&mut operator, revision).await;
    let mut since = watch(&mut acme, revision).await;
    image(&mut globex, "theirs-too").await;
    let own = image(&mut operator, "the-clouds-own").await;
    let rename = pb::UpdateImageRequest {
        id: old.id.clone(),
        name: Some("older".into()),
        ..Default::default()
    };
    update_image(&mut acme, rename).await;
    for id in [&old.id, &own.id] {
        let delete = pb::DeleteImageRequest {
            id: id.clone(),
            ..Default::default()
        };
        operator.images.delete_image(delete).await.unwrap();
    }
    for stream in [&mut now, &mut since] {
        let told = [next(stream).await, next(stream).await];
        assert_eq!(told, ["older".to_owned(), format!("-{}", old.id)]);
    }
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(next(&mut all).await);
    }
    let (old, own) = (format!("-{}", old.id), format!("-{}", own.id));
    assert_eq!(told, ["theirs-too", "the-clouds-own", "older", &old, &own]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_may_not_be_seen_reads_as_one_that_is_not_there() {
    let cloud = Cloud::start().await;
    let mut acme = cloud.tenant("acme").await;
    let mut globex = cloud.tenant("globex").await;
    let token = cloud.without_role("acme", "nobody").await;
    let mut nobody = cloud.client(&token);
    let made = image(&mut acme, "debian").await;
    let absent = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";
    let get = |id: &str| pb::GetImageRequest {
        id: id.into(),
        ..Default::default()
    };
    let theirs = |id: &str| pb::GetImageRequest {
        id: id.into(),
        org_id: "acme".into(),
        project_id: "web".into(),
    };
    let update = |id: &str| describe_image(id, "taken");
    let delete = |id: &str| pb::DeleteImageRequest {
        id: id.into(),
        ..Default::default()
    };
    let upper = made.id.to_uppercase();
    for (there, not) in [
        (made.id.as_str(), absent),
        (upper.as_str(), absent),
        ("debian", "missing"),
    ] {
        for client in [&mut globex, &mut nobody] {
            let mut pairs = Vec::new();
            for id in [there, not] {
                let images = &mut client.images;
                let refused = [
                    images.get_image(get(id)).await.unwrap_err(),
                    images.get_image(theirs(id)).await.unwrap_err(),
                    images.update_image(update(id)).await.unwrap_err(),
                    images.delete_image(delete(id)).await.unwrap_err(),
                ];
                let refused = refused.map(|it| (it.code(), it.message().replace(id, "IT")));
                pairs.push(refused);
            }
            assert_eq!(pairs[0], pairs[1], "{there}");
        }
    }
}
