//! PlasmaVMC with the two that it calls, and whoever has VMs.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use photon_api::chainfire::v1::event_service_client::EventServiceClient;
use photon_api::iam::v1 as iam_pb;
use photon_api::plasmavmc::v1 as pb;
use photon_api::plasmavmc::v1::image_service_client::ImageServiceClient;
use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::ssh_key_service_client::SshKeyServiceClient;
use photon_api::plasmavmc::v1::vm_service_client::VmServiceClient;
use photon_api::prismnet::v1 as net;
use photon_testkit::{Bearing, Caller, DEADLINE, Part, Session};
use tonic::{Code, Status};

use crate::prismnet;

const NAME: &str = plasmavmc::COMPONENT.name;
const IDENTITY: &str = "plasmavmc-server";

/// The first host: its agents have identities.
pub const HOST: &str = "host-1";

/// PlasmaVMC with settings of its own.
pub fn part(own: plasmavmc::Settings) -> Part {
    changing(Arc::new(Mutex::new(own)))
}

/// With the settings that are there when it starts.
fn changing(own: Arc<Mutex<plasmavmc::Settings>>) -> Part {
    Part::new(NAME, move |place, listener, shutdown| {
        let mut settings = crate::settings(plasmavmc::COMPONENT, &place, Some(IDENTITY));
        settings.component = own.lock().expect("a test that goes on").clone();
        settings.component.fetch_socket = place.dir().join("fetch");
        crate::downloads::fetch_at(&settings.component.fetch_socket);
        plasmavmc::run(settings, listener, shutdown)
    })
}

/// IAM, PrismNET and PlasmaVMC, and clients of several tenants.
pub struct Cloud {
    cloud: photon_testkit::Cloud,
    settings: Arc<Mutex<plasmavmc::Settings>>,
}

impl Deref for Cloud {
    type Target = photon_testkit::Cloud;

    fn deref(&self) -> &Self::Target {
        &self.cloud
    }
}

impl DerefMut for Cloud {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cloud
    }
}

impl Cloud {
    /// Three servers.
    pub async fn start() -> Self {
        Self::with(plasmavmc::Settings::default()).await
    }

    /// With other settings of PlasmaVMC's than the usual.
    pub async fn with(own: plasmavmc::Settings) -> Self {
        let settings = Arc::new(Mutex::new(own));
        let vms = changing(settings.clone());
        let parts = [crate::iam::part(HOST), prismnet::part(), vms];
        Self {
            cloud: photon_testkit::Cloud::start(parts).await,
            settings,
        }
    }

    /// Stops PlasmaVMC and starts it with other settings.
    pub async fn restart_with(&mut self, own: plasmavmc::Settings) {
        *self.settings.lock().expect("a test that goes on") = own;
        self.cloud.restart(NAME).await;
    }

    /// One that has these three, PlasmaVMC with the usual settings, and maybe more.
    pub fn of(cloud: photon_testkit::Cloud) -> Self {
        Self {
            cloud,
            settings: Arc::default(),
        }
    }

    fn identity(&self) -> PathBuf {
        self.place().credentials().join(format!("{IDENTITY}.key"))
    }

    fn hidden(&self) -> PathBuf {
        self.place().dir().join("hidden")
    }

    /// Takes PlasmaVMC's own identity away (at its next start), so that it can attach and detach nothing.
    pub fn hide_identity(&self) {
        std::fs::rename(self.identity(), self.hidden()).unwrap();
    }

    /// The opposite of [`hide_identity`](Self::hide_identity).
    pub fn give_identity_back(&self) {
        std::fs::rename(self.hidden(), self.identity()).unwrap();
    }

    /// Where PlasmaVMC keeps files of images.
    pub fn images_dir(&self) -> PathBuf {
        self.place().state_dir(NAME).join("images")
    }

    /// A client of all servers for somebody.
    pub fn client(&self, who: &impl AsRef<Session>) -> Client {
        let session = who.as_ref();
        let on = || session.on(self.channel(NAME));
        Client {
            images: ImageServiceClient::new(on()),
            vms: VmServiceClient::new(on()),
            ssh_keys: SshKeyServiceClient::new(on()),
            nodes: NodeServiceClient::new(on()),
            events: EventServiceClient::new(on()),
            network: prismnet::Client::new(session, &self.channel("prismnet")),
            iam: self.people.stranger().with_token(&session.token),
        }
    }

    /// The operator of the cloud.
    pub async fn operator(&self) -> Client {
        self.client(&self.people.operator().await)
    }

    /// A new user with a role in project `web` of an organization.
    pub async fn user(&self, org: &str, name: &str, role: &str) -> Caller {
        let scope = format!("org/{org}/project/web");
        self.people.user(org, "web", name, (role, &scope)).await
    }

    /// A user that there is, with a new token for project `web`.
    pub async fn sign_in(&self, org: &str, name: &str) -> Caller {
        let password = photon_testkit::PASSWORD;
        let signed_in = self.people.sign_in(org, "web", name, password).await;
        signed_in.unwrap()
    }

