//! `photon`: the command line of PhotonCloud.
//!
//! Every command is one noun and one verb (`photon vm create`), prints a table for people or JSON or YAML
//! for scripts, and takes a name wherever an id would do.

mod commands;
mod context;
mod error;
mod output;
mod session;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Failure;
use crate::output::{Format, Output};
use crate::session::{Connection, Session};

/// The command line of PhotonCloud.
#[derive(Parser)]
#[command(name = "photon", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    connection: Connection,

    /// How to print answers.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign in and keep the token in the current context.
    Login(commands::login::LoginArgs),
    /// Revoke the token and forget it.
    Logout,
    /// Show who you are, for which scope, and until when.
    Whoami,
    /// Places to sign in to, kept in ~/.config/photon.
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    /// Organizations (operators).
    #[command(subcommand, visible_alias = "organization")]
    Org(commands::org::OrgCommand),
    /// Projects of an organization.
    #[command(subcommand)]
    Project(commands::project::ProjectCommand),
    /// People who sign in with a password.
    #[command(subcommand)]
    User(commands::principal::UserCommand),
    /// Programs that sign in with an API key.
    #[command(subcommand, visible_alias = "sa")]
    ServiceAccount(commands::principal::ServiceAccountCommand),
    /// API keys of a principal.
    #[command(subcommand)]
    ApiKey(commands::api_key::ApiKeyCommand),
    /// S3 access keys of a principal.
    #[command(subcommand)]
    S3Key(commands::api_key::S3KeyCommand),
    /// Roles: what may be done.
    #[command(subcommand)]
    Role(commands::role::RoleCommand),
    /// Bindings: who has which role where.
    #[command(subcommand)]
    Binding(commands::binding::BindingCommand),
    /// Keys that sign tokens (operators).
    #[command(subcommand)]
    SigningKey(commands::login::SigningKeyCommand),
    /// Virtual private clouds.
    #[command(subcommand)]
    Vpc(commands::vpc::VpcCommand),
    /// Subnets of a VPC.
    #[command(subcommand)]
    Subnet(commands::subnet::SubnetCommand),
    /// Ports of a subnet.
    #[command(subcommand)]
    Port(commands::port::PortCommand),
    /// Security groups and their rules.
    #[command(subcommand, visible_alias = "sg")]
    SecurityGroup(commands::security_group::SecurityGroupCommand),
    /// Images that VMs start from.
    #[command(subcommand)]
    Image(commands::image::ImageCommand),
    /// Virtual machines.
    #[command(subcommand)]
    Vm(commands::vm::VmCommand),
    /// Hosts as places for VMs (operators).
    #[command(subcommand)]
    Node(commands::node::NodeCommand),
    /// Machines of the rack, from the first netboot to a host of the cloud (operators).
    #[command(subcommand)]
    Machine(commands::machine::MachineCommand),
    /// The rack's hosts: what they run, upgrade and rollback (operators, over SSH).
    #[command(subcommand)]
    Host(commands::host::HostCommand),
    /// The event log: who did what, and whether anybody altered it.
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Print a completion script: `photon completion bash > /etc/bash_completion.d/photon`.
    Completion {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // An upgrade must not be left between two states: it decides itself what Ctrl-C ends.
    let watches_itself = matches!(cli.command, Command::Host(_));
    let result = runtime.block_on(async {
        let interrupted = async {
            if watches_itself {
                std::future::pending::<()>().await;
            }
            // Without a handler the signal's default action ends us, which is as good.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            result = run(cli) => result,
            () = interrupted => Err(Failure::Interrupted),
        }
    });
    // A console's read of the terminal can't be called back: do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.output);
    let connection = cli.connection;
    let session = || Session::open(&connection);
    match cli.command {
        Command::Login(args) => commands::login::login(&connection, args).await,
        Command::Logout => commands::login::logout(&connection).await,
        Command::Whoami => commands::login::whoami(&session()?, &output).await,
        Command::Context(command) => commands::context::run(command, &output),
        Command::Org(command) => commands::org::run(command, &session()?, &output).await,
        Command::Project(command) => commands::project::run(command, &session()?, &output).await,
        Command::User(command) => {
            commands::principal::run_user(command, &session()?, &output).await
        }
        Command::ServiceAccount(command) => {
            commands::principal::run_service_account(command, &session()?, &output).await
        }
        Command::ApiKey(command) => commands::api_key::run(command, &session()?, &output).await,
        Command::S3Key(command) => commands::api_key::run_s3(command, &session()?, &output).await,
        Command::Role(command) => commands::role::run(command, &session()?, &output).await,
        Command::Binding(command) => commands::binding::run(command, &session()?, &output).await,
        Command::SigningKey(command) => {
            commands::login::run_signing_key(command, &session()?, &output).await
        }
        Command::Vpc(command) => commands::vpc::run(command, &session()?, &output).await,
        Command::Subnet(command) => commands::subnet::run(command, &session()?, &output).await,
        Command::Port(command) => commands::port::run(command, &session()?, &output).await,
        Command::SecurityGroup(command) => {
            commands::security_group::run(command, &session()?, &output).await
        }
        Command::Image(command) => commands::image::run(command, &session()?, &output).await,
        Command::Vm(command) => commands::vm::run(command, &session()?, &output).await,
        Command::Node(command) => commands::node::run(command, &session()?, &output).await,
        Command::Machine(command) => commands::machine::run(command, &session()?, &output).await,
        Command::Host(command) => commands::host::run(command, &output).await,
        Command::Audit(command) => commands::audit::run(command, &session()?, &output).await,
        Command::Completion { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "photon", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
