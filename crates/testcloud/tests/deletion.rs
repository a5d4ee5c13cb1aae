//! A tenant's project or organization is deleted when nothing of it is left on any server, and then its name is gone.

use std::collections::BTreeSet;

use flaredb::{Committed, Db};
use photon_api::components::{COMPONENTS, IAM};
use photon_api::flashdns::v1::dns_service_client::DnsServiceClient;
use photon_api::flashdns::v1::{CreateZoneRequest, DeleteZoneRequest};
use photon_api::iam::v1::{
    DeleteOrganizationRequest, DeletePrincipalRequest, DeleteProjectRequest,
};
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::import_image_request::Message;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::ssh_key_service_client::SshKeyServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::plasmavmc::v1::{
    CreateSshKeyRequest, CreateVmRequest, DeleteImageRequest, DeleteSshKeyRequest, DeleteVmRequest,
    HypervisorKind, ImageFormat, ImagePart, ImportImageChunk, ImportImageHeader,
    ImportImageRequest, Node, RegisterNodeRequest, ReportStatusRequest, VmPhase, VmReport, VmSpec,
    WatchDesiredRequest,
};
use photon_api::prismnet::v1::port_service_client::PortServiceClient;
use photon_api::prismnet::v1::security_group_service_client::SecurityGroupServiceClient;
use photon_api::prismnet::v1::subnet_service_client::SubnetServiceClient;
use photon_api::prismnet::v1::vpc_service_client::VpcServiceClient;
use photon_api::prismnet::v1::{
    CreatePortRequest, CreateSubnetRequest, CreateVpcRequest, DeletePortRequest,
    DeleteSubnetRequest, DeleteVpcRequest, ListSecurityGroupsRequest,
};
use photon_api::tenancy::v1::CloseProjectRequest;
use photon_api::tenancy::v1::tenant_service_client::TenantServiceClient;
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::walk::methods;
use photon_testkit::{Session, eventually};
use tonic::{Code, Status};

async fn create_vpc(cloud: &TestCloud, who: &Session, name: &str) -> Result<String, Status> {
    let request = CreateVpcRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: name.into(),
        cidr: "10.0.0.0/16".into(),
        ..Default::default()
    };
    let mut vpcs = VpcServiceClient::new(cloud.channel("prismnet"));
    let made = vpcs.create_vpc(who.request(request)).await?;
    Ok(made.into_inner().vpc.expect("what was made").id)
}

async fn delete_vpc(cloud: &TestCloud, who: &Session, id: String) {
    let request = DeleteVpcRequest {
        id,
        ..Default::default()
    };
    let mut vpcs = VpcServiceClient::new(cloud.channel("prismnet"));
    vpcs.delete_vpc(who.request(request)).await.unwrap();
}

