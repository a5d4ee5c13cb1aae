//! The agent of FlashDNS on a host.

use std::process::ExitCode;

use clap::Parser;
use flashdns_agent::{COMPONENT, run};
use photon_program::{AgentArgs, agent_main};

/// Answers the names that this host's guests ask for
#[derive(Parser)]
#[command(name = "flashdns-agent", version)]
struct Args {
    #[command(flatten)]
    agent: AgentArgs,
}

fn main() -> ExitCode {
    agent_main(COMPONENT, &Args::parse().agent, run)
}
