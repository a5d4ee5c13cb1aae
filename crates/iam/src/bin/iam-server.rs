//! `iam-server`: IAM's program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Identities, tokens and authorization of PhotonCloud.
#[derive(Debug, Parser)]
#[command(name = "iam-server", version, about)]
struct Args {
    #[command(flatten)]
    server: photon_program::ServerArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the operator's password and the API keys of the cloud's own programs, each in a file of mode 0600 that
    /// systemd hands on as a credential. What is there already stays as it is.
    Bootstrap {
        /// Where the files are; made (mode 0700) if it is not there.
        #[arg(long, value_name = "DIR")]
        credentials_dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        None => photon_service::main(iam::COMPONENT, &args.server, iam::run),
        Some(Command::Bootstrap { credentials_dir }) => bootstrap(&credentials_dir),
    }
}

fn bootstrap(dir: &std::path::Path) -> ExitCode {
    match iam::app::bootstrap::make_credentials(dir) {
        Ok(made) if made.is_empty() => println!("{}: everything is there", dir.display()),
        Ok(made) => println!("{}: made {}", dir.display(), made.join(", ")),
        Err(error) => {
            eprintln!("iam-server: the credentials in {}: {error}", dir.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
