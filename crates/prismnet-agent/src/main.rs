//! The agent of PrismNET on a host.

use std::process::ExitCode;

use clap::Parser;
use photon_agent::Command;
use photon_program::AgentArgs;
use prismnet_agent::{COMPONENT, run, run_command};

/// Makes this host's tenant networks what the control plane says they should be
#[derive(Parser)]
#[command(name = "prismnet-agent", version)]
struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Without a command: run until stopped
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    photon_agent::main(COMPONENT, &args.agent, args.command, run, run_command)
}
