//! The steps of the scenario: a tenant from sign-in to its guests, whom these reach, and what a security group
//! lets through.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use photon_api::plasmavmc::v1::{Image, Vm, VmPhase};
use photon_api::prismnet::v1::{Direction, Port, Protocol, SecurityGroupRule, Subnet, Vpc};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::console::Console;
use crate::guest::{Guest, Lease};
use crate::progress::say;
use crate::{Account, Channels, Session, onboard};

/// All tenants use the same network.
pub const VPC: &str = "10.0.0.0/16";
pub const SUBNET: &str = "10.0.1.0/24";
pub const GATEWAY: &str = "10.0.1.1";

/// How long one command in a guest may take, on an emulated processor that others share.
const COMMAND: Duration = Duration::from_secs(60);

/// How soon a changed rule must be in force on the host.
const RULE: Duration = Duration::from_secs(60);

/// What guests are made of.
#[derive(Clone, Debug)]
pub struct Guests {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub memory_mib: u64,
    /// How long from CreateVm to the lease, at most.
    pub boot: Duration,
}

/// A tenant with one network.
pub struct Tenant {
    pub session: Session,
    pub vpc: Vpc,
    pub subnet: Subnet,
    pub image: Image,
    pub machines: Vec<Machine>,
}

/// A VM, the port that it is plugged into, and the guest in it.
pub struct Machine {
    pub port: Port,
    pub vm: Vm,
    pub created: Instant,
    pub guest: Option<Guest<Console>>,
    /// What the guest got, and how long after CreateVm.
    pub lease: Option<(Lease, Duration)>,
}

impl Tenant {
    /// Everything but machines: the organization, its project and administrator, who signs in and makes a
    /// network and an image.
    pub async fn set_up(
        operator: &Session,
        channels: &Channels,
        account: &Account,
        guests: &Guests,
    ) -> Result<Self> {
        onboard(operator, account).await?;
        let session = account.sign_in(channels).await?;
        let org = &account.org;
        say(format!("    {org}: {} signed in", account.user));
        let vpc = session.create_vpc("main", VPC).await?;
        let subnet = session
            .create_subnet(&vpc, "front", SUBNET, GATEWAY)
            .await?;
        say(format!("    {org}: VPC {VPC}, subnet {SUBNET}"));
        let image = session
            .import_kernel("guest", &guests.kernel, &guests.initrd)
            .await?;
        say(format!("    {org}: image {}", image.name));
        Ok(Tenant {
            session,
            vpc,
            subnet,
            image,
            machines: Vec::new(),
        })
    }

    /// Asks for one more machine, at this address, and keeps it.
    pub async fn add_machine(
        &mut self,
        name: &str,
        address: &str,
        guests: &Guests,
        host: Option<(&Session, &str)>,
    ) -> Result<()> {
        let machine = self.machine(name, address, guests, host).await?;
        let place = host.map_or(String::new(), |(_, host)| format!(" on {host}"));
        let org = &self.session.org;
        say(format!("    {org}: VM {name} at {address}{place}"));
        self.machines.push(machine);
        Ok(())
    }

    /// Asks for a machine at this address; it is not up yet.
    ///
    /// Only an operator may choose the host, so that is done with the operator's session.
    pub async fn machine(
        &self,
        name: &str,
        address: &str,
        guests: &Guests,
        host: Option<(&Session, &str)>,
    ) -> Result<Machine> {
        let session = &self.session;
        let port = session.create_port(&self.subnet, name, address).await?;
        let created = Instant::now();
        let memory = guests.memory_mib;
        let vm = match host {
            None => session.create_vm(name, &self.image, &port, memory).await?,
            Some((operator, host)) => {
                operator
                    .within(&session.org, &session.project)
                    .create_vm_on(host, name, &self.image, &port, memory)
                    .await?
            }
        };
        Ok(Machine {
            created,
            ..Machine::of(port, vm)
        })
    }
}

