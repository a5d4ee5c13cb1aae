use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::ssh_key_service_client::SshKeyServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::plasmavmc::v1::*;
use photon_testcloud::downloads::Web;
use photon_testcloud::{NODE, TestCloud};
use photon_testkit::Session;
use photon_testkit::walk::{Case, walk};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::{HIDDEN, NAMED, Scene, bearers};

/// So that there is more than one to list.
const SECOND_NODE: &str = "node2";

/// Makes things of a tenant in its project.
struct Things<'a>(&'a Scene<'a>);

impl Things<'_> {
    async fn node(&self, agent: &Session) {
        let mut client = NodeServiceClient::new(self.0.cloud.channel("plasmavmc"));
        client
            .register_node(agent.request(registration(NODE)))
            .await
            .unwrap();
    }

    async fn image(&self, name: &str) -> String {
        let mut client = ImageServiceClient::new(self.0.cloud.channel("plasmavmc"));
        let messages = tokio_stream::iter([self.0.header(name), chunk()]);
        let request = self.0.tenant.admin.request(messages);
        client
            .import_image(request)
            .await
            .unwrap()
            .into_inner()
            .image
            .unwrap()
            .id
    }

    async fn ssh_key(&self, name: &str) -> String {
        let mut client = SshKeyServiceClient::new(self.0.cloud.channel("plasmavmc"));
        let request = self.0.tenant.admin.request(self.0.ssh_key(name));
        let made = client.create_ssh_key(request).await.unwrap();
        made.into_inner().ssh_key.unwrap().id
    }

    async fn vm(&self, name: &str, image_id: &str) -> String {
        self.make(self.0.vm(name, image_id)).await
    }

    /// With an interface on this port.
    async fn vm_on(&self, name: &str, image_id: &str, port_id: &str) -> String {
        let request = self.0.vm_with(name, image_id, interface(port_id));
        self.make(request).await
    }

    async fn make(&self, request: CreateVmRequest) -> String {
        let mut client = VmServiceClient::new(self.0.cloud.channel("plasmavmc"));
        let request = self.0.tenant.admin.request(request);
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

/// Reports of a host that what is to be started has failed, and what is to be rebooted runs.
async fn report_phases(cloud: &TestCloud, agent: &Session, node: &str) {
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    let watch = WatchDesiredRequest {
        node: node.into(),
        ..Default::default()
    };
    let mut desired = nodes
        .watch_desired(agent.request(watch))
        .await
        .unwrap()
        .into_inner();
    let desired = desired.message().await.unwrap().unwrap();
    let reports = desired.vms.iter().filter_map(|vm| {
        let phase = match vm.name.as_str() {
            "start" => VmPhase::Failed,
            "reboot" => VmPhase::Running,
            _ => return None,
        };
        Some(VmReport {
            id: vm.id.clone(),
            phase: phase.into(),
            ..Default::default()
        })
    });
    let report = ReportStatusRequest {
        node: node.into(),
        revision: desired.revision,
        store_epoch: desired.store_epoch,
        vms: reports.collect(),
    };
    nodes.report_status(agent.request(report)).await.unwrap();
}

impl Scene<'_> {
    fn header(&self, name: &str) -> ImportImageRequest {
        ImportImageRequest {
            message: Some(import_image_request::Message::Header(ImportImageHeader {
                org_id: self.tenant.org.clone(),
                project_id: self.tenant.project.clone(),
                name: name.into(),
                format: ImageFormat::Raw.into(),
                ..Default::default()
            })),
        }
    }

    fn ssh_key(&self, name: &str) -> CreateSshKeyRequest {
        CreateSshKeyRequest {
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
            name: name.into(),
            public_key: "ssh-ed25519 \
                AAAAC3NzaC1lZDI1NTE5AAAAIMG7pm7zO0l5xQfQ5hVhG5BdhxkR3NqHzqIUQbF0oL4r"
                .into(),
            ..Default::default()
        }
    }

    fn vm_with(&self, name: &str, image_id: &str, interface: NetworkInterface) -> CreateVmRequest {
        let mut request = self.vm(name, image_id);
        let spec = request.spec.as_mut().unwrap();
        spec.network = vec![interface];
        request
    }

    fn vm(&self, name: &str, image_id: &str) -> CreateVmRequest {
        CreateVmRequest {
            name: name.into(),
            org_id: self.tenant.org.clone(),
            project_id: self.tenant.project.clone(),
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
}

/// An interface whose port is made with the VM.
fn made_in(subnet_id: &str, group_id: &str) -> NetworkInterface {
    NetworkInterface {
        id: "eth0".into(),
        subnet_id: subnet_id.into(),
        security_group_ids: vec![group_id.into()],
        ..Default::default()
    }
}

fn interface(port_id: &str) -> NetworkInterface {
    NetworkInterface {
        id: "eth0".into(),
        port_id: port_id.into(),
        ..Default::default()
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

pub async fn cases(scene: &Scene<'_>) -> Vec<Case> {
    let cloud = scene.cloud;
    let things = Things(scene);
    let web = Web::start().await;
    let agent = cloud.program("plasmavmc-agent").await;
    things.node(&agent).await;
    let second = cloud.people.agent(SECOND_NODE).await;
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    nodes
        .register_node(second.request(registration(SECOND_NODE)))
        .await
        .unwrap();
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

    let network = crate::prismnet::Things(scene);
    let within = network.vpc("plugs").await;
    let within = network.subnet(&within, "plugs", "10.0.9.0/24").await;
    let socket = network.port(&within, "socket").await;
    let plug = network.port(&within, "plug").await;
    let group = network.group("guests").await;
    let (laptop, lost) = (things.ssh_key("laptop").await, things.ssh_key("lost").await);
    let plain = things.vm("plain", &disk).await;
    let plugged = things.vm_on("plugged", &disk, &plug).await;

    for (agent, node) in [(&agent, NODE), (&second, SECOND_NODE)] {
        report_phases(cloud, agent, node).await;
    }

    let org_id = || scene.tenant.org.clone();
    let project_id = || scene.tenant.project.clone();
    let changed = || Some("changed".to_owned());
    let mut cases: Vec<Case> = scene.events().into();
    cases.extend(scene.tenancy());
    cases.extend(scene.quotas("vms"));
    cases.extend([
        scene
            .changes(
                "plasmavmc.v1.ImageService/ImportImage",
                NAMED,
                scene.header("new"),
            )
            .then(&chunk()),
        scene.changes(
            "plasmavmc.v1.ImageService/ImportImageFromUrl",
            NAMED,
            ImportImageFromUrlRequest {
                org_id: org_id(),
                project_id: project_id(),
                name: "fetched".into(),
                url: web.put("/disk", &[7; 512]),
                sha256: hex::encode(Sha256::digest([7; 512])),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.ImageService/GetImage",
            HIDDEN,
            GetImageRequest {
                id: disk.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.ImageService/ListImages",
            NAMED,
            ListImagesRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.ImageService/WatchImages",
            NAMED,
            WatchImagesRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.ImageService/UpdateImage",
            HIDDEN,
            UpdateImageRequest {
                id: disk.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.ImageService/DeleteImage",
            HIDDEN,
            DeleteImageRequest {
                id: old_image,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.SshKeyService/CreateSshKey",
            NAMED,
            scene.ssh_key("new"),
        ),
        scene.reads(
            "plasmavmc.v1.SshKeyService/GetSshKey",
            HIDDEN,
            GetSshKeyRequest {
                id: laptop.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.SshKeyService/ListSshKeys",
            NAMED,
            ListSshKeysRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.SshKeyService/WatchSshKeys",
            NAMED,
            WatchSshKeysRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.SshKeyService/UpdateSshKey",
            HIDDEN,
            UpdateSshKeyRequest {
                id: laptop.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.SshKeyService/DeleteSshKey",
            HIDDEN,
            DeleteSshKeyRequest {
                id: lost,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/CreateVm",
            NAMED,
            scene.vm("new", &disk),
        ),
        scene
            .changes(
                "plasmavmc.v1.VmService/CreateVm",
                NAMED,
                CreateVmRequest {
                    ssh_key_ids: vec![laptop.clone()],
                    ..scene.vm_with("new-with-all", &disk, made_in(&within, &group))
                },
            )
            .goes_on(),
        scene.reads(
            "plasmavmc.v1.VmService/GetVm",
            HIDDEN,
            GetVmRequest {
                id: kept.clone(),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.VmService/ListVms",
            NAMED,
            ListVmsRequest {
                org_id: org_id(),
                project_id: project_id(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/UpdateVm",
            HIDDEN,
            UpdateVmRequest {
                id: kept.clone(),
                description: changed(),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/AttachInterface",
            HIDDEN,
            AttachInterfaceRequest {
                id: plain,
                interface: Some(interface(&socket)),
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/DetachInterface",
            HIDDEN,
            DetachInterfaceRequest {
                id: plugged,
                port_id: plug,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/StartVm",
            HIDDEN,
            StartVmRequest {
                id: started,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/StopVm",
            HIDDEN,
            StopVmRequest {
                id: stopped,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/RebootVm",
            HIDDEN,
            RebootVmRequest {
                id: rebooted,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/DeleteVm",
            HIDDEN,
            DeleteVmRequest {
                id: deleted,
                ..Default::default()
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/Console",
            HIDDEN,
            ConsoleRequest {
                message: Some(console_request::Message::VmId(kept.clone())),
            },
        ),
        scene.changes(
            "plasmavmc.v1.VmService/Tunnel",
            HIDDEN,
            TunnelRequest {
                message: Some(tunnel_request::Message::VmId(kept.clone())),
                ..Default::default()
            },
        ),
        scene.reads(
            "plasmavmc.v1.VmService/WatchVm",
            HIDDEN,
            WatchVmRequest {
                id: kept,
                ..Default::default()
            },
        ),
        scene.system(
            "plasmavmc.v1.NodeService/RegisterNode",
            &agent,
            registration(NODE),
        ),
        scene.system(
            "plasmavmc.v1.NodeService/WatchDesired",
            &agent,
            WatchDesiredRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "plasmavmc.v1.NodeService/ReportStatus",
            &agent,
            ReportStatusRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "plasmavmc.v1.NodeService/FetchImage",
            &agent,
            FetchImageRequest {
                node: NODE.into(),
                image_id: disk,
                part: ImagePart::Disk.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "plasmavmc.v1.NodeService/ServeConsoles",
            &agent,
            ServeConsolesRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        scene.system(
            "plasmavmc.v1.NodeService/ServeTunnel",
            &agent,
            ServeTunnelRequest {
                node: NODE.into(),
                ..Default::default()
            },
        ),
        scene.system(
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
    let cases = cases(&Scene::acme(&cloud)).await;
    let count = cases.len();
    let calls = walk(&cloud.channel("plasmavmc"), &cases, &bearers, &[]).await;
    println!("{calls} calls of {count} RPCs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_speaks_for_its_own_host_only() {
    let cloud = TestCloud::start().await;
    let agent = cloud.program("plasmavmc-agent").await;
    let mut client = NodeServiceClient::new(cloud.channel("plasmavmc"));
    let node = || "another".to_owned();
    let refusals = [
        client
            .register_node(agent.request(registration("another")))
            .await
            .unwrap_err(),
        client
            .watch_desired(agent.request(WatchDesiredRequest {
                node: node(),
                ..Default::default()
            }))
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
        client
            .serve_tunnel(agent.request(tokio_stream::once(ServeTunnelRequest {
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
