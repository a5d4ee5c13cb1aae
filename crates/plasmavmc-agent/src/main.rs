//! Runs the VMs of a host.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use photon_program::AgentArgs;
use plasmavmc_agent::hypervisor::power_down;
use plasmavmc_agent::{COMPONENT, run, run_command};

/// Makes this host run the VMs that plasmavmc-server placed on it
#[derive(Parser)]
#[command(name = "plasmavmc-agent", version)]
struct Cli {
    #[command(flatten)]
    agent: AgentArgs,
    /// Without a command: run until stopped
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Operator(photon_agent::Command),
    /// Ask a guest to power down and wait for it: the stop command of a VM's unit
    #[command(hide = true)]
    PowerDown(PowerDownArgs),
}

#[derive(Args)]
struct PowerDownArgs {
    /// Monitor socket
    socket: PathBuf,
    /// File with how long the guest has, in seconds
    #[arg(long)]
    timeout_file: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let command = match cli.command {
        Some(Command::PowerDown(args)) => return power_down(&args),
        Some(Command::Operator(command)) => Some(command),
        None => None,
    };
    photon_agent::main(COMPONENT, &cli.agent, command, run, run_command)
}

fn power_down(args: &PowerDownArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let allowance = power_down::allowance(&args.timeout_file);
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| Ok(runtime.block_on(power_down::power_down(&args.socket, allowance))?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the guest can't be asked to power down: {error:#}");
            ExitCode::FAILURE
        }
    }
}
