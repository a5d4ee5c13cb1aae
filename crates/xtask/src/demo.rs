//! `cargo xtask demo`: two tenants with the same addresses, from sign-in to guests that talk inside
//! their own network and not outside it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use photon_api::plasmavmc::v1::{Vm, VmPhase};
use photon_api::prismnet::v1::{Port, Subnet, Vpc};
use tokio::task::JoinSet;

use crate::photoncloud::programs::Programs;
use crate::photoncloud::{self, Endpoints};
use crate::progress::{Step, human, say};
use crate::rack::Rack;
use photon_e2e::console::Console;
use photon_e2e::guest::{Guest, Lease};
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};

/// Both tenants use the same network, and one address of it twice.
const VPC: &str = "10.0.0.0/16";
const SUBNET: &str = "10.0.1.0/24";
const GATEWAY: &str = "10.0.1.1";
const TENANTS: [(&str, [&str; 2]); 2] = [
    ("acme", ["10.0.1.10", "10.0.1.11"]),
    ("globex", ["10.0.1.10", "10.0.1.12"]),
];
const GUEST_MEMORY_MIB: u64 = 192;

/// Four guests boot on one emulated processor.
const BOOT: Duration = Duration::from_secs(180);

/// An agent that began before the servers were there tries again after a moment.
const HOST: Duration = Duration::from_secs(30);

struct Tenant {
    session: Session,
    vpc: Vpc,
    subnet: Subnet,
    machines: Vec<Machine>,
}

struct Machine {
    port: Port,
    vm: Vm,
    created: Instant,
    guest: Option<Guest<Console>>,
    lease: Option<(Lease, Duration)>,
}

pub async fn run() -> Result<()> {
    let begun = Instant::now();
    let programs = tokio::task::spawn_blocking(Programs::ensure).await??;
    let step = Step::begin("booting a host");
    let rack = Rack::start(1).await?;
    let booted = step.end();
    let host = rack.host(1);
    let step = Step::begin("starting PhotonCloud on it");
    photoncloud::install(&host, &programs).await?;
    let started = step.end();
    let endpoints = Endpoints::open(&host).await?;
    let channels = Channels::at(endpoints.urls())?;

    let step = Step::begin("taking two tenants from sign-in to VMs");
    let password = photoncloud::operator_password(&host).await?;
    let operator = Session::open(&channels, OPERATOR, "", "", &password).await?;
    say("    the operator signed in");
    operator.wait_for_host(HOST).await?;
    let mut tenants = Vec::new();
    for (org, addresses) in TENANTS {
        let account = Account::new(org)?;
        tenants.push(set_up(&rack, &operator, &channels, &account, addresses).await?);
    }
    let requested = step.end();

    let step = Step::begin("waiting for the guests");
    for tenant in &mut tenants {
        for machine in &mut tenant.machines {
            open_console(&tenant.session, machine).await?;
        }
    }
    for tenant in &mut tenants {
        for machine in &mut tenant.machines {
            receive_lease(&tenant.session.org, machine).await?;
        }
    }
    let leased = step.end();

    let step = Step::begin("asking every guest whom it reaches");
    let matrix = reach(&mut tenants).await?;
    let asked = step.end();

    summary(&tenants, &matrix);
    say(format!(
        "\ntimes: host {}, PhotonCloud {}, requests {}, guests {}, reachability {}; in all {}",
        human(booted),
        human(started),
        human(requested),
        human(leased),
        human(asked),
        human(begun.elapsed())
    ));
    let wrong: Vec<String> = matrix
        .iter()
        .filter(|ask| ask.reached != ask.expected)
        .map(|ask| format!("{} to {}: {}", ask.from, ask.to, word(ask.reached)))
        .collect();
    ensure!(
        wrong.is_empty(),
        "who reaches whom is not as it must be: {}",
        wrong.join("; ")
    );
    Ok(())
}

async fn set_up(
    rack: &Rack,
    operator: &Session,
    channels: &Channels,
    account: &Account,
    addresses: [&str; 2],
) -> Result<Tenant> {
    onboard(operator, account).await?;
    let (org, project) = (&account.org, &account.project);
    let session = Session::open(channels, &account.user, org, project, &account.password).await?;
    say(format!("    {org}: {} signed in", account.user));
    let vpc = session.create_vpc("main", VPC).await?;
    let subnet = session
        .create_subnet(&vpc, "front", SUBNET, GATEWAY)
        .await?;
    say(format!("    {org}: VPC {VPC}, subnet {SUBNET}"));
    let files = rack.guest();
    let image = session
        .import_kernel("guest", &files.kernel_unpacked, &files.initrd)
        .await?;
    say(format!("    {org}: image {}", image.name));
    let mut machines = Vec::new();
    for (number, address) in (1..).zip(addresses) {
        let name = format!("vm{number}");
        let port = session.create_port(&subnet, &name, address).await?;
        let created = Instant::now();
        let vm = session
            .create_vm(&name, &image, &port, GUEST_MEMORY_MIB)
            .await?;
        say(format!("    {org}: VM {name} at {address}"));
        machines.push(Machine {
            port,
            vm,
            created,
            guest: None,
            lease: None,
        });
    }
    Ok(Tenant {
        session,
        vpc,
        subnet,
        machines,
    })
}

