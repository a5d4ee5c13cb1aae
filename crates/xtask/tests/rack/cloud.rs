//! A host with PhotonCloud on it, and tenants whose guests run.

use std::sync::Arc;
use std::time::Duration;

use photon_api::plasmavmc::v1::{Image, Vm, VmPhase};
use photon_api::prismnet::v1::{GetPortRequest, Port, PortStatus, Subnet, Vpc};
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::{self, Endpoints};
use xtask::rack::{Host, Rack};

use crate::SECOND;

/// All tenants here use the same network.
pub const VPC: &str = "10.0.0.0/16";
pub const SUBNET: &str = "10.0.1.0/24";
pub const GATEWAY: &str = "10.0.1.1";

/// Several guests boot at once on one emulated processor, beside another rack.
pub const BOOT: Duration = Duration::from_secs(240);
const GUEST_MEMORY_MIB: u64 = 160;

pub struct Cloud {
    pub rack: Arc<Rack>,
    host: Host,
    pub endpoints: Endpoints,
    pub channels: Channels,
    pub operator: Session,
}

impl Cloud {
    pub async fn start() -> Self {
        let rack = Arc::new(Rack::start(1).await.unwrap());
        let host = rack.host(1);
        Self::on(rack, host).await
    }

    /// On one of the rack's hosts, by itself.
    pub async fn on(rack: Arc<Rack>, host: Host) -> Self {
        let programs = tokio::task::spawn_blocking(Programs::ensure)
            .await
            .unwrap()
            .unwrap();
        photoncloud::install(&host, &programs).await.unwrap();
        let endpoints = Endpoints::open(&host).await.unwrap();
        let channels = Channels::at(endpoints.urls()).unwrap();
        let password = photoncloud::operator_password(&host).await.unwrap();
        let operator = Session::open(&channels, OPERATOR, "", "", &password)
            .await
            .unwrap();
        operator.wait_for_host(BOOT).await.unwrap();
        Self {
            rack,
            host,
            endpoints,
            channels,
            operator,
        }
    }

    pub fn host(&self) -> Host {
        self.host.clone()
    }

    /// A tenant with one VPC and one subnet, like every other tenant's.
    pub async fn tenant(&self, org: &str) -> Tenant {
        let account = Account::new(org).unwrap();
        onboard(&self.operator, &account).await.unwrap();
        let (org, project) = (&account.org, &account.project);
        let session = Session::open(
            &self.channels,
            &account.user,
            org,
            project,
            &account.password,
        )
        .await
        .unwrap();
        let vpc = session.create_vpc("main", VPC).await.unwrap();
        let subnet = session
            .create_subnet(&vpc, "front", SUBNET, GATEWAY)
            .await
            .unwrap();
        let files = self.rack.guest();
        let image = session
            .import_kernel("guest", &files.kernel, &files.initrd)
            .await
            .unwrap();
        Tenant {
            session,
            vpc,
            subnet,
            image,
        }
    }
}

pub struct Tenant {
    pub session: Session,
    pub vpc: Vpc,
    pub subnet: Subnet,
    pub image: Image,
}

/// A VM and the port that it is plugged into.
pub struct Machine {
    pub vm: Vm,
    pub port: Port,
}

impl Tenant {
    /// Asks for a VM at this address; it is not up yet.
    pub async fn machine(&self, name: &str, address: &str) -> Machine {
        let port = self
            .session
            .create_port(&self.subnet, name, address)
            .await
            .unwrap();
        let vm = self
            .session
            .create_vm(name, &self.image, &port, GUEST_MEMORY_MIB)
            .await
            .unwrap();
        Machine { vm, port }
    }

    /// Waits until the guest is up and has the address of its port, by DHCP.
    pub async fn guest(&self, machine: &Machine) -> Guest<Console> {
        self.session
            .wait_for_phase(&machine.vm, VmPhase::Running, BOOT)
            .await
            .unwrap();
        let mut guest = self.session.guest(&machine.vm).await.unwrap();
        let lease = guest.lease(BOOT).await.unwrap();
        assert_eq!(lease.address, format!("{}/24", machine.port.ip_address));
        assert_eq!(lease.mac, machine.port.mac_address);
        assert_eq!(lease.gateway, GATEWAY);
        guest
    }

    pub async fn port(&self, id: &str) -> Port {
        let request = GetPortRequest {
            id: id.into(),
            ..Default::default()
        };
        self.session
            .ports()
            .get_port(request)
            .await
            .unwrap()
            .into_inner()
            .port
            .unwrap()
    }

    /// Waits until the port is so.
    pub async fn wait_for_port(&self, id: &str, status: PortStatus) -> Port {
        let deadline = tokio::time::Instant::now() + 30 * SECOND;
        loop {
            let port = self.port(id).await;
            if port.status() == status {
                return port;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the port is {:?} ({}), not {status:?}",
                port.status(),
                port.status_message
            );
            tokio::time::sleep(SECOND / 5).await;
        }
    }
}
