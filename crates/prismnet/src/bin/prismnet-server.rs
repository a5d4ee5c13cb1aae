//! The control plane of networks: keeps VPCs, subnets, ports and security groups, and tells every host what
//! should exist on it.

use std::process::ExitCode;

use clap::Parser;
use photon_program::ServerArgs;

/// PrismNET's server: VPCs, subnets, ports, security groups.
#[derive(Parser)]
#[command(name = "prismnet-server", version, about)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> ExitCode {
    photon_service::main(prismnet::COMPONENT, &Args::parse().server, prismnet::run)
}
