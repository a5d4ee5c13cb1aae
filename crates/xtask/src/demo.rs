//! `cargo xtask demo`: two tenants with the same addresses, from sign-in to guests that talk inside
//! their own network and not outside it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use photon_e2e::scenario::{self, Ask, Guests, Tenant, word};
use photon_e2e::tenant_path::TENANTS;
use photon_e2e::{Account, Channels, OPERATOR, Session};

use crate::photoncloud::{self, Endpoints};
use crate::prepare::prepare;
use crate::progress::{Step, human, say};
use crate::rack::Rack;

/// What the test guest needs. With what QEMU takes beside it, the host has room for four.
const GUEST_MEMORY_MIB: u64 = 160;

/// Four guests boot on one emulated processor.
const BOOT: Duration = Duration::from_secs(180);

/// An agent that began before the servers were there tries again after a moment.
const HOST: Duration = Duration::from_secs(30);

pub async fn run() -> Result<()> {
    let begun = Instant::now();
    let prepared = tokio::task::spawn_blocking(prepare).await??;
    let made = begun.elapsed();
    let step = Step::begin("booting a host");
    let rack = Rack::start(1).await?;
    let booted = step.end();
    let host = rack.host(1);
    let step = Step::begin("starting PhotonCloud on it");
    photoncloud::install(&host, &prepared.programs).await?;
    let started = step.end();
    let endpoints = Endpoints::open(&host).await?;
    let channels = Channels::at(endpoints.urls())?;

    let step = Step::begin("taking two tenants from sign-in to VMs");
    let password = photoncloud::operator_password(&host).await?;
    let operator = Session::open(&channels, OPERATOR, "", "", &password).await?;
    say("    the operator signed in");
    operator.wait_for_host(HOST).await?;
    let guests = Guests {
        kernel: rack.guest().kernel_unpacked,
        initrd: rack.guest().initrd,
        memory_mib: GUEST_MEMORY_MIB,
        boot: BOOT,
    };
    let mut tenants = Vec::new();
    for (org, addresses) in TENANTS {
        let account = Account::new(org)?;
        let mut tenant = Tenant::set_up(&operator, &channels, &account, &guests).await?;
        for (number, address) in (1..).zip(addresses) {
            let name = format!("vm{number}");
            tenant.add_machine(&name, address, &guests, None).await?;
        }
        tenants.push(tenant);
    }
    let requested = step.end();

    let step = Step::begin("waiting for the guests");
    scenario::boot(&mut tenants, &guests).await?;
    let leased = step.end();

    let step = Step::begin("asking every guest whom it reaches");
    let matrix = scenario::reach(&mut tenants).await?;
    let asked = step.end();

    summary(&tenants, &matrix);
    say(format!(
        "\ntimes: programs and images {}, host {}, PhotonCloud {}, requests {}, guests {}, reachability {}; in all {}",
        human(made),
        human(booted),
        human(started),
        human(requested),
        human(leased),
        human(asked),
        human(begun.elapsed())
    ));
    let wrong = scenario::wrong(&matrix);
    ensure!(
        wrong.is_empty(),
        "who reaches whom is not as it must be: {}",
        wrong.join("; ")
    );
    Ok(())
}

fn summary(tenants: &[Tenant], matrix: &[Ask]) {
    println!("\ntenants");
    for tenant in tenants {
        let until = prost_types::Timestamp {
            seconds: tenant.session.expires_at(),
            nanos: 0,
        };
        println!(
            "  {:8} project {}, token until {until}",
            tenant.session.org, tenant.session.project
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
