//! What a machine does for itself to become a host of the cloud and stay one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use photon_enrol::{host, report};

/// Reports a machine, and gets, renews and uses its host certificate.
///
/// Exit status: 0 done, or nothing to do; 1 failed, may succeed later; 2 wrong usage; 3 refused for good.
#[derive(Parser)]
#[command(name = "photon-enrol", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// In the netboot image: reports this machine every 10 seconds until it is told to start from its disk.
    Report {
        /// URL of the provisioner's boot listener [default: `photon.provisioner=` on the kernel's command line].
        #[arg(long, value_name = "URL")]
        provisioner: Option<String>,
        /// Public key of this machine's SSH server, to report with the rest.
        #[arg(long, value_name = "FILE")]
        ssh_host_key: Option<PathBuf>,
    },
    /// Exchanges a join token, the installation's or an operator's, for this host's certificate. Without one, what
    /// certificate there is stays.
    Enrol(Host),
    /// Replaces this host's key and certificate when two thirds of the certificate's life are over.
    Renew {
        #[command(flatten)]
        host: Host,
        /// Now, whatever is left of its life.
        #[arg(long)]
        force: bool,
    },
    /// Tells the provisioner that this host does its work.
    Ready(Host),
}

#[derive(Args)]
struct Host {
    /// The directory with ca.pem, host.pem, host-key.pem and, before the first certificate, join-token.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/photoncloud/pki")]
    pki_dir: PathBuf,
    /// URL of the provisioner, https://ADDRESS:50089 [default: what /etc/photoncloud/provisioner-endpoint says].
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// For how long to try when the provisioner does not answer.
    #[arg(long, value_name = "SECONDS", default_value_t = host::PATIENCE.as_secs())]
    deadline_seconds: u64,
}

impl From<Host> for host::Options {
    fn from(host: Host) -> Self {
        host::Options {
            pki_dir: host.pki_dir,
            endpoint: host.endpoint,
            endpoint_file: "/etc/photoncloud/provisioner-endpoint".into(),
            root: "/".into(),
            wait: host::Wait::of(Duration::from_secs(host.deadline_seconds)),
        }
    }
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // One thing at a time, on a machine that may be small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(command)),
        Err(error) => {
            eprintln!("photon-enrol: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("photon-enrol: {failure}");
            if failure.is_lasting() {
                ExitCode::from(3)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

async fn carry_out(command: Command) -> host::Outcome {
    match command {
        Command::Report {
            provisioner,
            ssh_host_key,
        } => {
            let options = report::Options {
                provisioner,
                ssh_host_key,
                period: report::PERIOD,
                root: "/".into(),
            };
            report::run(&options, |word| println!("{word}"))
                .await
                .map(|()| "this machine starts from its disk".to_owned())
                .map_err(|error| host::Failure::passing(format!("{error:#}")))
        }
        Command::Enrol(host) => host::enrol(&host.into()).await,
        Command::Renew { host, force } => host::renew(&host.into(), force).await,
        Command::Ready(host) => host::ready(&host.into()).await,
    }
}
