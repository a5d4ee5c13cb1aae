//! `photon-e2e`: tries a cloud over its API, and says what it saw.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use photon_e2e::progress::say;
use photon_e2e::run::{Run, check_readable, read_password};
use photon_e2e::scenario::Guests;
use photon_e2e::{Channels, OPERATOR, tenant_path};

/// Tries a PhotonCloud over its API alone: tenants, networks, guests, and whom these reach.
///
/// Needs an operator's password, and a kernel and initrd to make guests of. Prints what it saw to standard
/// output, what it does to standard error. Ends with 0 if all was as it must be, else with 1.
#[derive(Parser)]
#[command(name = "photon-e2e", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    cloud: Cloud,
    /// How to print the result.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One line.
    Text,
    /// Everything that was seen, as one JSON object.
    Json,
}

/// Which cloud, and what to try it with.
#[derive(Args)]
struct Cloud {
    /// URL of IAM.
    #[arg(
        long,
        global = true,
        env = "IAM_ENDPOINT",
        default_value = "http://127.0.0.1:50080"
    )]
    iam_endpoint: String,
    /// URL of PrismNET.
    #[arg(
        long,
        global = true,
        env = "PRISMNET_ENDPOINT",
        default_value = "http://127.0.0.1:50081"
    )]
    prismnet_endpoint: String,
    /// URL of PlasmaVMC.
    #[arg(
        long,
        global = true,
        env = "PLASMAVMC_ENDPOINT",
        default_value = "http://127.0.0.1:50082"
    )]
    plasmavmc_endpoint: String,
    /// PEM file with the certificate authority of https endpoints. Default: the system's.
    #[arg(long, global = true, env = "PHOTON_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// The operator's name.
    #[arg(long, global = true, env = "PHOTON_OPERATOR", default_value = OPERATOR)]
    operator: String,
    /// File with the operator's password.
    #[arg(
        long,
        global = true,
        env = "PHOTON_OPERATOR_PASSWORD_FILE",
        default_value = "/var/lib/photoncloud/credentials/operator-password"
    )]
    password_file: PathBuf,
    /// Kernel of the guests.
    #[arg(long, global = true, env = "PHOTON_GUEST_KERNEL")]
    kernel: Option<PathBuf>,
    /// Initrd of the guests: theirs that speak as crates/xtask/assets/guest/init.sh does.
    #[arg(long, global = true, env = "PHOTON_GUEST_INITRD")]
    initrd: Option<PathBuf>,
    /// Memory of each guest in MiB.
    #[arg(long, global = true, default_value_t = 192)]
    memory: u64,
    /// How many seconds a guest may take from CreateVm to its lease.
    #[arg(long, global = true, default_value_t = 300)]
    boot_timeout: u64,
    /// What the names of the organizations begin with that are made, and removed.
    #[arg(long, global = true, default_value = "e2e")]
    prefix: String,
    /// Place VMs on all ready hosts in turn, instead of where the scheduler would.
    #[arg(long, global = true)]
    spread: bool,
    /// Leave everything as it is at the end; `photon-e2e clean` removes it.
    #[arg(long, global = true)]
    keep: bool,
    /// How many seconds all of it may take.
    #[arg(long, global = true, default_value_t = 900)]
    timeout: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Two tenants with equal networks and one equal address: leases, who reaches whom, a security group,
    /// the record of events, and that nothing is left.
    TenantPath,
    /// Removes the organizations that runs with this prefix left behind.
    Clean,
}

impl Cloud {
    fn run(&self) -> Result<Run> {
        let urls = [
            self.iam_endpoint.clone(),
            self.prismnet_endpoint.clone(),
            self.plasmavmc_endpoint.clone(),
        ];
        Ok(Run {
            channels: Channels::trusting(urls, self.ca_file.as_ref())?,
            operator: self.operator.clone(),
            password: read_password(&self.password_file)?,
            guests: Guests {
                kernel: self.kernel.clone().unwrap_or_default(),
                initrd: self.initrd.clone().unwrap_or_default(),
                memory_mib: self.memory,
                boot: Duration::from_secs(self.boot_timeout),
            },
            prefix: self.prefix.clone(),
            spread: self.spread,
            keep: self.keep,
            limit: Duration::from_secs(self.timeout),
        })
    }

    /// A run that boots guests.
    fn run_with_guests(&self) -> Result<Run> {
        for (file, flag, variable) in [
            (&self.kernel, "--kernel", "PHOTON_GUEST_KERNEL"),
            (&self.initrd, "--initrd", "PHOTON_GUEST_INITRD"),
        ] {
            let file = file
                .as_ref()
                .with_context(|| format!("give {flag} FILE, or ${variable}"))?;
            check_readable(file)?;
        }
        self.run()
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(carry_out(&arguments)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as it must be.
async fn carry_out(arguments: &Arguments) -> Result<bool> {
    let cloud = &arguments.cloud;
    match &arguments.command {
        Command::TenantPath => {
            let report = tenant_path::run(&cloud.run_with_guests()?).await;
            let line = format!("{} guests", report.guests.len());
            print(arguments.output, &report, report.ok, &report.error, &line)
        }
        Command::Clean => {
            let removed = cloud.run()?.clean().await?;
            let report = serde_json::json!({ "ok": true, "removed": removed });
            let line = format!("removed {removed} organizations");
            print(arguments.output, &report, true, &None, &line)
        }
    }
}

fn print(
    format: Format,
    report: &impl Serialize,
    ok: bool,
    error: &Option<String>,
    line: &str,
) -> Result<bool> {
    match (format, error) {
        (Format::Json, _) => println!("{}", serde_json::to_string_pretty(report)?),
        (Format::Text, None) => println!("ok: {line}"),
        (Format::Text, Some(error)) => println!("failed: {error}"),
    }
    Ok(ok)
}
