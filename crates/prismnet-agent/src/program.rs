//! The agent that runs until it is stopped, and the commands beside it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use photon_agent::{Agent, Cache, Command, Ready, carry_out};
use photon_api::components::PRISMNET;
use photon_host::{gateways, nft};
use photon_program::{AgentSettings, Component};
use photon_reconcile::Signal;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::convert::Parsed;
use super::desired;
use super::plan::{Observed, port_problem};
use super::reconcile::{Host, Networks};
use super::report::{self, Report};
use super::settings::Section;

/// The agent's name; `/metrics` is at the port + 1000.
pub const COMPONENT: Component = Component::agent_of(&PRISMNET);

const RECONCILER: &str = "networks";

/// Runs the agent until `shutdown`.
///
/// Errors: settings that can't work, no netlink socket. An unreachable control plane is none.
pub async fn run(settings: AgentSettings<Section>, shutdown: CancellationToken) -> Result<()> {
    let mut agent = Agent::new(COMPONENT, &settings, &PRISMNET).await?;
    let host = Host::real()?;
    desired::external_networks(settings.component.egress().interfaces.into_keys());
    let known = agent.follow(Cache::<Parsed>::in_directory(&settings.state_dir));
    let reports = watch::Sender::new(Report::default());
    agent.report(reports.subscribe(), report::send);
    agent.watch(host.links.changes());
    agent.watch(nft::changes()?);
    let networks = Networks::new(
        host,
        known,
        reports,
        memory_file(&settings),
        settings.component.limits(),
        settings.component.underlay_mtu(),
        settings.component.egress(),
    );
    agent
        .drive(RECONCILER, networks, Ready::AfterFirstPass, shutdown)
        .await;
    Ok(())
}

fn memory_file(settings: &AgentSettings<Section>) -> PathBuf {
    settings.state_dir.join("filter.json")
}

/// Runs one of the operator's commands.
///
/// Errors: no desired state, or what goes wrong with the host.
pub async fn run_command(settings: AgentSettings<Section>, command: Command) -> Result<()> {
    if command.changes() {
        std::fs::create_dir_all(&settings.state_dir)?;
    }
    let cache = Cache::<Parsed>::in_directory(&settings.state_dir);
    let parsed = command.desired(&cache).await?;
    for (port, reason) in &parsed.refused {
        eprintln!("port {port} is left out: {reason}");
    }
    let known = watch::Sender::new(Some(parsed.clone()));
    let reports = watch::Sender::new(Report::default());
    let mut networks = Networks::new(
        Host::real()?,
        known.subscribe(),
        reports,
        memory_file(&settings),
        settings.component.limits(),
        settings.component.underlay_mtu(),
        settings.component.egress(),
    );
    let ports = |(_, observed): &(_, Observed), _: &_| {
        let ports = parsed.desired.ports().map(|(_, subnet, port)| {
            let problem = port_problem(subnet, port, &observed.links);
            json!({ "port": port.id, "interface": port.tap(), "problem": problem })
        });
        let refused = &parsed.refused;
        let refused = refused
            .iter()
            .map(|(id, reason)| json!({ "port": id, "problem": reason.to_string() }));
        json!({
            "revision": parsed.desired.revision,
            "ports": ports.chain(refused).collect::<Vec<_>>(),
        })
    };
    // Nothing tells of changes: what networkd does is waited for within a pass.
    let signal = Signal::new();
    carry_out(&command, COMPONENT, &mut networks, &signal, || true, ports).await
}

/// Makes the network namespace that this runs in what the file of a NAT gateway says. The exit code is 1 after an error, which
/// was said.
pub fn gateway(name: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let work = gateways::set_up(Path::new(gateways::DIRECTORY), name);
            runtime.block_on(work).map_err(anyhow::Error::from)
        }
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
