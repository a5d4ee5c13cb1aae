//! A tenant's images and VMs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::plasmavmc::v1::{
    CreateVmRequest, DeleteVmRequest, Image, ImageFormat, ImagePart, ImportImageChunk,
    ImportImageHeader, ImportImageRequest, ListNodesRequest, NetworkInterface, Vm, VmPhase, VmSpec,
    WatchVmRequest, import_image_request::Message,
};
use photon_api::prismnet::v1::Port;
use tokio::time::{Instant, timeout};

use crate::session::{Authorized, Session};

/// What a stream of an image is cut into: well under gRPC's usual 4 MiB.
const CHUNK: usize = 1 << 20;

/// Of a guest that is there to be seen booting. On an emulated processor guards against its flaws, a kernel at random
/// places and tests of ciphers are a quarter of a boot, and guard nothing here.
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check cryptomgr.notests";

impl Session {
    pub fn images(&self) -> ImageServiceClient<Authorized> {
        ImageServiceClient::with_interceptor(self.channels.plasmavmc.clone(), self.bearer.clone())
    }

    pub fn vms(&self) -> VmServiceClient<Authorized> {
        VmServiceClient::with_interceptor(self.channels.plasmavmc.clone(), self.bearer.clone())
    }

    /// As the operator: the hosts that take VMs, by name.
    pub async fn ready_hosts(&self) -> Result<Vec<String>> {
        let mut nodes = NodeServiceClient::with_interceptor(
            self.channels.plasmavmc.clone(),
            self.bearer.clone(),
        );
        let request = ListNodesRequest {
            page_size: 1000,
            ..Default::default()
        };
        let answer = nodes.list_nodes(request).await;
        let answer = answer.context("cannot list the hosts")?.into_inner();
        let ready = answer.nodes.into_iter().filter(|node| node.ready);
        let mut names: Vec<String> = ready.map(|node| node.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// As the operator: waits until a host takes VMs.
    pub async fn wait_for_host(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while self.ready_hosts().await?.is_empty() {
            ensure!(
                Instant::now() < deadline,
                "no host takes VMs after {} s",
                limit.as_secs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Imports a kernel and its initramfs as an image.
    pub async fn import_kernel(&self, name: &str, kernel: &Path, initrd: &Path) -> Result<Image> {
        let mut messages = vec![ImportImageRequest {
            message: Some(Message::Header(ImportImageHeader {
                org_id: self.org.clone(),
                project_id: self.project.clone(),
                name: name.into(),
                format: ImageFormat::KernelInitrd.into(),
                kernel_command_line: COMMAND_LINE.into(),
                ..Default::default()
            })),
        }];
        for (part, path) in [(ImagePart::Kernel, kernel), (ImagePart::Initrd, initrd)] {
            let content =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            messages.extend(content.chunks(CHUNK).map(|data| ImportImageRequest {
                message: Some(Message::Chunk(ImportImageChunk {
                    part: part.into(),
                    data: data.to_vec(),
                })),
            }));
        }
        let answer = self
            .images()
            .import_image(tokio_stream::iter(messages))
            .await
            .with_context(|| format!("cannot import the image {name}"))?;
        let image = answer.into_inner().image;
        image.context("ImportImage answered without the image")
    }

    pub async fn create_vm(
        &self,
        name: &str,
        image: &Image,
        port: &Port,
        memory_mib: u64,
    ) -> Result<Vm> {
        // No host: the scheduler chooses.
        self.create_vm_on("", name, image, port, memory_mib).await
    }

    /// On a host of the caller's choice, who must be an operator.
    pub async fn create_vm_on(
        &self,
        host: &str,
        name: &str,
        image: &Image,
        port: &Port,
        memory_mib: u64,
    ) -> Result<Vm> {
        let request = CreateVmRequest {
            node: host.into(),
            name: name.into(),
            org_id: self.org.clone(),
            project_id: self.project.clone(),
            spec: Some(VmSpec {
                vcpus: 1,
                memory_mib,
                kernel_image_id: image.id.clone(),
                network: vec![NetworkInterface {
                    id: "eth0".into(),
                    port_id: port.id.clone(),
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = self.vms().create_vm(request).await;
        let answer = answer.with_context(|| format!("cannot create the VM {name}"))?;
        let vm = answer.into_inner().vm;
        vm.context("CreateVm answered without the VM")
    }

    /// Follows the VM until its host has it in this phase.
    pub async fn wait_for_phase(&self, vm: &Vm, phase: VmPhase, limit: Duration) -> Result<Vm> {
        let request = WatchVmRequest {
            id: vm.id.clone(),
            org_id: self.org.clone(),
            project_id: self.project.clone(),
        };
        let mut last = None;
        let follow = async {
            let mut changes = self.vms().watch_vm(request).await?.into_inner();
            while let Some(change) = changes.message().await? {
                let Some(now) = change.vm else { continue };
                if now.phase() == phase {
                    return Ok(now);
                }
                if now.phase() == VmPhase::Failed {
                    bail!("it failed: {}", now.status_message);
                }
                last = Some(now);
            }
            bail!("the server ended the watch")
        };
        match timeout(limit, follow).await {
            Ok(result) => result.with_context(|| format!("the VM {} is not {phase:?}", vm.name)),
            Err(_) => {
                let seen = last.map(|vm| (vm.phase(), vm.status_message));
                bail!(
                    "the VM {} is not {phase:?} after {} s; last seen as {seen:?}",
                    vm.name,
                    limit.as_secs()
                )
            }
        }
    }

    pub async fn delete_vm(&self, vm: &Vm) -> Result<()> {
        let request = DeleteVmRequest {
            id: vm.id.clone(),
            ..Default::default()
        };
        let answer = self.vms().delete_vm(request).await;
        answer.with_context(|| format!("cannot delete the VM {}", vm.name))?;
        Ok(())
    }
}
