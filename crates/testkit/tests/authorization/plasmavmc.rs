use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::plasmavmc::v1::*;
use photon_testkit::walk::{Case, walk};
use photon_testkit::{NODE, Session, TestCloud};
use tonic::Code;

use crate::{HIDDEN, NAMED, bearers, changes, events, reads, system};

/// Makes things of `acme` in project `web`.
struct Things<'a>(&'a TestCloud);

impl Things<'_> {
    async fn node(&self, agent: &Session) {
        let mut client = NodeServiceClient::new(self.0.plasmavmc.channel());
        client
            .register_node(agent.request(registration(NODE)))
            .await
            .unwrap();
    }

    async fn image(&self, name: &str) -> String {
        let mut client = ImageServiceClient::new(self.0.plasmavmc.channel());
        let messages = tokio_stream::iter([header(name), chunk()]);
        let request = self.0.acme.admin.request(messages);
        client
            .import_image(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .unwrap()
            .id
    }

    async fn vm(&self, name: &str, image_id: &str) -> String {
        let mut client = VmServiceClient::new(self.0.plasmavmc.channel());
        let request = self.0.acme.admin.request(vm(name, image_id));
        client
            .create_vm(request)
            .await
            .unwrap()
            .into_inner()
            .vm
            .unwrap()
            .id
    }
}

fn header(name: &str) -> ImportImageRequest {
    ImportImageRequest {
        message: Some(import_image_request::Message::Header(ImportImageHeader {
            org_id: "acme".into(),
            project_id: "web".into(),
            name: name.into(),
            format: ImageFormat::Raw.into(),
            ..Default::default()
        })),
    }
}

fn chunk() -> ImportImageRequest {
    ImportImageRequest {
        message: Some(import_image_request::Message::Chunk(ImportImageChunk {
            part: ImagePart::Disk.into(),
            data: vec![7; 4096],
        })),
    }
}

fn registration(node: &str) -> RegisterNodeRequest {
    RegisterNodeRequest {
        node: Some(Node {
            name: node.into(),
            vcpus: 64,
            memory_mib: 65536,
            accelerator: "tcg".into(),
            hypervisors: vec![HypervisorKind::Qemu.into()],
            ..Default::default()
        }),
    }
}

fn vm(name: &str, image_id: &str) -> CreateVmRequest {
    CreateVmRequest {
        name: name.into(),
        org_id: "acme".into(),
        project_id: "web".into(),
        spec: Some(VmSpec {
            vcpus: 1,
            memory_mib: 128,
            disks: vec![Disk {
                id: "root".into(),
                image_id: image_id.into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

async fn cases(cloud: &TestCloud) -> Vec<Case> {
    let things = Things(cloud);
    let agent = cloud.program("plasmavmc-agent").await;
    things.node(&agent).await;
    let (disk, old_image) = (things.image("disk").await, things.image("old").await);
    let kept = things.vm("kept", &disk).await;
    let (started, stopped) = (
        things.vm("start", &disk).await,
        things.vm("stop", &disk).await,
    );
    let (rebooted, deleted) = (
        things.vm("reboot", &disk).await,
        things.vm("delete", &disk).await,
    );

    let (org_id, project_id) = (|| "acme".to_owned(), || "web".to_owned());
    let changed = || Some("changed".to_owned());
    let mut cases: Vec<Case> = events(cloud).into();
    cases.extend([
        changes(
            cloud,
            "plasmavmc.v1.ImageService/ImportImage",
            NAMED,
            header("new"),
        )
        .then(&chunk()),
        reads(
            cloud,
            "plasmavmc.v1.ImageService/GetImage",
            HIDDEN,
            GetImageRequest {
                id: disk.clone(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            "plasmavmc.v1.ImageService/ListImages",
            NAMED,
            ListImagesRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            "plasmavmc.v1.ImageService/WatchImages",
            NAMED,
            WatchImagesRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.ImageService/UpdateImage",
            HIDDEN,
            UpdateImageRequest {
                id: disk.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.ImageService/DeleteImage",
            HIDDEN,
            DeleteImageRequest {
                id: old_image,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/CreateVm",
            NAMED,
            vm("new", &disk),
        ),
        reads(
            cloud,
            "plasmavmc.v1.VmService/GetVm",
            HIDDEN,
            GetVmRequest {
                id: kept.clone(),
                ..Default::default()
            },
        ),
        reads(
            cloud,
            "plasmavmc.v1.VmService/ListVms",
            NAMED,
            ListVmsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/UpdateVm",
            HIDDEN,
            UpdateVmRequest {
                id: kept.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/StartVm",
            HIDDEN,
            StartVmRequest {
                id: started,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/StopVm",
            HIDDEN,
            StopVmRequest {
                id: stopped,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/RebootVm",
            HIDDEN,
            RebootVmRequest {
                id: rebooted,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/DeleteVm",
            HIDDEN,
            DeleteVmRequest {
                id: deleted,
                ..Default::default()
            },
        ),
        changes(
            cloud,
            "plasmavmc.v1.VmService/Console",
            HIDDEN,
            ConsoleRequest {
                message: Some(console_request::Message::VmId(kept.clone())),
            },
        ),
        reads(
            cloud,
            "plasmavmc.v1.VmService/WatchVm",
            HIDDEN,
            WatchVmRequest {
                id: kept,
                ..Default::default()
            },
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/RegisterNode",
            &agent,
            registration(NODE),
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/WatchDesired",
            &agent,
            WatchDesiredRequest { node: NODE.into() },
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/ReportStatus",
            &agent,
            ReportStatusRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/FetchImage",
            &agent,
            FetchImageRequest {
                node: NODE.into(),
                image_id: disk,
                part: ImagePart::Disk.into(),
                ..Default::default()
            },
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/ServeConsoles",
            &agent,
            ServeConsolesRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        system(
            cloud,
            "plasmavmc.v1.NodeService/ListNodes",
            &cloud.operator,
            ListNodesRequest::default(),
        ),
    ]);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_of_plasmavmc_has_its_walls() {
    let cloud = TestCloud::start().await;
    let bearers = bearers(&cloud, &["plasmavmc-agent"]).await;
    let cases = cases(&cloud).await;
    let count = cases.len();
    let calls = walk(&cloud.plasmavmc.channel(), &cases, &bearers, &[]).await;
    println!("{calls} calls of {count} RPCs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_own_host_only() {
    let cloud = TestCloud::start().await;
    let agent = cloud.program("plasmavmc-agent").await;
    let mut client = NodeServiceClient::new(cloud.plasmavmc.channel());
    let node = || "another".to_owned();
    let refusals = [
        client
            .register_node(agent.request(registration("another")))
            .await
            .unwrap_err(),
        client
            .watch_desired(agent.request(WatchDesiredRequest { node: node() }))
            .await
            .unwrap_err(),
        client
            .report_status(agent.request(ReportStatusRequest {
                node: node(),
                ..Default::default()
            }))
            .await
            .unwrap_err(),
        client
            .fetch_image(agent.request(FetchImageRequest {
                node: node(),
                ..Default::default()
            }))
            .await
            .unwrap_err(),
        client
            .serve_consoles(agent.request(tokio_stream::once(ServeConsolesRequest {
                node: node(),
                ..Default::default()
            })))
            .await
            .unwrap_err(),
    ];
    for status in refusals {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
}
