//! Calls that outlast their tokens: a watch and a console go on as long as the session lasts, an upload is judged when it begins.

use std::time::Duration;

use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::issue_token_request::Credential;
use photon_api::iam::v1::session_service_client::SessionServiceClient;
use photon_api::iam::v1::{
    CreateApiKeyRequest, EndSessionRequest, IssueTokenRequest, IssueTokenResponse, NewSession,
    UpdatePrincipalRequest,
};
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::{
    ImageFormat, ImagePart, ImportImageChunk, ImportImageHeader, ImportImageRequest,
    ImportImageResponse, import_image_request,
};
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{CreateVpcRequest, WatchVpcsRequest, WatchVpcsResponse};
use photon_service::claims::LEEWAY_SECONDS;
use photon_testcloud::TestCloud;
use photon_testkit::Session;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status, Streaming};

/// How long a token lives: long enough for all that is to begin with it.
const TTL: u32 = 8;
/// How long it is taken by servers whose clocks may be behind, and a little more.
const ENDED: Duration = Duration::from_secs(TTL as u64 + LEEWAY_SECONDS + 3);
/// How soon the loss of a right must be noticed.
const SOON: Duration = Duration::from_secs(10);

/// Whoever signs in for the project with this key, with a token that ends soon.
async fn sign_in(cloud: &TestCloud, secret: &str, session: bool) -> (Session, IssueTokenResponse) {
    let request = IssueTokenRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ttl_seconds: TTL,
        credential: Some(Credential::ApiKey(secret.to_owned())),
        session: session.then(NewSession::default),
        ..Default::default()
    };
    let mut tokens = IamTokenServiceClient::new(cloud.channel("iam"));
    let issued = tokens.issue_token(request).await.unwrap().into_inner();
    (Session::with_token(&issued.token), issued)
}

/// The secret of a new key of the tenant's member.
async fn key(cloud: &TestCloud) -> String {
    let request = CreateApiKeyRequest {
        principal_id: cloud.acme.member.principal_id.clone(),
        ..Default::default()
    };
    let mut admin = cloud.admin();
    let made = admin.create_api_key(cloud.acme.admin.request(request));
    made.await.unwrap().into_inner().secret
}

async fn watch(cloud: &TestCloud, who: &Session) -> Streaming<WatchVpcsResponse> {
    let mut vpcs = VpcServiceClient::new(cloud.channel("prismnet"));
    let request = who.request(WatchVpcsRequest::default());
    vpcs.watch_vpcs(request).await.unwrap().into_inner()
}

/// Waits until the watch tells of a VPC that is made now.
async fn tells(cloud: &TestCloud, watch: &mut Streaming<WatchVpcsResponse>, name: &str) {
    let request = CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: name.into(),
        cidr: "10.0.0.0/16".into(),
        ..Default::default()
    };
    let mut vpcs = VpcServiceClient::new(cloud.channel("prismnet"));
    vpcs.create_vpc(cloud.acme.admin.request(request))
        .await
        .unwrap();
    let told = async {
        loop {
            let told = watch.message().await.unwrap().unwrap();
            if told.vpc.is_some_and(|vpc| vpc.name == name) {
                return;
            }
        }
    };
    timeout(SOON, told).await.expect("the watch goes on");
}

/// How the watch ends.
async fn ending(mut watch: Streaming<WatchVpcsResponse>) -> Status {
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    timeout(SOON, ended).await.expect("the watch ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlasts_its_token_and_ends_with_the_session() {
    let cloud = TestCloud::start().await;
    let key = key(&cloud).await;
    let (with, issued) = sign_in(&cloud, &key, true).await;
    let (without, _) = sign_in(&cloud, &key, false).await;
    let (mut going, plain) = (watch(&cloud, &with).await, watch(&cloud, &without).await);
    // There is nothing to watch for but the time.
    tokio::time::sleep(ENDED).await;
    assert_eq!(ending(plain).await.code(), Code::Unauthenticated);
    tells(&cloud, &mut going, "later").await;

    let request = EndSessionRequest {
        id: issued.session.unwrap().id,
        ..Default::default()
    };
    let mut sessions = SessionServiceClient::new(cloud.channel("iam"));
    let ended = sessions
        .end_session(cloud.acme.admin.request(request))
        .await;
    ended.unwrap();
    let status = ending(going).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
}

/// An image that is being uploaded.
struct Upload {
    send: mpsc::Sender<ImportImageRequest>,
    answer: JoinHandle<Result<Response<ImportImageResponse>, Status>>,
}

impl Upload {
    async fn begin(cloud: &TestCloud, who: &Session, name: &str) -> Self {
        let header = ImportImageHeader {
            name: name.into(),
            format: ImageFormat::Raw.into(),
            ..Default::default()
        };
        let (send, messages) = mpsc::channel(4);
        let upload = who.request(ReceiverStream::new(messages));
        let mut images = ImageServiceClient::new(cloud.channel("plasmavmc"));
        let answer = tokio::spawn(async move { images.import_image(upload).await });
        let this = Self { send, answer };
        this.message(import_image_request::Message::Header(header))
            .await;
        this.chunk().await;
        this
    }

    async fn message(&self, message: import_image_request::Message) {
        let message = ImportImageRequest {
            message: Some(message),
        };
        // If nobody takes it, the answer says why.
        let _ = self.send.send(message).await;
    }

    async fn chunk(&self) {
        let chunk = ImportImageChunk {
            part: ImagePart::Disk.into(),
            data: vec![0; 4096],
        };
        self.message(import_image_request::Message::Chunk(chunk))
            .await;
    }

    async fn finished(self) -> Result<(), Status> {
        drop(self.send);
        self.answer.await.unwrap().map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_judged_when_it_begins_and_ends_when_the_right_is_taken_away() {
    let cloud = TestCloud::start().await;
    let key = key(&cloud).await;
    let (with, _) = sign_in(&cloud, &key, true).await;
    let (without, _) = sign_in(&cloud, &key, false).await;
    let long = Upload::begin(&cloud, &without, "long").await;
    let longer = Upload::begin(&cloud, &with, "longer").await;
    let stopped = Upload::begin(&cloud, &with, "stopped").await;
    tokio::time::sleep(ENDED).await;
    // Nothing begins with such a token any more.
    let late = Upload::begin(&cloud, &without, "late").await;
    let refused = late.finished().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for upload in [long, longer] {
        upload.chunk().await;
        upload.finished().await.unwrap();
    }
    let disable = UpdatePrincipalRequest {
        id: cloud.acme.member.principal_id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    let mut admin = cloud.admin();
    let disabled = admin.update_principal(cloud.acme.admin.request(disable));
    disabled.await.unwrap();
    let refused = timeout(SOON, stopped.answer)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}