async fn delete_project(cloud: &TestCloud) -> Result<(), Status> {
    let request = DeleteProjectRequest {
        org_id: "acme".into(),
        id: "web".into(),
        ..Default::default()
    };
    let request = cloud.operator.request(request);
    cloud.admin().delete_project(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_with_something_in_it_stays_and_one_without_goes_forever() {
    let cloud = TestCloud::start().await;
    let admin = &cloud.acme.admin;
    let mut made = Vec::new();
    for name in ["n1", "n2", "n3", "n4"] {
        made.push(create_vpc(&cloud, admin, name).await.unwrap());
    }
    let status = delete_project(&cloud).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let message = status.message();
    let told = message
        .strip_prefix("project 'web' still holds 4 VPCs (")
        .and_then(|rest| rest.strip_suffix(", …): delete them first"));
    let names: Vec<_> = told.expect(message).split(", ").collect();
    assert_eq!(names.len(), 3, "{message}");
    assert!(names.iter().all(|name| name.starts_with('n')), "{message}");
    // A refusal leaves everything as it was: something can be made there at once.
    made.push(create_vpc(&cloud, admin, "n5").await.unwrap());

    for id in made {
        delete_vpc(&cloud, admin, id).await;
    }
    delete_project(&cloud).await.unwrap();
    let status = create_vpc(&cloud, admin, "late").await.unwrap_err();
    assert_ne!(status.code(), Code::FailedPrecondition, "{status}");
    let again = cloud.people.operator().await;
    let status = again.create_project("acme", "web").await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_keeps_its_project() {
    let cloud = TestCloud::start().await;
    let admin = &cloud.acme.admin;
    let mut dns = DnsServiceClient::new(cloud.channel("flashdns"));
    let request = CreateZoneRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        name: "shop.example".into(),
        ..Default::default()
    };
    let made = dns.create_zone(admin.request(request)).await.unwrap();
    let status = delete_project(&cloud).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let message = status.message();
    assert!(
        message.contains("still holds 1 zone (shop.example)"),
        "{message}"
    );
    let request = DeleteZoneRequest {
        id: made.into_inner().zone.expect("what was made").id,
        ..Default::default()
    };
    dns.delete_zone(admin.request(request)).await.unwrap();
    delete_project(&cloud).await.unwrap();
}

/// The only host tells that nothing of its VMs is left.
async fn all_vms_are_gone(cloud: &TestCloud, agent: &Session) {
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    let watch = WatchDesiredRequest {
        node: NODE.into(),
        ..Default::default()
    };
    let watching = nodes.watch_desired(agent.request(watch)).await.unwrap();
    let desired = watching.into_inner().message().await.unwrap().unwrap();
    let gone = desired.vms.iter().map(|vm| VmReport {
        id: vm.id.clone(),
        phase: VmPhase::Deleting.into(),
        gone: true,
        ..Default::default()
    });
    let report = ReportStatusRequest {
        node: NODE.into(),
        revision: desired.revision,
        store_epoch: desired.store_epoch,
        vms: gone.collect(),
    };
    nodes.report_status(agent.request(report)).await.unwrap();
}

/// Whoever made a project of that name would get them.
#[tokio::test(flavor = "multi_thread")]
async fn vms_images_and_ssh_keys_hold_their_project() {
    let cloud = TestCloud::start().await;
    let (admin, agent) = (&cloud.acme.admin, cloud.program("plasmavmc-agent").await);
    let in_project = || ("acme".to_owned(), "web".to_owned());
    let node = Node {
        name: NODE.into(),
        vcpus: 4,
        memory_mib: 4096,
        hypervisors: vec![HypervisorKind::Qemu.into()],
        accelerator: "tcg".into(),
        ..Default::default()
    };
    let node = RegisterNodeRequest { node: Some(node) };
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    nodes.register_node(agent.request(node)).await.unwrap();
    let (org_id, project_id) = in_project();
    let header = ImportImageHeader {
        org_id,
        project_id,
        name: "disk".into(),
        format: ImageFormat::Raw.into(),
        ..Default::default()
    };
    let chunk = ImportImageChunk {
        part: ImagePart::Disk.into(),
        data: vec![0; 512],
    };
    let messages = [Message::Header(header), Message::Chunk(chunk)]
        .map(|it| ImportImageRequest { message: Some(it) });
    let mut images = ImageServiceClient::new(cloud.channel("plasmavmc"));
    let sent = admin.request(tokio_stream::iter(messages));
    let made = images.import_image(sent).await.unwrap();
    let image = made.into_inner().image.expect("what was made").id;
    let (org_id, project_id) = in_project();
    let key = CreateSshKeyRequest {
        org_id,
        project_id,
        name: "laptop".into(),
        public_key:
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r"
                .into(),
        ..Default::default()
    };
    let mut keys = SshKeyServiceClient::new(cloud.channel("plasmavmc"));
    let made = keys.create_ssh_key(admin.request(key)).await.unwrap();
    let key = made.into_inner().ssh_key.expect("what was made").id;
    let (org_id, project_id) = in_project();
    let vm = CreateVmRequest {
        org_id,
        project_id,
        name: "one".into(),
        spec: Some(VmSpec {
            vcpus: 1,
            memory_mib: 64,
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut vms = VmServiceClient::new(cloud.channel("plasmavmc"));
    let made = vms.create_vm(admin.request(vm)).await.unwrap();
    let vm = made.into_inner().vm.expect("what was made").id;

    let refused = async || {
        delete_project(&cloud)
            .await
            .unwrap_err()
            .message()
            .to_owned()
    };
    assert_eq!(
        refused().await,
        "project 'web' still holds 1 VM (one), 1 image (disk), 1 SSH key (laptop): delete them first"
    );
    let request = DeleteImageRequest {
        id: image,
        ..Default::default()
    };
    images.delete_image(admin.request(request)).await.unwrap();
    let request = DeleteSshKeyRequest {
        id: key,
        ..Default::default()
    };
    keys.delete_ssh_key(admin.request(request)).await.unwrap();
    // One that is being deleted is still there.
    let request = DeleteVmRequest {
        id: vm,
        ..Default::default()
    };
    vms.delete_vm(admin.request(request)).await.unwrap();
    let expected = "project 'web' still holds 1 VM (one): delete them first";
    assert_eq!(refused().await, expected);
    all_vms_are_gone(&cloud, &agent).await;
    eventually("the project goes with its last VM", async || {
        delete_project(&cloud).await.is_ok()
    })
    .await;
}

/// The `default` group comes with the first port, and nobody may delete it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_made_by_itself_holds_no_project_and_goes_with_it() {
    let cloud = TestCloud::start().await;
    let admin = &cloud.acme.admin;
    let vpc = create_vpc(&cloud, admin, "net").await.unwrap();
    let subnet = CreateSubnetRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        vpc_id: vpc.clone(),
        name: "inside".into(),
        cidr: "10.0.1.0/24".into(),
        ..Default::default()
    };
    let mut subnets = SubnetServiceClient::new(cloud.channel("prismnet"));
    let made = subnets.create_subnet(admin.request(subnet)).await.unwrap();
    let subnet = made.into_inner().subnet.expect("what was made").id;
    let port = CreatePortRequest {
        org_id: "acme".into(),
        project_id: "web".into(),
        subnet_id: subnet.clone(),
        name: "first".into(),
        ..Default::default()
    };
    let mut ports = PortServiceClient::new(cloud.channel("prismnet"));
    let made = ports.create_port(admin.request(port)).await.unwrap();
    let port = made.into_inner().port.expect("what was made");
    let groups = async || {
        let request = ListSecurityGroupsRequest {
            org_id: "acme".into(),
            ..Default::default()
        };
        let mut groups = SecurityGroupServiceClient::new(cloud.channel("prismnet"));
        let listed = groups
            .list_security_groups(cloud.operator.request(request))
            .await;
        listed.unwrap().into_inner().security_groups
    };
    assert_eq!(groups().await[0].name, "default");

    // A refusal leaves it there.
    let status = delete_project(&cloud).await.unwrap_err();
    assert!(!status.message().contains("security group"), "{status}");
    assert_eq!(groups().await.len(), 1);

    let request = DeletePortRequest {
        id: port.id,
        ..Default::default()
    };
    ports.delete_port(admin.request(request)).await.unwrap();
    let request = DeleteSubnetRequest {
        id: subnet,
        ..Default::default()
    };
    subnets.delete_subnet(admin.request(request)).await.unwrap();
    delete_vpc(&cloud, admin, vpc).await;
    delete_project(&cloud).await.unwrap();
    assert_eq!(groups().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_in_a_project_between_the_last_look_and_its_deletion() {
    let cloud = TestCloud::start().await;
    let admin = &cloud.acme.admin;
    let mut tenants = TenantServiceClient::new(cloud.channel("prismnet"));
    let mut close = async || {
        let request = CloseProjectRequest {
            org_id: "acme".into(),
            project_id: "web".into(),
        };
        let request = cloud.operator.request(request);
        let closed = tenants.close_project(request).await.unwrap();
        closed.into_inner().holdings
    };
    // What is made first keeps it open.
    let made = create_vpc(&cloud, admin, "first").await.unwrap();
    let holdings = close().await;
    assert_eq!((holdings[0].noun.as_str(), holdings[0].count), ("VPC", 1));
    delete_vpc(&cloud, admin, made).await;
    // A permitted call that comes after is refused by the server's own store.
    assert_eq!(close().await, []);
    let status = create_vpc(&cloud, admin, "late").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        "project 'web' is being deleted, so that nothing can be made in it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_deleted_while_a_server_that_may_hold_something_does_not_answer() {
    let mut cloud = TestCloud::start().await;
    cloud.stop("plasmavmc").await;
    let status = delete_project(&cloud).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = "PlasmaVMC can't be asked what it still holds, so that nothing was deleted";
    assert!(status.message().starts_with(expected), "{status}");
    cloud.start_again("plasmavmc");
    delete_project(&cloud).await.unwrap();
}

/// Projects of earlier releases were deleted with what was in them.
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_stays_as_long_as_a_server_holds_anything_of_it() {
    let mut cloud = TestCloud::start().await;
    let admin = cloud.acme.admin.clone();
    let left = create_vpc(&cloud, &admin, "left").await.unwrap();
    // As the store of IAM was then: the project is gone, and what was in it is not.
    cloud.stop("iam").await;
    let store = cloud.place().state_dir("iam").join("flaredb.sqlite");
    let db = Db::sqlite(&store).await.unwrap();
    let mut tx = db.begin();
    tx.delete("project/acme/web");
    tx.delete("project/acme/elsewhere");
    assert!(matches!(tx.commit().await.unwrap(), Committed::Done(_)));
    drop(db);
    cloud.start_again("iam");
    let acme = &cloud.acme;
    for id in [&acme.admin, &acme.member, &acme.viewer, &acme.nobody] {
        let request = DeletePrincipalRequest {
            id: id.principal_id.clone(),
            ..Default::default()
        };
        let request = cloud.operator.request(request);
        cloud.admin().delete_principal(request).await.unwrap();
    }
    let delete = async || {
        let request = DeleteOrganizationRequest {
            id: "acme".into(),
            ..Default::default()
        };
        let request = cloud.operator.request(request);
        cloud.admin().delete_organization(request).await
    };
    let status = delete().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(
        status.message(),
        "organization 'acme' still holds 1 VPC (left): delete them first"
    );
    delete_vpc(&cloud, &cloud.operator, left).await;
    delete().await.unwrap();
}

/// A component that forgot to say that it holds things of tenants would have them orphaned.
#[tokio::test(flavor = "multi_thread")]
async fn iam_asks_every_server_that_tells_what_it_holds() {
    let cloud = TestCloud::start().await;
    let mut telling = BTreeSet::new();
    for component in COMPONENTS {
        let methods = methods(&cloud.channel(component.name)).await;
        let tells = |name: &str| name.starts_with("tenancy.v1.TenantService/");
        if methods.iter().any(|method| tells(&method.name)) {
            telling.insert(component.name);
        }
    }
    let asked = IAM.programs[0].calls.iter().copied();
    assert_eq!(telling, asked.collect());
}

/// A port that was made with a VM is removed by the VM's server, which knows nothing of floating IPs.
#[tokio::test(flavor = "multi_thread")]
async fn a_floating_ip_outlives_the_port_that_goes_with_a_vm() {
    let cloud = TestCloud::start().await;
    let client = |who| photon_testcloud::prismnet::Client::new(who, &cloud.channel("prismnet"));
    let mut operator = client(&cloud.operator);
    operator.external_network("uplink", 113, &[]).await;
    let member = for_project(&cloud).await;
    let mut tenant = client(&member);
    let (vpc, subnet) = tenant.network().await;
    let port = tenant.port(&subnet, "web").await;
    tenant.nat_gateway(&vpc, "out").await.unwrap();
    let floating = tenant.floating_ip("web").await.unwrap();
    tenant.associate(&floating, &port).await.unwrap();
    let server = cloud.program("plasmavmc-server").await;
    let request = DeletePortRequest {
        id: port.id,
        ..Default::default()
    };
    client(&server).ports.delete_port(request).await.unwrap();
    let request = photon_api::prismnet::v1::ListFloatingIpsRequest::default();
    let listed = tenant.floating.list_floating_ips(request).await.unwrap();
    let listed = listed.into_inner().floating_ips;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].port_id.as_str(), &listed[0].ip_address),
        ("", &floating.ip_address)
    );
}

/// The tenant's administrator, with a token for its project.
async fn for_project(cloud: &TestCloud) -> Session {
    let who = &cloud.acme.admin;
    let request = photon_api::iam::v1::IssueTokenRequest {
        principal_id: who.principal_id.clone(),
        org_id: cloud.acme.org.clone(),
        project_id: cloud.acme.project.clone(),
        ..Default::default()
    };
    let channel = cloud.channel("iam");
    let mut iam =
        photon_api::iam::v1::iam_token_service_client::IamTokenServiceClient::new(channel);
    let issued = iam.issue_token(cloud.operator.request(request)).await;
    Session {
        token: issued.unwrap().into_inner().token,
        ..who.clone()
    }
}
