//! The agent that runs until it is stopped.

use std::sync::Arc;

use anyhow::Result;
use photon_agent::{Agent, Cache, Ready};
use photon_api::components::FLASHDNS;
use photon_host::links::{Links, Netlink};
use photon_program::{AgentSettings, Component};
use tokio_util::sync::CancellationToken;

use crate::parsed::Parsed;
use crate::reconcile::{Answering, Resolver};
use crate::settings::Section;

/// The agent's name; `/metrics` is at the port + 1000.
pub const COMPONENT: Component = Component::agent_of(&FLASHDNS);

/// Runs the agent until `shutdown`.
///
/// Errors: settings that can't work, no netlink socket. An unreachable control plane is none.
pub async fn run(settings: AgentSettings<Section>, shutdown: CancellationToken) -> Result<()> {
    let mut agent = Agent::new(COMPONENT, &settings, &FLASHDNS).await?;
    let links = Arc::new(Netlink::new()?);
    let known = agent.follow(Cache::<Parsed>::in_directory(&settings.state_dir));
    agent.watch(links.changes());
    let answering = Answering {
        rate: settings.component.rate(),
        upstream: settings.component.upstream(),
        denied: settings.component.denied(),
    };
    let resolver = Resolver::new(links, known, answering);
    agent
        .drive("names", resolver, Ready::AfterFirstPass, shutdown)
        .await;
    Ok(())
}
