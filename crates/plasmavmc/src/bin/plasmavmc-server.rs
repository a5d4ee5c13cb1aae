//! `plasmavmc-server`: images, VMs, and which host runs what.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "plasmavmc-server",
    version,
    about = "Images, VMs, and which host runs what"
)]
struct Args {
    #[command(flatten)]
    server: photon_program::ServerArgs,
}

fn main() -> ExitCode {
    let args = Args::parse();
    photon_service::main(plasmavmc::COMPONENT, &args.server, plasmavmc::run)
}
