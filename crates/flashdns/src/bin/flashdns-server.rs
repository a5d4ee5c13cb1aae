//! The control plane of names: follows which VMs have which addresses in which VPCs, and tells every host what its
//! guests may ask for.

use std::process::ExitCode;

use clap::Parser;
use photon_program::ServerArgs;

/// FlashDNS' server: names of VMs
#[derive(Parser)]
#[command(name = "flashdns-server", version, about)]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> ExitCode {
    photon_service::main(flashdns::COMPONENT, &Args::parse().server, flashdns::run)
}