/// Waits until a guest has the address of its port by DHCP, and nothing else.
pub async fn lease(guest: &mut Guest<Console>, port: &Port, boot: Duration) -> Result<Lease> {
    let lease = guest.lease(boot).await?;
    let expected = format!("{}/24", port.ip_address);
    ensure!(
        lease.address == expected && lease.mac == port.mac_address && lease.gateway == GATEWAY,
        "it has {} at {} by {}, its port says {expected} at {} by {GATEWAY}",
        lease.address,
        lease.mac,
        lease.gateway,
        port.mac_address
    );
    Ok(lease)
}

impl Machine {
    /// A VM and the port that it is plugged into, from now on.
    pub fn of(port: Port, vm: Vm) -> Self {
        Machine {
            port,
            vm,
            created: Instant::now(),
            guest: None,
            lease: None,
        }
    }

    /// Waits until its host runs it, and opens its console.
    pub async fn open_console(&mut self, session: &Session, boot: Duration) -> Result<()> {
        self.vm = session
            .wait_for_phase(&self.vm, VmPhase::Running, boot)
            .await?;
        self.guest = Some(session.guest(&self.vm).await?);
        Ok(())
    }

    /// Waits until its guest has the address of its port by DHCP.
    pub async fn receive_lease(&mut self, org: &str, boot: Duration) -> Result<()> {
        let Some(guest) = &mut self.guest else {
            return Ok(());
        };
        let lease = lease(guest, &self.port, boot)
            .await
            .with_context(|| format!("{org}/{}", self.vm.name))?;
        let took = self.created.elapsed();
        say(format!("    {org}: {} got {}", self.vm.name, lease.address));
        self.lease = Some((lease, took));
        Ok(())
    }

    fn guest(&mut self) -> Result<&mut Guest<Console>> {
        self.guest
            .as_mut()
            .with_context(|| format!("the console of {} is not open", self.vm.name))
    }
}

/// Waits until all guests are up and have their leases.
pub async fn boot(tenants: &mut [Tenant], guests: &Guests) -> Result<()> {
    for tenant in &mut *tenants {
        for machine in &mut tenant.machines {
            machine.open_console(&tenant.session, guests.boot).await?;
        }
    }
    for tenant in &mut *tenants {
        for machine in &mut tenant.machines {
            machine
                .receive_lease(&tenant.session.org, guests.boot)
                .await?;
        }
    }
    Ok(())
}

/// One guest's attempt to reach one address.
#[derive(Clone, Debug, Serialize)]
pub struct Ask {
    /// `organization/VM`.
    pub from: String,
    pub to: String,
    pub reached: bool,
    /// Whether it is an address of its own VPC.
    pub expected: bool,
    /// Who answered, in the asking guest's ARP table. Two tenants may have the same address, not the same MAC.
    pub answered_by: Option<String>,
    /// The MAC of the own VPC's port with that address, if there is one.
    pub answer_expected_from: Option<String>,
}

impl Ask {
    pub fn is_as_it_must_be(&self) -> bool {
        self.reached == self.expected
            && (!self.reached || self.answered_by == self.answer_expected_from)
    }
}

/// All guests ask at once, each one address of either tenant after the other.
pub async fn reach(tenants: &mut [Tenant]) -> Result<Vec<Ask>> {
    let mut addresses: Vec<String> = tenants
        .iter()
        .flat_map(|tenant| &tenant.machines)
        .map(|machine| machine.port.ip_address.clone())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut asking = JoinSet::new();
    for (which, tenant) in tenants.iter_mut().enumerate() {
        let own: Vec<(String, String)> = tenant
            .machines
            .iter()
            .map(|machine| {
                (
                    machine.port.ip_address.clone(),
                    machine.port.mac_address.clone(),
                )
            })
            .collect();
        for (number, machine) in tenant.machines.iter_mut().enumerate() {
            let from = format!("{}/{}", tenant.session.org, machine.vm.name);
            let mut asks = Vec::new();
            for to in &addresses {
                if *to == machine.port.ip_address {
                    continue;
                }
                let mac = own.iter().find(|(address, _)| address == to);
                asks.push(Ask {
                    from: from.clone(),
                    to: to.clone(),
                    reached: false,
                    expected: mac.is_some(),
                    answered_by: None,
                    answer_expected_from: mac.map(|(_, mac)| mac.clone()),
                });
            }
            let guest = machine.guest.take();
            let guest = guest.with_context(|| format!("the console of {from} is not open"))?;
            asking.spawn(async move { Ok((which, number, ask(guest, asks).await?)) });
        }
    }
    let mut matrix = Vec::new();
    while let Some(asked) = asking.join_next().await {
        let (which, number, (guest, asks)): (usize, usize, _) = asked?.map_err(ask_failed)?;
        tenants[which].machines[number].guest = Some(guest);
        matrix.extend(asks);
    }
    matrix.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    Ok(matrix)
}

