//! Imports that have begun and not ended: what they send counts before there is an image.

use photon_api::plasmavmc::v1 as pb;
use photon_testcloud::plasmavmc::{Client, Cloud};
use photon_testkit::expect_error;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use pb::import_image_request::Message;

/// How many imports a project may have under way.
const IMPORTS: usize = 8;

/// Begins an import and sends `content`; it goes on until what is given is dropped.
async fn begin(
    calls: &mut JoinSet<Result<String, Status>>,
    client: &Client,
    name: &str,
    content: &[u8],
) -> Sender<pb::ImportImageRequest> {
    let (sender, receiver) = channel(4);
    let header = Message::Header(pb::ImportImageHeader {
        name: name.into(),
        format: pb::ImageFormat::Raw.into(),
        ..Default::default()
    });
    let chunk = Message::Chunk(pb::ImportImageChunk {
        part: pb::ImagePart::Disk.into(),
        data: content.to_vec(),
    });
    for message in [header, chunk] {
        let request = pb::ImportImageRequest {
            message: Some(message),
        };
        sender.send(request).await.unwrap();
    }
    let (mut images, name) = (client.images.clone(), name.to_owned());
    calls.spawn(async move {
        let answer = images.import_image(ReceiverStream::new(receiver)).await?;
        assert_eq!(answer.into_inner().image.unwrap().name, name);
        Ok(name)
    });
    sender
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_imports_have_sent_is_together_within_the_quota() {
    let cloud = Cloud::with(plasmavmc::Settings {
        image_quota_bytes: 1 << 20,
        ..Default::default()
    })
    .await;
    let tenant = cloud.tenant("acme").await;
    let mut calls = JoinSet::new();
    let content = vec![0; 600 << 10];
    let one = begin(&mut calls, &tenant, "one", &content).await;
    let two = begin(&mut calls, &tenant, "two", &content).await;
    // Whichever comes second, with neither at its end.
    let refused = calls.join_next().await.unwrap().unwrap();
    expect_error(refused, Code::ResourceExhausted, "image_bytes");
    // What it had is free again, and the other one goes on.
    drop((one, two));
    let made = calls.join_next().await.unwrap().unwrap().unwrap();
    assert!(["one", "two"].contains(&made.as_str()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_has_only_so_many_imports_at_once() {
    let cloud = Cloud::start().await;
    let (tenant, other) = (cloud.tenant("acme").await, cloud.tenant("globex").await);
    let mut calls = JoinSet::new();
    let mut going = Vec::new();
    for number in 0..=IMPORTS {
        let name = format!("image-{number}");
        going.push(begin(&mut calls, &tenant, &name, &[0; 512]).await);
    }
    let refused = calls.join_next().await.unwrap().unwrap();
    let said = format!("may have {IMPORTS} imports of images under way");
    expect_error(refused, Code::ResourceExhausted, &said);
    // Another project has its own.
    let mut others = JoinSet::new();
    drop(begin(&mut others, &other, "theirs", &[0; 512]).await);
    others.join_next().await.unwrap().unwrap().unwrap();
    // Those that have begun end as they should, and then there is room.
    going.clear();
    while let Some(ended) = calls.join_next().await {
        ended.unwrap().unwrap();
    }
    drop(begin(&mut calls, &tenant, "later", &[0; 512]).await);
    calls.join_next().await.unwrap().unwrap().unwrap();
}
