//! A tenant's images and VMs.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use photon_api::plasmavmc::v1::{
    CreateVmRequest, DeleteVmRequest, Image, ImageFormat, ImagePart, ImportImageChunk,
    ImportImageHeader, ImportImageRequest, ListNodesRequest, NetworkInterface, Vm, VmPhase, VmSpec,
    WatchVmRequest, import_image_request::Message,
};
use photon_api::prismnet::v1::Port;
use photon_client::call::{Call, Of};
use photon_client::{Followed, News};
use tokio::time::Instant;

use crate::session::Session;

/// What a stream of an image is cut into: well under gRPC's usual 4 MiB.
const CHUNK: usize = 1 << 20;

/// Of a guest that is there to be seen booting. On an emulated processor guards against its flaws, a kernel at random
/// places and tests of ciphers are a quarter of a boot, and guard nothing here.
pub const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check cryptomgr.notests";

impl Session {
    /// As the operator: the hosts that take VMs, by name.
    pub async fn ready_hosts(&self) -> Result<Vec<String>> {
        let nodes = self.all(ListNodesRequest::default()).await;
        let nodes = nodes.context("cannot list the hosts")?;
        let ready = nodes.into_iter().filter(|node| node.ready);
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
            spec: Some(VmSpec {
                vcpus: 1,
                memory_mib,
                kernel_image_id: image.id.clone(),
                network: vec![NetworkInterface {
                    id: "eth0".into(),
                    port_id: port.id.clone(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        self.make(&format!("VM {name}"), request).await
    }

    /// Follows the VM until its host has it in this phase.
    pub async fn wait_for_phase(&self, vm: &Vm, phase: VmPhase, limit: Duration) -> Result<Vm> {
        let request = WatchVmRequest::default().within(&self.org, &self.project);
        let request = WatchVmRequest {
            id: vm.id.clone(),
            ..request
        };
        let mut last = None;
        let followed = self.follow(request, Some(limit), |news| {
            let News::Change(change) = news else {
                return ControlFlow::Continue(());
            };
            let Some(now) = change.vm else {
                return ControlFlow::Continue(());
            };
            if now.phase() == phase {
                return ControlFlow::Break(Ok(now));
            }
            if now.phase() == VmPhase::Failed {
                return ControlFlow::Break(Err(now.status_message));
            }
            last = Some((now.phase(), now.status_message));
            ControlFlow::Continue(())
        });
        let followed = followed.await;
        match followed.with_context(|| format!("the VM {} is not {phase:?}", vm.name))? {
            Followed::Reached(Ok(now)) => Ok(now),
            Followed::Reached(Err(message)) => {
                bail!("the VM {} is not {phase:?}: it failed: {message}", vm.name)
            }
            Followed::Late => bail!(
                "the VM {} is not {phase:?} after {} s; last seen as {last:?}",
                vm.name,
                limit.as_secs()
            ),
        }
    }

    pub async fn delete_vm(&self, vm: &Vm) -> Result<()> {
        let answer = self.call(DeleteVmRequest::of(&vm.id)).await;
        answer.with_context(|| format!("cannot delete the VM {}", vm.name))?;
        Ok(())
    }
}
