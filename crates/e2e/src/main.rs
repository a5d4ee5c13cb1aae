//! `photon-e2e`: tries a cloud over its API, and says what it saw.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use photon_client::EndpointArgs;
use serde::Serialize;

use photon_e2e::hold::{self, Bounds, Hold};
use photon_e2e::journal::Journal;
use photon_e2e::progress::say;
use photon_e2e::run::{Run, check_readable, read_password};
use photon_e2e::scenario::Guests;
use photon_e2e::{Channels, OPERATOR, nodes, random_hex, tenant_path};

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
    #[command(flatten)]
    endpoints: EndpointArgs,
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
    /// How many seconds all of it may take; of `hold`, what is before it holds, and what is after.
    #[arg(long, global = true, default_value_t = 900)]
    timeout: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Two tenants with equal networks and one equal address: leases, who reaches whom, a security group,
    /// the record of events, and that nothing is left.
    TenantPath,
    /// Waits until these hosts take VMs, places one on each, and lets each guest reach the others.
    Nodes {
        /// The hosts, as `node01,node02`.
        #[arg(long, value_delimiter = ',', required = true)]
        expect: Vec<String>,
        /// How many seconds the hosts may take to be ready.
        #[arg(long, default_value_t = 120)]
        wait: u64,
    },
    /// Two guests that ping each other and a client that writes to each server, until SIGTERM, SIGINT or
    /// --seconds; then how many pings were lost, for how long nothing was acknowledged, and whether all
    /// acknowledged writes are there. What it prints is also the judgment: see the bounds.
    Hold {
        /// For how long. Default: until a signal.
        #[arg(long)]
        seconds: Option<u64>,
        /// A file to make when everything runs.
        #[arg(long)]
        ready_file: Option<PathBuf>,
        /// A file to note every acknowledged write in, for `verify`. It must not exist.
        #[arg(long)]
        journal: Option<PathBuf>,
        /// A file for the result as JSON, besides standard output.
        #[arg(long)]
        report: Option<PathBuf>,
        /// How many seconds a server may acknowledge nothing.
        #[arg(long, default_value_t = 5.0)]
        max_interruption: f64,
        /// For how many seconds pings may be lost.
        #[arg(long, default_value_t = 5.0)]
        max_silence: f64,
        /// Milliseconds from one write to the next.
        #[arg(long, default_value_t = 200)]
        interval_ms: u64,
    },
    /// That all writes of a journal are there which `hold --keep` was acknowledged.
    Verify {
        /// The journal.
        #[arg(long)]
        journal: PathBuf,
    },
    /// Removes the organizations that runs with this prefix left behind.
    Clean,
}

impl Cloud {
    fn run(&self) -> Result<Run> {
        let endpoints = self.endpoints.0.clone().trusting(self.ca_file.clone());
        Ok(Run {
            channels: Channels::at(endpoints)?,
            operator: self.operator.clone(),
            password: read_password(&self.password_file)?,
            guests: Guests {
                kernel: self.kernel.clone().unwrap_or_default(),
                initrd: self.initrd.clone().unwrap_or_default(),
                memory_mib: self.memory,
                boot: Duration::from_secs(self.boot_timeout),
            },
            prefix: self.prefix.clone(),
            tag: random_hex::<3>()?,
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
        Command::Nodes { expect, wait } => {
            let wait = Duration::from_secs(*wait);
            let report = nodes::run(&cloud.run_with_guests()?, expect, wait).await;
            let line = format!("a guest on each of {}", expect.join(", "));
            print(arguments.output, &report, report.ok, &report.error, &line)
        }
        Command::Hold {
            seconds,
            ready_file,
            journal,
            report: report_file,
            max_interruption,
            max_silence,
            interval_ms,
        } => {
            let length = seconds.map(Duration::from_secs);
            let hold = Hold {
                length,
                interval: Duration::from_millis(*interval_ms),
                ready_file: ready_file.clone(),
                journal: journal.clone(),
                bounds: Bounds {
                    interruption: seconds_of("--max-interruption", *max_interruption)?,
                    silence: seconds_of("--max-silence", *max_silence)?,
                },
            };
            let report = hold::run(&cloud.run_with_guests()?, &hold).await;
            if let Some(path) = report_file {
                std::fs::write(path, serde_json::to_vec_pretty(&report)?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            let line = format!(
                "{} writes acknowledged, none lost, nothing acknowledged for at most {:.1} s; \
                 {} pings lost, silence of at most {:.1} s",
                report.acknowledged,
                report.interruption_seconds,
                report.pings_lost,
                report.longest_silence_seconds
            );
            print(arguments.output, &report, report.ok, &report.error, &line)
        }
        Command::Verify { journal } => {
            let journal = Journal::read(journal)?;
            let operator = cloud.run()?.sign_in().await?;
            let lost = journal.lost(&operator).await?;
            let ok = lost.is_empty();
            let error = (!ok).then(|| format!("lost: {}", lost.join(", ")));
            let acknowledged = journal.acknowledged();
            let report = serde_json::json!({
                "ok": ok, "error": error, "acknowledged": acknowledged, "lost": lost,
            });
            let line = format!(
                "all {} acknowledged writes are there",
                journal.entries.len()
            );
            print(arguments.output, &report, ok, &error, &line)
        }
        Command::Clean => {
            let removed = cloud.run()?.clean().await?;
            let report = serde_json::json!({ "ok": true, "removed": removed });
            let line = format!("removed {removed} organizations");
            print(arguments.output, &report, true, &None, &line)
        }
    }
}

fn seconds_of(flag: &str, value: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .with_context(|| format!("{flag} {value} is no number of seconds"))
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
