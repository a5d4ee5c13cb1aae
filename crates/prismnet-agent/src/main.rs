//! The agent of PrismNET on a host.

use std::process::ExitCode;

use clap::Parser;
use photon_agent::Command;
use photon_program::AgentArgs;
use prismnet_agent::{COMPONENT, gateway, run, run_command};

/// Makes this host's tenant networks what the control plane says they should be
#[derive(Parser)]
#[command(name = "prismnet-agent", version)]
struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Without a command: run until stopped
    #[command(subcommand)]
    command: Option<Command>,
    /// Instead: make the network namespace that this runs in the NAT gateway of this name (photon-gateway@NAME.service)
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(name) = &args.gateway {
        return gateway(name);
    }
    photon_agent::main(COMPONENT, &args.agent, args.command, run, run_command)
}
