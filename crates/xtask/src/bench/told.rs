//! CreateVm until the agent of its host is told, with ever more VMs on that host, and what a port adds. The agent is
//! scripted: it says that it is there and follows what it should have, as a real one; nothing is started.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use photon_api::plasmavmc::v1::{CreateVmRequest, ListVmsRequest, NetworkInterface, VmSpec};
use photon_api::prismnet::v1::Port;
use photon_e2e::Session;
use tokio::task::JoinSet;

use super::figures::{Figure, Times};
use crate::native::agent::Agent;
use crate::native::servers::Servers;

const PART: &str =
    "CreateVm (programs as processes, gRPC over loopback, SQLite on disk; a scripted agent)";
/// VMs on the host when its next ones are measured.
const HOST_HAS: [usize; 3] = [10, 1000, 3000];
/// VMs that are made to measure, each way.
const CALLS: usize = 60;
/// VMs that fill the host, made at the same time.
const FILLING: usize = 16;
const LISTS: usize = 20;

fn new_vm(tenant: &Session, name: &str, port: Option<&Port>) -> CreateVmRequest {
    let network = port.map(|port| NetworkInterface {
        id: "eth0".into(),
        port_id: port.id.clone(),
        ..Default::default()
    });
    CreateVmRequest {
        name: name.into(),
        org_id: tenant.org.clone(),
        project_id: tenant.project.clone(),
        spec: Some(VmSpec {
            vcpus: 1,
            memory_mib: 64,
            network: network.into_iter().collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Makes VMs until the host has so many.
async fn fill(tenant: &Session, from: usize, to: usize) -> Result<()> {
    let mut work = JoinSet::new();
    for number in from..to {
        if work.len() >= FILLING {
            work.join_next().await.context("one was begun")???;
        }
        let tenant = tenant.clone();
        work.spawn(async move {
            let request = new_vm(&tenant, &format!("fill-{number}"), None);
            let made = tenant.call(request).await;
            made.context("a VM cannot be made").map(drop)
        });
    }
    while let Some(done) = work.join_next().await {
        done??;
    }
    Ok(())
}

/// Calls one after the other, and how long until the agent was told.
struct Made {
    calls: Times,
    told: Times,
    bytes: usize,
}

impl Made {
    fn new() -> Self {
        Self {
            calls: Times::default(),
            told: Times::default(),
            bytes: 0,
        }
    }

    async fn one(
        &mut self,
        tenant: &Session,
        agent: &mut Agent,
        name: &str,
        port: Option<&Port>,
    ) -> Result<()> {
        let request = new_vm(tenant, name, port);
        let asked = Instant::now();
        tenant.call(request).await?;
        self.calls.push(asked.elapsed());
        let (at, bytes) = agent.told(name).await?;
        self.told.push(at - asked);
        self.bytes = bytes;
        Ok(())
    }
}

pub async fn measure(servers: &Servers) -> Result<Vec<Figure>> {
    let tenant = &servers.tenant;
    let plasmavmc = servers.plasmavmc().await?;
    let mut agent = Agent::start(servers).await?;
    let mut figures = Vec::new();
    let mut there = 0;
    for host_has in HOST_HAS {
        fill(tenant, there, host_has).await?;
        there = host_has;
        let mut made = Made::new();
        for number in 0..CALLS {
            let name = format!("told-{host_has}-{number}");
            made.one(tenant, &mut agent, &name, None).await?;
        }
        there += CALLS;
        let (p50, p99) = (made.told.quantile_ms(0.5), made.told.quantile_ms(0.99));
        let note = format!(
            "p99 {p99:.1} ms; the call itself p50 {:.1} ms; the message has {} bytes",
            made.calls.quantile_ms(0.5),
            made.bytes
        );
        let what = format!("until the agent is told, {host_has} VMs on its host");
        figures.push(Figure::of(PART, what, "ms", &[p50]).below(10.0).note(note));
        if figures.len() == 1 {
            figures.extend(ports(tenant, &mut agent).await?);
            there += 2 * CALLS;
        }
    }
    figures.push(list(tenant).await?);
    plasmavmc.stop().await?;
    Ok(figures)
}

/// With and without a port, in turn.
async fn ports(tenant: &Session, agent: &mut Agent) -> Result<Vec<Figure>> {
    let vpc = tenant.create_vpc("told", "10.0.0.0/8").await?;
    let subnet = tenant
        .create_subnet(&vpc, "told", "10.1.0.0/16", "10.1.0.1")
        .await?;
    let mut ports = Vec::new();
    for number in 0..CALLS {
        let name = format!("told-{number}");
        ports.push(tenant.create_port(&subnet, &name, "").await?);
    }
    let (mut without, mut with) = (Made::new(), Made::new());
    for (number, port) in ports.iter().enumerate() {
        let name = format!("without-{number}");
        without.one(tenant, agent, &name, None).await?;
        let name = format!("with-{number}");
        with.one(tenant, agent, &name, Some(port)).await?;
    }
    let medians = |made: &mut Made| (made.calls.quantile_ms(0.5), made.told.quantile_ms(0.5));
    let ((call, told), (call_with, told_with)) = (medians(&mut without), medians(&mut with));
    let note = format!(
        "p50 {call_with:.1} ms with, {call:.1} ms without; until the agent is told {told_with:.1} and {told:.1} ms"
    );
    Ok(vec![
        Figure::of(
            PART,
            "what a port adds to the call",
            "ms",
            &[call_with - call],
        )
        .below(2.0)
        .note(note),
        Figure::of(
            PART,
            "what a port adds until the agent is told",
            "ms",
            &[told_with - told],
        ),
    ])
}

async fn list(tenant: &Session) -> Result<Figure> {
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let request = ListVmsRequest {
            org_id: tenant.org.clone(),
            project_id: tenant.project.clone(),
            page_size: 1000,
            ..Default::default()
        };
        let asked = Instant::now();
        let page = tenant.call(request).await?;
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
        if page.vms.len() != 1000 {
            bail!("ListVms answered {} of 1000 VMs", page.vms.len());
        }
    }
    Ok(Figure::of(PART, "ListVms of 1,000", "ms", &times).below(15.0))
}
