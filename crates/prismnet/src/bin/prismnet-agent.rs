//! The agent of PrismNET on a host.

use std::process::ExitCode;

use clap::Parser;
use photon_program::AgentArgs;
use prismnet::agent::{COMPONENT, Command, run, run_command};

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
    let command = args.command;
    let mut agent = args.agent;
    if command.is_some() && agent.common.metrics_listen.is_none() {
        // The agent that runs has the port.
        agent.common.metrics_listen = Some("off".to_owned());
    }
    photon_program::agent_main::<(), _, _>(COMPONENT, &agent, |settings, shutdown| async move {
        match command {
            Some(command) => run_command(settings, command).await,
            None => run(settings, shutdown).await,
        }
    })
}