    /// A new user that lost its only role after it had signed in.
    pub async fn without_role(&self, org: &str, name: &str) -> Caller {
        let user = self.user(org, name, "ProjectViewer").await;
        let mut admin = self.people.operator().await.admin();
        let request = iam_pb::ListBindingsRequest {
            principal_id: user.principal_id.clone(),
            ..Default::default()
        };
        let bindings = admin.list_bindings(request).await.unwrap();
        for binding in bindings.into_inner().bindings {
            let request = iam_pb::DeleteBindingRequest {
                id: binding.id,
                ..Default::default()
            };
            admin.delete_binding(request).await.unwrap();
        }
        user
    }

    /// A new organization of this name, and somebody who may do everything in its project `web`.
    pub async fn tenant(&self, org: &str) -> Client {
        self.people.ensure(org, "web").await;
        self.client(&self.user(org, "admin", "ProjectAdmin").await)
    }

    /// The agent on a host: the first host is known to IAM from the start, others become so.
    pub async fn agent(&self, node: &str) -> Session {
        match node {
            HOST => {
                self.people
                    .program("plasmavmc-agent", Some(node), 3600)
                    .await
            }
            node => self.people.agent(node).await.session,
        }
    }
}

/// All services for one caller.
#[derive(Clone)]
pub struct Client {
    pub images: ImageServiceClient<Bearing>,
    pub vms: VmServiceClient<Bearing>,
    pub ssh_keys: SshKeyServiceClient<Bearing>,
    pub nodes: NodeServiceClient<Bearing>,
    pub events: EventServiceClient<Bearing>,
    pub network: prismnet::Client,
    pub iam: Caller,
}

impl Client {
    /// A VPC with a subnet.
    pub async fn subnet(&mut self) -> net::Subnet {
        self.network.network().await.1
    }

    /// A port with defaults.
    pub async fn port(&mut self, subnet: &net::Subnet, name: &str) -> net::Port {
        self.network.port(subnet, name).await
    }

    /// The id of the device that has the port.
    pub async fn device_of(&mut self, port: &net::Port) -> String {
        self.network.read_port(&port.id).await.device_id
    }

    /// A new VM.
    pub async fn create(&mut self, request: pb::CreateVmRequest) -> Result<pb::Vm, Status> {
        let response = self.vms.create_vm(request).await?;
        Ok(response.into_inner().vm.unwrap())
    }

    /// The VM as it is now.
    pub async fn get(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::GetVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.get_vm(request).await?.into_inner().vm.unwrap())
    }

    /// Deletes the VM.
    pub async fn delete(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::DeleteVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.delete_vm(request).await?.into_inner().vm.unwrap())
    }

    /// Switches the VM on.
    pub async fn start(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::StartVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.start_vm(request).await?.into_inner().vm.unwrap())
    }

    /// Switches the VM off.
    pub async fn stop(&mut self, id: &str) -> Result<pb::Vm, Status> {
        let request = pb::StopVmRequest {
            id: id.into(),
            ..Default::default()
        };
        Ok(self.vms.stop_vm(request).await?.into_inner().vm.unwrap())
    }

    /// Follows the VM until it is as wanted.
    pub async fn wait(&mut self, id: &str, wanted: impl Fn(&pb::Vm) -> bool) -> pb::Vm {
        let request = pb::WatchVmRequest {
            id: id.into(),
            ..Default::default()
        };
        let mut watch = self.vms.watch_vm(request).await.unwrap().into_inner();
        let follow = async {
            loop {
                let told = watch.message().await.unwrap().expect("it is still there");
                let vm = told.vm.unwrap();
                if wanted(&vm) {
                    return vm;
                }
            }
        };
        tokio::time::timeout(DEADLINE, follow).await.unwrap()
    }

    /// Follows the VM until it is in a phase.
    pub async fn wait_for(&mut self, id: &str, phase: pb::VmPhase) -> pb::Vm {
        self.wait(id, |vm| vm.phase() == phase).await
    }

    /// Follows the VM until it is gone.
    pub async fn wait_gone(&mut self, id: &str) {
        let request = pb::WatchVmRequest {
            id: id.into(),
            ..Default::default()
        };
        let mut watch = match self.vms.watch_vm(request).await {
            Ok(watch) => watch.into_inner(),
            Err(status) if status.code() == Code::NotFound => return,
            Err(status) => panic!("{status}"),
        };
        let follow = async {
            let mut deleted = false;
            while let Some(told) = watch.message().await.unwrap() {
                assert!(!deleted, "nothing comes after the end");
                deleted = told.deleted;
            }
            assert!(deleted);
        };
        tokio::time::timeout(DEADLINE, follow).await.unwrap();
    }
}

/// A VM of a name with interfaces on ports, and otherwise defaults.
pub fn new_vm(name: &str, ports: &[&net::Port]) -> pb::CreateVmRequest {
    let network = ports
        .iter()
        .enumerate()
        .map(|(at, port)| pb::NetworkInterface {
            id: format!("eth{at}"),
            port_id: port.id.clone(),
            ..Default::default()
        });
    pb::CreateVmRequest {
        name: name.into(),
        spec: Some(pb::VmSpec {
            network: network.collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}
