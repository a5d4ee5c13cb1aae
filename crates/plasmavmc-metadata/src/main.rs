//! Tells the guests of a host who they are.

use std::process::ExitCode;

use clap::Parser;
use plasmavmc_metadata::Args;

fn main() -> ExitCode {
    plasmavmc_metadata::main(&Args::parse())
}
