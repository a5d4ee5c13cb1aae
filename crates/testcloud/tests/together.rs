//! What holds only between servers: they run together, lose each other, and find each other again.

use std::time::Duration;

use photon_api::chainfire::v1::ListEventsRequest;
use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient;
use photon_api::iam::v1::{RevokeTokenRequest, RotateSigningKeyRequest};
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::plasmavmc::v1::{
    CreateVmRequest, Disk, HypervisorKind, ImageFormat, ImagePart, ImportImageChunk,
    ImportImageHeader, ImportImageRequest, ListVmsRequest, NetworkInterface, Node,
    RegisterNodeRequest, VmSpec, import_image_request,
};
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{
    CreatePortRequest, CreateSubnetRequest, CreateVpcRequest, GetVpcRequest, ListVpcsRequest,
};
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::Session;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

fn create(name: &str) -> CreateVpcRequest {
    CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: name.into(),
        cidr: "10.0.0.0/16".into(),
        ..Default::default()
    }
}

fn vpcs(cloud: &TestCloud) -> VpcServiceClient<Channel> {
    VpcServiceClient::new(cloud.channel("prismnet"))
}

/// What PrismNET and PlasmaVMC say to a bearer who only looks.
async fn look(cloud: &TestCloud, who: &Session) -> [Result<(), Status>; 2] {
    let networks = ListVpcsRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..Default::default()
    };
    let machines = ListVmsRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        ..Default::default()
    };
    let mut vms = VmServiceClient::new(cloud.channel("plasmavmc"));
    [
        vpcs(cloud).list_vpcs(who.request(networks)).await.map(drop),
        vms.list_vms(who.request(machines)).await.map(drop),
    ]
}

