//! The tenant path: two tenants with the same network and one equal address, from sign-in to guests that talk
//! inside their own network and not outside it, and away again.

use std::time::Instant;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::Session;
use crate::audit::{self, Chain};
use crate::progress::{human, say};
use crate::removal;
use crate::run::Run;
use crate::scenario::{self, Ask, SecurityGroup, Tenant};

/// The first machine of each has the very same address.
pub const TENANTS: [(&str, [&str; 2]); 2] = [
    ("acme", ["10.0.1.10", "10.0.1.11"]),
    ("globex", ["10.0.1.10", "10.0.1.12"]),
];

/// What was seen.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub ok: bool,
    pub error: Option<String>,
    pub guests: Vec<Guest>,
    pub reachability: Vec<Ask>,
    pub security_group: Option<SecurityGroup>,
    pub audit: Vec<Chain>,
    /// Whether everything was deleted at the end, and is gone.
    pub removed: bool,
    /// How long each step took.
    pub steps: Vec<Step>,
}

/// A guest that got its lease.
#[derive(Debug, Serialize)]
pub struct Guest {
    /// `organization/VM`.
    pub name: String,
    pub host: String,
    pub unit: String,
    pub accelerator: String,
    pub address: String,
    pub mac: String,
    pub gateway: String,
    pub seconds_to_lease: f64,
}

#[derive(Debug, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub seconds: f64,
}

impl Report {
    fn done(&mut self, name: &'static str, begun: Instant) {
        let took = begun.elapsed();
        say(format!("    {name}: {}", human(took)));
        self.steps.push(Step {
            name,
            seconds: took.as_secs_f64(),
        });
    }
}

/// Runs it; the report has how far it came.
pub async fn run(run: &Run) -> Report {
    let mut report = Report::default();
    let outcome = run.guarded(carry_out(run, &mut report)).await;
    report.ok = outcome.is_ok();
    report.error = outcome.err().map(|error| format!("{error:#}"));
    report
}

async fn carry_out(run: &Run, report: &mut Report) -> Result<()> {
    let begun = Instant::now();
    say("==> taking two tenants from sign-in to VMs");
    let operator = run.sign_in().await?;
    let hosts = run.hosts(&operator).await?;
    let mut next = hosts.iter().cycle();
    let mut tenants = Vec::new();
    for (name, addresses) in TENANTS {
        let account = run.account(name)?;
        let mut tenant = Tenant::set_up(&operator, &run.channels, &account, &run.guests).await?;
        for (number, address) in (1..).zip(addresses) {
            let host = next.next().map(|host| (&operator, host.as_str()));
            let name = format!("vm{number}");
            tenant
                .add_machine(&name, address, &run.guests, host)
                .await?;
        }
        tenants.push(tenant);
    }
    report.done("requests", begun);

    let begun = Instant::now();
    say("==> waiting for the guests");
    scenario::boot(&mut tenants, &run.guests).await?;
    report.guests = guests(&tenants);
    report.done("guests", begun);

    let begun = Instant::now();
    say("==> asking every guest whom it reaches");
    report.reachability = scenario::reach(&mut tenants).await?;
    let wrong = scenario::wrong(&report.reachability);
    if !wrong.is_empty() {
        bail!(
            "who reaches whom is not as it must be: {}",
            wrong.join("; ")
        );
    }
    report.done("reachability", begun);

    let begun = Instant::now();
    say("==> shutting a security group and opening it");
    let [acme, _] = tenants.as_mut_slice() else {
        bail!("there are two tenants");
    };
    report.security_group = Some(scenario::security_group(acme).await?);
    report.done("security group", begun);

    let begun = Instant::now();
    say("==> verifying the record of events");
    let orgs = tenants.iter().map(|tenant| tenant.session.org.as_str());
    for org in orgs.chain([audit::SYSTEM]) {
        report.audit.extend(audit::verify(&operator, org).await?);
    }
    audit::judge(&report.audit)?;
    report.done("audit", begun);

    if !run.keep {
        let begun = Instant::now();
        say("==> removing everything");
        // The token of before may have expired.
        remove(&run.sign_in().await?, tenants).await?;
        report.removed = true;
        report.done("removal", begun);
    }
    Ok(())
}

async fn remove(operator: &Session, tenants: Vec<Tenant>) -> Result<()> {
    for tenant in tenants {
        removal::remove(operator, &tenant.session.org).await?;
    }
    Ok(())
}

/// What is known of the guests that have their leases.
pub fn guests(tenants: &[Tenant]) -> Vec<Guest> {
    let mut guests = Vec::new();
    for tenant in tenants {
        for machine in &tenant.machines {
            let Some((lease, took)) = &machine.lease else {
                continue;
            };
            guests.push(Guest {
                name: format!("{}/{}", tenant.session.org, machine.vm.name),
                host: machine.vm.node.clone(),
                unit: machine.vm.unit.clone(),
                accelerator: machine.vm.accelerator.clone(),
                address: lease.address.clone(),
                mac: lease.mac.clone(),
                gateway: lease.gateway.clone(),
                seconds_to_lease: took.as_secs_f64(),
            });
        }
    }
    guests
}
