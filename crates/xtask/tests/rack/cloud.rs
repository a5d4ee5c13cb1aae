//! A host with PhotonCloud on it, and tenants whose guests run.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use photon_api::plasmavmc::v1::VmPhase;
use photon_api::prismnet::v1::{GetPortRequest, Port, PortStatus, Subnet};
use photon_e2e::console::Console;
use photon_e2e::guest::Guest;
pub use photon_e2e::scenario::Machine;
use photon_e2e::scenario::{self, Guests};
use photon_e2e::{Account, Channels, OPERATOR, Session};
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::{self, Endpoints};
use xtask::rack::{Host, Rack};

use crate::SECOND;

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
        Self::reached(rack, host).await
    }

    /// Whose servers are at the loopback addresses of a host of the rack.
    pub async fn reached(rack: Arc<Rack>, host: Host) -> Self {
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
        let files = self.rack.guest();
        let guests = Guests {
            kernel: files.kernel.clone(),
            initrd: files.initrd.clone(),
            memory_mib: GUEST_MEMORY_MIB,
            boot: BOOT,
        };
        let account = Account::new(org).unwrap();
        let made = scenario::Tenant::set_up(&self.operator, &self.channels, &account, &guests);
        Tenant {
            made: made.await.unwrap(),
            guests,
        }
    }
}

/// The scenario's tenant, whose steps must not fail here.
pub struct Tenant {
    made: scenario::Tenant,
    guests: Guests,
}

impl Deref for Tenant {
    type Target = scenario::Tenant;

    fn deref(&self) -> &Self::Target {
        &self.made
    }
}

impl Tenant {
    /// Asks for a VM at this address; it is not up yet.
    pub async fn machine(&self, name: &str, address: &str) -> Machine {
        let machine = self.made.machine(name, address, &self.guests, None);
        machine.await.unwrap()
    }

    /// The same, on this host and in this subnet.
    pub async fn machine_on(
        &self,
        operator: &Session,
        host: &str,
        subnet: &Subnet,
        (name, address): (&str, &str),
    ) -> Machine {
        let port = self.session.create_port(subnet, name, address).await;
        let port = port.unwrap();
        let vm = operator
            .within(&self.session.org, &self.session.project)
            .create_vm_on(host, name, &self.made.image, &port, self.guests.memory_mib)
            .await
            .unwrap();
        Machine::of(port, vm)
    }

    /// Waits until the guest is up and has some address, by DHCP.
    pub async fn booted(&self, machine: &Machine) -> Guest<Console> {
        let mut guest = self.console(machine).await;
        guest.lease(BOOT).await.unwrap();
        guest
    }

    async fn console(&self, machine: &Machine) -> Guest<Console> {
        self.session
            .wait_for_phase(&machine.vm, VmPhase::Running, BOOT)
            .await
            .unwrap();
        self.session.guest(&machine.vm).await.unwrap()
    }

    /// Waits until the guest is up and has the address of its port, by DHCP.
    pub async fn guest(&self, machine: &Machine) -> Guest<Console> {
        let mut guest = self.console(machine).await;
        scenario::lease(&mut guest, &machine.port, BOOT)
            .await
            .unwrap();
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