async fn open_console(session: &Session, machine: &mut Machine) -> Result<()> {
    machine.vm = session
        .wait_for_phase(&machine.vm, VmPhase::Running, BOOT)
        .await?;
    machine.guest = Some(session.guest(&machine.vm).await?);
    Ok(())
}

async fn receive_lease(org: &str, machine: &mut Machine) -> Result<()> {
    if let Some(guest) = &mut machine.guest {
        let lease = guest.lease(BOOT).await?;
        let took = machine.created.elapsed();
        say(format!(
            "    {org}: {} got {}",
            machine.vm.name, lease.address
        ));
        let expected = format!("{}/24", machine.port.ip_address);
        ensure!(
            lease.address == expected && lease.mac == machine.port.mac_address,
            "{} has {} at {}, its port says {expected} at {}",
            machine.vm.name,
            lease.address,
            lease.mac,
            machine.port.mac_address
        );
        machine.lease = Some((lease, took));
    }
    Ok(())
}

/// One guest's attempt to reach one address.
struct Ask {
    from: String,
    to: String,
    reached: bool,
    expected: bool,
}

/// All guests ask at once, each one address after the other.
async fn reach(tenants: &mut [Tenant]) -> Result<Vec<Ask>> {
    let mut addresses: Vec<&str> = TENANTS.iter().flat_map(|(_, all)| *all).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut asking = JoinSet::new();
    for tenant in tenants {
        let own: Vec<String> = tenant
            .machines
            .iter()
            .map(|machine| machine.port.ip_address.clone())
            .collect();
        for machine in &mut tenant.machines {
            let Some(guest) = machine.guest.take() else {
                continue;
            };
            let from = format!("{}/{}", tenant.session.org, machine.vm.name);
            let others = addresses
                .iter()
                .filter(|to| **to != machine.port.ip_address)
                .map(|to| (*to, own.iter().any(|address| address == to)))
                .collect();
            asking.spawn(ask(guest, from, others));
        }
    }
    let mut matrix = Vec::new();
    while let Some(asked) = asking.join_next().await {
        matrix.extend(asked??);
    }
    matrix.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    Ok(matrix)
}

async fn ask(
    mut guest: Guest<Console>,
    from: String,
    others: Vec<(&'static str, bool)>,
) -> Result<Vec<Ask>> {
    let mut asked = Vec::new();
    for (to, expected) in others {
        let ping = format!("ping -c 3 -W 2 {to} >/dev/null");
        let (status, _) = guest.run(&ping, Duration::from_secs(60)).await?;
        asked.push(Ask {
            from: from.clone(),
            to: to.to_owned(),
            reached: status == 0,
            expected,
        });
    }
    Ok(asked)
}

fn word(reached: bool) -> &'static str {
    if reached { "reached" } else { "no answer" }
}

fn summary(tenants: &[Tenant], matrix: &[Ask]) {
    println!("\ntenants");
    for tenant in tenants {
        println!(
            "  {:8} project {}, token until {} (seconds since 1970)",
            tenant.session.org, tenant.session.project, tenant.session.expires_at
        );
        println!(
            "           VPC {} {}, subnet {} {}",
            tenant.vpc.name, tenant.vpc.cidr, tenant.subnet.name, tenant.subnet.cidr
        );
    }
    println!("\nguests");
    for tenant in tenants {
        for machine in &tenant.machines {
            if let Some((lease, took)) = &machine.lease {
                println!(
                    "  {:12} {:15} {}  gateway {}, {} after CreateVm, unit {}",
                    format!("{}/{}", tenant.session.org, machine.vm.name),
                    lease.address,
                    lease.mac,
                    lease.gateway,
                    human(*took),
                    machine.vm.unit
                );
            }
        }
    }
    println!("\nwho reaches whom");
    for ask in matrix {
        println!(
            "  {:12} to {:10} {:10} ({})",
            ask.from,
            ask.to,
            word(ask.reached),
            if ask.expected {
                "in its own VPC"
            } else {
                "only the other tenant has it"
            }
        );
    }
}