/// Until both say `code` (`Ok` for `None`), at most so long.
async fn until_both_say(cloud: &TestCloud, who: &Session, code: Option<Code>, limit: Duration) {
    let deadline = Instant::now() + limit;
    loop {
        let said = look(cloud, who).await;
        let codes = said
            .each_ref()
            .map(|it| it.as_ref().err().map(Status::code));
        if codes == [code; 2] {
            return;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {said:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_iam_nobody_gets_in_and_with_it_again_everybody_who_may() {
    let mut cloud = TestCloud::start().await;
    let member = cloud.acme.member.clone();
    until_both_say(&cloud, &member, None, Duration::from_secs(5)).await;
    cloud.stop("iam").await;
    for said in look(&cloud, &member).await {
        assert_eq!(said.unwrap_err().code(), Code::Unavailable);
    }
    // Not even the operator makes anything.
    let status = vpcs(&cloud)
        .create_vpc(cloud.operator.request(create("net")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    cloud.start_again("iam");
    until_both_say(&cloud, &member, None, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_all_servers_were_stopped() {
    let mut cloud = TestCloud::start().await;
    let admin = cloud.acme.admin.clone();
    let made = vpcs(&cloud)
        .create_vpc(admin.request(create("net")))
        .await
        .unwrap();
    let made = made.into_inner().vpc.unwrap();
    cloud.stop("plasmavmc").await;
    cloud.stop("prismnet").await;
    cloud.stop("iam").await;
    cloud.start_again("iam");
    cloud.start_again("prismnet");
    cloud.start_again("plasmavmc");
    // The token, too, is as good as before.
    let request = GetVpcRequest {
        id: made.id.clone(),
        ..Default::default()
    };
    let found = vpcs(&cloud).get_vpc(admin.request(request)).await.unwrap();
    assert_eq!(found.into_inner().vpc.unwrap(), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_useless_everywhere_within_a_second() {
    let cloud = TestCloud::start().await;
    let member = cloud.acme.member.clone();
    until_both_say(&cloud, &member, None, Duration::from_secs(5)).await;
    let mut iam = IamTokenServiceClient::new(cloud.channel("iam"));
    iam.revoke_token(member.request(RevokeTokenRequest::default()))
        .await
        .unwrap();
    let second = Duration::from_secs(1);
    until_both_say(&cloud, &member, Some(Code::Unauthenticated), second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_the_signing_key_ends_old_tokens_everywhere_within_a_second() {
    let cloud = TestCloud::start().await;
    let member = cloud.acme.member.clone();
    until_both_say(&cloud, &member, None, Duration::from_secs(5)).await;
    let mut iam = IamTokenServiceClient::new(cloud.channel("iam"));
    let rotate = |revoke_old| {
        cloud
            .operator
            .request(RotateSigningKeyRequest { revoke_old })
    };
    iam.rotate_signing_key(rotate(false)).await.unwrap();
    // Signed by the key before, which is only retired.
    until_both_say(&cloud, &member, None, Duration::from_secs(1)).await;
    // Signed by the new key, which the services have not seen yet.
    let agent = cloud.program("plasmavmc-server").await;
    let said = look(&cloud, &agent).await;
    for answer in said {
        assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    }
    iam.rotate_signing_key(rotate(true)).await.unwrap();
    let second = Duration::from_secs(1);
    until_both_say(&cloud, &member, Some(Code::Unauthenticated), second).await;
    until_both_say(&cloud, &cloud.operator, Some(Code::Unauthenticated), second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_follows_a_call_from_server_to_server() {
    let cloud = TestCloud::start().await;
    let admin = &cloud.acme.admin;
    let vpc_id = vpcs(&cloud)
        .create_vpc(admin.request(create("net")))
        .await
        .unwrap();
    let vpc_id = vpc_id.into_inner().vpc.unwrap().id;
    let subnet = CreateSubnetRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        vpc_id,
        name: "front".into(),
        cidr: "10.0.1.0/24".into(),
        ..Default::default()
    };
    let mut subnets = SubnetServiceClient::new(cloud.channel("prismnet"));
    let made = subnets.create_subnet(admin.request(subnet)).await.unwrap();
    let port = CreatePortRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        subnet_id: made.into_inner().subnet.unwrap().id,
        name: "eth".into(),
        ..Default::default()
    };
    let mut ports = PortServiceClient::new(cloud.channel("prismnet"));
    let made = ports.create_port(admin.request(port)).await.unwrap();
    let port_id = made.into_inner().port.unwrap().id;

    let agent = cloud.program("plasmavmc-agent").await;
    let node = Node {
        name: NODE.into(),
        vcpus: 4,
        memory_mib: 4096,
        accelerator: "tcg".into(),
        hypervisors: vec![HypervisorKind::Qemu.into()],
        ..Default::default()
    };
    let registration = RegisterNodeRequest { node: Some(node) };
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    nodes
        .register_node(agent.request(registration))
        .await
        .unwrap();
    let header = import_image_request::Message::Header(ImportImageHeader {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: "disk".into(),
        format: ImageFormat::Raw.into(),
        ..Default::default()
    });
    let chunk = import_image_request::Message::Chunk(ImportImageChunk {
        part: ImagePart::Disk.into(),
        data: vec![7; 4096],
    });
    let messages = [header, chunk].map(|message| ImportImageRequest {
        message: Some(message),
    });
    let mut images = ImageServiceClient::new(cloud.channel("plasmavmc"));
    let request = admin.request(tokio_stream::iter(messages));
    let image = images
        .import_image(request)
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap();

    let mut request = admin.request(CreateVmRequest {
        name: "vm".into(),
        org_id: "acme".into(),
        project_id: "web".into(),
        spec: Some(VmSpec {
            vcpus: 1,
            memory_mib: 128,
            disks: vec![Disk {
                id: "root".into(),
                image_id: image.id,
                ..Default::default()
            }],
            network: vec![NetworkInterface {
                id: "eth0".into(),
                port_id,
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("x-request-id", "follow-me-8".parse().unwrap());
    let mut vms = VmServiceClient::new(cloud.channel("plasmavmc"));
    vms.create_vm(request).await.unwrap();

    // PlasmaVMC attached the port in its own name, and for this call.
    let mut events = EventServiceClient::new(cloud.channel("prismnet"));
    let request = admin.request(ListEventsRequest {
        action_prefix: "network:ports:attach".into(),
        ..Default::default()
    });
    let events = events
        .list_events(request)
        .await
        .unwrap()
        .into_inner()
        .events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].principal_name, "plasmavmc-server");
    assert_eq!(events[0].request_id, "follow-me-8");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_is_in_the_answer_and_in_the_event() {
    let cloud = TestCloud::start().await;
    let mut request = cloud.acme.admin.request(create("net"));
    request
        .metadata_mut()
        .insert("x-request-id", "follow-me-7".parse().unwrap());
    let made = vpcs(&cloud).create_vpc(request).await.unwrap();
    assert_eq!(made.metadata().get("x-request-id").unwrap(), "follow-me-7");
    let mut events = EventServiceClient::new(cloud.channel("prismnet"));
    let request = cloud.acme.admin.request(ListEventsRequest {
        action_prefix: "network:vpcs:create".into(),
        ..Default::default()
    });
    let events = events
        .list_events(request)
        .await
        .unwrap()
        .into_inner()
        .events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].request_id, "follow-me-7");
    assert_eq!(events[0].principal_id, cloud.acme.admin.principal_id);
    assert_eq!(events[0].source, "127.0.0.1");
}
