//! A host as the server sees it: a client that speaks NodeService as an agent does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use photon_api::plasmavmc::v1 as pb;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use photon_testcloud::plasmavmc::{Client, Cloud, HOST};
use photon_testkit::DEADLINE;

/// What the VM's host would say.
pub struct Host {
    pub client: Client,
    pub node: String,
}

/// The carried-out reboots of each VM.
type Generations = Arc<Mutex<BTreeMap<String, u64>>>;

impl Host {
    /// The first host, registered.
    pub async fn first(cloud: &Cloud) -> Self {
        Self::named(cloud, HOST, 16, 32768).await
    }

    pub async fn named(cloud: &Cloud, node: &str, vcpus: u32, memory_mib: u64) -> Self {
        let token = cloud.agent(node).await;
        let mut host = Self {
            client: cloud.client(&token),
            node: node.to_owned(),
        };
        host.register(vcpus, memory_mib).await.unwrap();
        host
    }

    pub async fn register(&mut self, vcpus: u32, memory_mib: u64) -> Result<(), Status> {
        let node = about(&self.node, vcpus, memory_mib);
        let request = pb::RegisterNodeRequest { node: Some(node) };
        self.client.nodes.register_node(request).await?;
        Ok(())
    }

    pub async fn desired(&mut self) -> Streaming<pb::DesiredVms> {
        let request = pb::WatchDesiredRequest {
            node: self.node.clone(),
            ..Default::default()
        };
        let response = self.client.nodes.watch_desired(request).await;
        response.unwrap().into_inner()
    }

    /// What should be on the host now.
    pub async fn desired_now(&mut self) -> pb::DesiredVms {
        let mut desired = self.desired().await;
        desired.message().await.unwrap().unwrap()
    }

    /// The same, as soon as this VM is among it: one with ports is accepted a moment before its host is told.
    pub async fn desired_with(&mut self, vm: &str) -> pb::DesiredVms {
        let waiting = async {
            loop {
                let mut stream = self.desired().await;
                let message = stream.message().await.unwrap().unwrap();
                if message.vms.iter().any(|it| it.id == vm) {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting)
            .await
            .expect("the host is told of the VM in time")
    }

    pub async fn report(&mut self, revision: u64, vms: Vec<pb::VmReport>) -> Result<(), Status> {
        let request = pb::ReportStatusRequest {
            node: self.node.clone(),
            revision,
            vms,
            ..Default::default()
        };
        self.client.nodes.report_status(request).await?;
        Ok(())
    }

    /// Reports as if everything that should be were so.
    pub async fn obey(&mut self, desired: &pb::DesiredVms) {
        let reports = desired.vms.iter().map(as_wanted).collect();
        self.report(desired.revision, reports).await.unwrap();
    }

    /// From now on everything that should be becomes so at once.
    pub fn run(mut self) -> Running {
        let reboots = Generations::default();
        let seen = reboots.clone();
        let task = tokio::spawn(async move {
            let mut stream = self.desired().await;
            while let Ok(Some(desired)) = stream.message().await {
                for vm in &desired.vms {
                    let mut seen = seen.lock().unwrap();
                    seen.insert(vm.id.clone(), vm.reboot_generation);
                }
                self.obey(&desired).await;
            }
        });
        Running { task, reboots }
    }

    /// Offers consoles: what the server sends, and a way to answer.
    pub async fn consoles(
        &mut self,
    ) -> (
        Streaming<pb::ServeConsolesResponse>,
        mpsc::Sender<pb::ServeConsolesRequest>,
    ) {
        let (answer, answers) = mpsc::channel(16);
        let first = pb::ServeConsolesRequest {
            node: self.node.clone(),
            ..Default::default()
        };
        answer.send(first).await.unwrap();
        let response = self
            .client
            .nodes
            .serve_consoles(ReceiverStream::new(answers));
        let response = tokio::time::timeout(DEADLINE, response).await;
        (response.unwrap().unwrap().into_inner(), answer)
    }
}

impl Host {
    /// Serves a tunnel by its number, or refuses it: what is for the guest, and a way to answer.
    pub async fn tunnel(
        &self,
        session: u64,
        refusal: &str,
    ) -> (
        Streaming<pb::ServeTunnelResponse>,
        mpsc::Sender<pb::ServeTunnelRequest>,
    ) {
        let (answer, answers) = mpsc::channel(4);
        let first = pb::ServeTunnelRequest {
            node: self.node.clone(),
            session,
            refusal: refusal.into(),
            ..Default::default()
        };
        answer.send(first).await.unwrap();
        let mut nodes = self.client.nodes.clone();
        let response = nodes.serve_tunnel(ReceiverStream::new(answers));
        let response = tokio::time::timeout(DEADLINE, response).await;
        (response.unwrap().unwrap().into_inner(), answer)
    }
}

/// A host that does what it is told.
pub struct Running {
    task: JoinHandle<()>,
    reboots: Generations,
}

impl Running {
    /// Reboots (and repeated starts) of a VM that the host was asked for.
    pub fn reboots_of(&self, vm: &str) -> u64 {
        self.reboots.lock().unwrap()[vm]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn about(name: &str, vcpus: u32, memory_mib: u64) -> pb::Node {
    pb::Node {
        name: name.into(),
        vcpus,
        memory_mib,
        accelerator: "tcg".into(),
        hypervisors: vec![pb::HypervisorKind::Qemu.into()],
        agent_version: "test".into(),
        ..Default::default()
    }
}

/// The report on a VM that is as it should be.
pub fn as_wanted(vm: &pb::DesiredVm) -> pb::VmReport {
    let phase = match vm.power_state() {
        _ if vm.deleting => pb::VmPhase::Deleting,
        pb::PowerState::Off => pb::VmPhase::Stopped,
        _ => pb::VmPhase::Running,
    };
    pb::VmReport {
        id: vm.id.clone(),
        phase: phase.into(),
        accelerator: "tcg".into(),
        unit: format!("photon-vm-{}.service", vm.id),
        reboot_generation: vm.reboot_generation,
        gone: vm.deleting,
        ..Default::default()
    }
}