fn ask_failed(error: anyhow::Error) -> anyhow::Error {
    error.context("a guest could not be asked whom it reaches")
}

async fn ask(mut guest: Guest<Console>, mut asks: Vec<Ask>) -> Result<(Guest<Console>, Vec<Ask>)> {
    for ask in &mut asks {
        let to = &ask.to;
        let ping = format!("ping -c 3 -W 2 {to} >/dev/null");
        ask.reached = guest.run(&ping, COMMAND).await?.0 == 0;
        if ask.reached {
            let neighbour = format!("awk '$1 == \"{to}\" {{print $4}}' /proc/net/arp");
            let mac = guest.check(&neighbour, COMMAND).await?;
            ask.answered_by = Some(mac.trim().to_owned());
        }
    }
    Ok((guest, asks))
}

/// Which attempts went as they must not.
pub fn wrong(matrix: &[Ask]) -> Vec<String> {
    matrix
        .iter()
        .filter(|ask| !ask.is_as_it_must_be())
        .map(|ask| match (ask.reached, &ask.answered_by) {
            (true, Some(mac)) => {
                format!("{} to {}: reached, answered by {mac}", ask.from, ask.to)
            }
            (reached, _) => format!("{} to {}: {}", ask.from, ask.to, word(reached)),
        })
        .collect()
}

pub fn word(reached: bool) -> &'static str {
    if reached { "reached" } else { "no answer" }
}

/// How long after the change of a rule the packets followed it, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct SecurityGroup {
    pub closed_after: f64,
    pub opened_after: f64,
}

/// Takes the second machine's port into a group without rules, which shuts the first one out; a rule for the
/// first one's pings lets these in again; then all is as before.
pub async fn security_group(tenant: &mut Tenant) -> Result<SecurityGroup> {
    let session = tenant.session.clone();
    let [first, second, ..] = tenant.machines.as_mut_slice() else {
        anyhow::bail!("a security group is tried between two machines");
    };
    let group = session.create_security_group("closed").await?;
    let before = second.port.security_group_ids.clone();
    session
        .set_security_groups(&second.port, vec![group.id.clone()])
        .await?;
    let target = second.port.ip_address.clone();
    let closed_after = until_reached(first, &target, false)
        .await
        .context("a port in a security group without rules")?;
    let rule = SecurityGroupRule {
        direction: Direction::Ingress.into(),
        protocol: Protocol::Icmp.into(),
        remote_cidr: format!("{}/32", first.port.ip_address),
        ..Default::default()
    };
    session.add_rule(&group, rule).await?;
    let opened_after = until_reached(first, &target, true)
        .await
        .context("a port in a security group that lets ICMP of one address in")?;
    session.set_security_groups(&second.port, before).await?;
    session.delete_security_group(&group).await?;
    Ok(SecurityGroup {
        closed_after,
        opened_after,
    })
}

async fn until_reached(machine: &mut Machine, to: &str, wanted: bool) -> Result<f64> {
    let begun = Instant::now();
    let guest = machine.guest()?;
    let ping = format!("ping -c 1 -W 1 {to} >/dev/null");
    loop {
        let reached = guest.run(&ping, COMMAND).await?.0 == 0;
        if reached == wanted {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(
            begun.elapsed() < RULE,
            "{to} is still {} after {} s",
            if reached { "reached" } else { "out of reach" },
            RULE.as_secs()
        );
    }
}
