//! `cargo xtask …`: the developer's and newcomer's commands.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use xtask::cache::Cache;
use xtask::images::Images;
use xtask::progress::{human, say};
use xtask::rack::{Rack, run};
use xtask::{abuse, bench, check, demo, host_agent, prerequisites, up};

/// The developer's and newcomer's commands of PhotonCloud.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots a host and takes two tenants from sign-in to guests that talk, and shows what it did.
    Demo,
    /// Format, clippy, and every test: what continuous integration runs.
    Test,
    /// Leaves a one-host PhotonCloud running, with its servers at 127.0.0.1:50080 to 50082.
    Up,
    /// Ends what `up` left running.
    Down,
    /// Measures a release build: prints a table, and writes target/photon/bench.json.
    Bench(bench::Options),
    /// Has one tenant's people and a stranger do their worst to a release build, and looks whether another tenant notices.
    Abuse(abuse::Options),
    /// Installs what all of these need on this machine, or says what to do; they also do it themselves.
    Prerequisites,
    /// The process behind `up`.
    #[command(hide = true)]
    HoldUp,
    /// The test rack by itself: hosts without a PhotonCloud on them.
    #[command(subcommand)]
    Rack(RackCommand),
    /// Serves the rack inside a host.
    #[command(hide = true)]
    HostAgent {
        #[arg(long)]
        listen: SocketAddr,
    },
}

#[derive(Subcommand)]
enum RackCommand {
    /// Builds what hosts and guests boot, unless it is in the cache already.
    Images,
    /// Boots hosts, runs a bash script on each, and ends them.
    Run {
        #[arg(long, default_value_t = 1)]
        hosts: u8,
        /// The script.
        script: String,
    },
    /// Boots hosts, prints the run's id, and keeps them until it is interrupted.
    Hold {
        #[arg(long, default_value_t = 1)]
        hosts: u8,
    },
    /// Removes what racks whose process was killed left behind.
    Clean,
    /// What an interrupted rack becomes: removes what these runs left behind, and ends with the status.
    #[command(hide = true)]
    CleanUpAfter { status: u8, runs: Vec<String> },
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(format!("error: no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(Arguments::parse().command)) {
        Ok(code) => code,
        Err(error) => {
            say(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo => demo::run().await?,
        Command::Test => tokio::task::spawn_blocking(check::run).await??,
        Command::Up => up::up().await?,
        Command::Down => up::down().await?,
        Command::Bench(options) => {
            tokio::task::spawn_blocking(move || bench::run(&options)).await??;
        }
        Command::Abuse(options) => {
            tokio::task::spawn_blocking(move || abuse::run(&options)).await??;
        }
        Command::Prerequisites => prerequisites::ensure_for_everything()?,
        Command::HoldUp => up::hold().await?,
        Command::Rack(command) => return rack(command).await,
        Command::HostAgent { listen } => host_agent::serve(listen).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn rack(command: RackCommand) -> Result<ExitCode> {
    match command {
        RackCommand::Images => {
            prerequisites::ensure()?;
            let images = Images::ensure(&Cache::open()?)?;
            for artifact in [&images.kernel, &images.host, &images.guest] {
                println!("{}", artifact.dir.display());
            }
        }
        RackCommand::Run { hosts, script } => {
            let begun = std::time::Instant::now();
            let rack = Rack::start(hosts).await?;
            say(format!("{hosts} up after {}", human(begun.elapsed())));
            let mut code = ExitCode::SUCCESS;
            for host in rack.hosts() {
                let output = host.run(&script).await?;
                print!("{}", output.stdout);
                eprint!("{}", output.stderr);
                if !output.success() {
                    say(format!("{} ended with {}", host.name(), output.status));
                    code = ExitCode::FAILURE;
                }
            }
            return Ok(code);
        }
        RackCommand::Hold { hosts } => {
            let rack = Rack::start(hosts).await?;
            println!("{}", rack.id());
            // The rack ends with the signal that ends this process.
            std::future::pending::<()>().await;
        }
        RackCommand::Clean => {
            let removed = run::remove_stale(&Cache::open()?)?;
            println!("removed the remains of {removed} runs");
        }
        RackCommand::CleanUpAfter { status, runs } => {
            run::clean_up_after(&Cache::open()?, &runs)?;
            return Ok(status.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}
