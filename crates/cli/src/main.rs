//! `photon`: the command line of PhotonCloud.
//!
//! Every command is one noun and one verb (`photon vm create`), prints a table for people or JSON, YAML or CSV for
//! scripts, and takes a name wherever an id would do.

mod commands;
mod completion;
mod context;
mod error;
mod flags;
mod noun;
mod output;
mod session;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    external_network::ExternalNetworks, floating_ip::FloatingIps, host::HostCommand,
    nat_gateway::NatGateways, org::Orgs, peering::Peerings, port::Ports,
    principal::ServiceAccounts, principal::Users, project::Projects, role::Roles, route::Routes,
    security_group::SecurityGroups, subnet::Subnets, vpc::Vpcs,
};
use crate::error::Failure;
use crate::flags::Flags;
use crate::noun::{Desk, Verbs};
use crate::output::{Format, Output, tell};
use crate::session::{Connection, Session};

/// What every command has in common, at the end of `photon --help`.
const IN_COMMON: &str = "\
Environment:
  PHOTON_TOKEN         a token, instead of the one that `photon login` keeps
  PHOTON_CONFIG_DIR    where contexts and tokens are kept [default: $XDG_CONFIG_HOME/photon, else ~/.config/photon]
  and those above, each in the place of its flag

Exit codes:
  0  done
  1  refused or failed; also when a question was answered with no
  2  the command line is wrong
  3  there is no such thing
  4  not signed in, or not permitted
  5  the cloud cannot be reached
  6  it took too long
  130  interrupted";

/// The command line of PhotonCloud.
#[derive(Parser)]
#[command(name = "photon", version, about, max_term_width = 100, after_long_help = IN_COMMON)]
struct Cli {
    #[command(flatten)]
    connection: Connection,

    /// How to print answers.
    // The connection's heading ends here.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = None::<&str>)]
    output: Format,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sign in, and stay so in the current context until you sign out or it is not used for a while.
    Login(commands::login::LoginArgs),
    /// End the session and forget it.
    Logout,
    /// Show who you are, for which scope, and until when.
    Whoami,
    /// Where you are signed in: list sessions and end them.
    #[command(subcommand)]
    Session(commands::session::SessionCommand),
    /// Places to sign in to, kept in ~/.config/photon.
    #[command(subcommand, visible_alias = "ctx")]
    Context(commands::context::ContextCommand),
    /// Organizations (operators).
    #[command(subcommand, visible_alias = "organization")]
    Org(Verbs<Orgs>),
    /// Projects of an organization.
    #[command(subcommand)]
    Project(Verbs<Projects>),
    /// How much a project and an organization may have, and have.
    #[command(subcommand)]
    Quota(commands::quota::QuotaCommand),
    /// People who sign in with a password.
    #[command(subcommand)]
    User(Verbs<Users>),
    /// Programs that sign in with an API key.
    #[command(subcommand, visible_alias = "sa")]
    ServiceAccount(Verbs<ServiceAccounts>),
    /// API keys of a principal.
    #[command(subcommand)]
    ApiKey(commands::api_key::ApiKeyCommand),
    /// S3 access keys of a principal.
    #[command(subcommand)]
    S3Key(commands::api_key::S3KeyCommand),
    /// Roles: what may be done.
    #[command(subcommand)]
    Role(Verbs<Roles>),
    /// Bindings: who has which role where.
    #[command(subcommand)]
    Binding(commands::binding::BindingCommand),
    /// Keys that sign tokens (operators).
    #[command(subcommand)]
    SigningKey(commands::login::SigningKeyCommand),
    /// Virtual private clouds.
    #[command(subcommand)]
    Vpc(Verbs<Vpcs>),
    /// Subnets of a VPC.
    #[command(subcommand)]
    Subnet(Verbs<Subnets>),
    /// Ports of a subnet.
    #[command(subcommand)]
    Port(Verbs<Ports>),
    /// Security groups and their rules.
    #[command(subcommand, visible_alias = "sg")]
    SecurityGroup(Verbs<SecurityGroups>),
    /// Zones and record sets: names of a project's own.
    #[command(subcommand)]
    Dns(commands::dns::DnsCommand),
    /// Networks beside the cloud, by which VPCs get out.
    #[command(subcommand)]
    ExternalNetwork(Verbs<ExternalNetworks>),
    /// NAT gateways: the way out of a VPC.
    #[command(subcommand)]
    NatGateway(Verbs<NatGateways>),
    /// Routes of a VPC: where it sends what is for addresses that are not in its subnets.
    #[command(subcommand)]
    Route(Verbs<Routes>),
    /// Peerings: two VPCs whose guests reach each other.
    #[command(subcommand)]
    Peering(Verbs<Peerings>),
    /// Questions about networks: why something is reached, or not.
    #[command(subcommand)]
    Network(commands::network::NetworkCommand),
    /// Floating IPs: addresses of external networks for ports.
    #[command(subcommand, visible_alias = "fip")]
    FloatingIp(Verbs<FloatingIps>),
    /// Images that VMs start from.
    #[command(subcommand)]
    Image(commands::image::ImageCommand),
    /// SSH keys that VMs are given.
    #[command(subcommand)]
    SshKey(commands::ssh_key::SshKeyCommand),
    /// Virtual machines.
    #[command(subcommand, aliases = ["instance", "server"])]
    Vm(commands::vm::VmCommand),
    /// Get into a VM by ssh, at its floating IP.
    Ssh(commands::ssh::Ssh),
    /// The same as `host list`, by its former name.
    #[command(subcommand, hide = true)]
    Node(commands::node::NodeCommand),
    /// Machines of the rack, from the first netboot to a host of the cloud (operators).
    #[command(subcommand)]
    Machine(commands::machine::MachineCommand),
    /// The rack's hosts: what they hold and run, upgrade and rollback (operators).
    #[command(subcommand)]
    Host(commands::host::HostCommand),
    /// The event log: who did what, and whether anybody altered it.
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Print a completion script: `photon completion bash > ~/.local/share/bash-completion/completions/photon`.
    ///
    /// It completes commands, flags and names of what there is in the current context.
    Completion {
        /// The shell to complete for.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one for each command, into a folder: `photon man ~/.local/share/man/man1`.
    Man {
        /// The folder, which must be there.
        folder: PathBuf,
    },
}

/// The command line, with the flags that all commands have told once, at the root.
fn command_line() -> clap::Command {
    told_once(Cli::command())
}

fn told_once(mut command: clap::Command) -> clap::Command {
    fn quiet(command: clap::Command) -> clap::Command {
        let quiet_here = |arg: clap::Arg| {
            let told = !arg.is_global_set() || arg.get_id() == "output";
            if told { arg } else { arg.hide(true) }
        };
        command.mut_args(quiet_here).mut_subcommands(quiet)
    }
    // Now each has the flags of all.
    command.build();
    command.mut_subcommands(|below| {
        quiet(below).mut_subcommands(|leaf| {
            leaf.after_help(
                "Flags of every command, such as --org, --project and --context: `photon --help`.",
            )
        })
    })
}

fn main() -> ExitCode {
    completion::answer();
    let command = command_line();
    let matches = command.clone().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command_line()).exit(),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tell!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // An upgrade must not be left between two states: it decides itself what Ctrl-C ends.
    let watches_itself = matches!(cli.command, Command::Host(HostCommand::OverSsh(_)));
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
            let said = failure.explain(&Flags::given(&command, &matches));
            if !said.is_empty() {
                tell!("{said}");
            }
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output::new(cli.output);
    let connection = cli.connection;
    // Those that need no connections to services.
    let command = match cli.command {
        Command::Login(args) => return commands::login::login(&connection, args).await,
        Command::Logout => return commands::login::logout(&connection).await,
        Command::Context(command) => return commands::context::run(command, &output).await,
        Command::Host(HostCommand::OverSsh(command)) => {
            return commands::host::run(command, &output).await;
        }
        Command::Completion { shell } => return completion::script(shell, &output),
        Command::Man { folder } => return manual(&folder),
        command => command,
    };
    let session = Session::open(&connection).await?;
    let desk = Desk {
        session: &session,
        output: &output,
    };
    let work = carry_out(command, &desk);
    // For as long as the command takes; what it calls says best what becomes of a session that has ended.
    let fresh = async {
        session.keep_fresh().await;
        std::future::pending().await
    };
    let result = tokio::select! {
        result = work => result,
        () = fresh => Ok(()),
    };
    session.settled().await;
    result
}

async fn carry_out(command: Command, desk: &Desk<'_>) -> Result<(), Failure> {
    match command {
        Command::Whoami => commands::login::whoami(desk).await,
        Command::Session(command) => commands::session::run(command, desk).await,
        Command::Org(verb) => desk.run(verb).await,
        Command::Project(verb) => desk.run(verb).await,
        Command::Quota(command) => commands::quota::run(command, desk).await,
        Command::User(verb) => desk.run(verb).await,
        Command::ServiceAccount(verb) => desk.run(verb).await,
        Command::ApiKey(command) => commands::api_key::run(command, desk).await,
        Command::S3Key(command) => commands::api_key::run_s3(command, desk).await,
        Command::Role(verb) => desk.run(verb).await,
        Command::Binding(command) => commands::binding::run(command, desk).await,
        Command::SigningKey(command) => commands::login::run_signing_key(command, desk).await,
        Command::Vpc(verb) => desk.run(verb).await,
        Command::Subnet(verb) => desk.run(verb).await,
        Command::Port(verb) => desk.run(verb).await,
        Command::SecurityGroup(verb) => desk.run(verb).await,
        Command::Dns(command) => commands::dns::run(command, desk).await,
        Command::ExternalNetwork(verb) => desk.run(verb).await,
        Command::NatGateway(verb) => desk.run(verb).await,
        Command::Route(verb) => desk.run(verb).await,
        Command::Peering(verb) => desk.run(verb).await,
        Command::Network(command) => commands::network::run(command, desk).await,
        Command::FloatingIp(verb) => desk.run(verb).await,
        Command::Image(command) => commands::image::run(command, desk).await,
        Command::SshKey(command) => commands::ssh_key::run(command, desk).await,
        Command::Vm(command) => commands::vm::run(command, desk).await,
        Command::Ssh(ssh) => commands::ssh::run(ssh, desk).await,
        Command::Host(HostCommand::List(shape)) => commands::node::list(&shape, desk).await,
        Command::Host(HostCommand::Vms(of)) => commands::node::vms(&of.name, &of.shape, desk).await,
        Command::Node(command) => commands::node::run(command, desk).await,
        Command::Machine(command) => commands::machine::run(command, desk).await,
        Command::Audit(command) => commands::audit::run(command, desk).await,
        Command::Login(_)
        | Command::Logout
        | Command::Context(_)
        | Command::Host(HostCommand::OverSsh(_))
        | Command::Completion { .. }
        | Command::Man { .. } => Ok(()),
    }
}

fn manual(folder: &Path) -> Result<(), Failure> {
    let command = told_once(Cli::command().disable_help_subcommand(true));
    clap_mangen::generate_to(command, folder)
        .map_err(|error| Failure::file("write manual pages to", folder, error))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    /// Verbs that change nothing at a server, or what a server has no `request_id` for, with the reason.
    const WITHOUT: [(&str, &str); 21] = [
        ("login", "a token is new each time"),
        ("logout", "a token that is gone stays gone"),
        ("whoami", "looks"),
        ("context set", "local"),
        ("context use", "local"),
        ("context delete", "local"),
        (
            "signing-key rotate",
            "a rotation repeated is one more rotation",
        ),
        ("quota show", "looks"),
        ("dns resolve", "looks"),
        ("ssh", "looks"),
        ("vm console", "a stream"),
        ("vm tunnel", "a stream"),
        ("vm watch", "looks"),
        ("machine watch", "looks"),
        ("role compare", "looks"),
        ("host status", "over SSH"),
        ("host upgrade", "over SSH"),
        ("network trace", "looks"),
        ("host rollback", "over SSH"),
        ("completion", "local"),
        ("man", "local"),
    ];

    fn leaves(path: &str, command: &clap::Command, found: &mut Vec<(String, bool)>) {
        let below: Vec<_> = command.get_subcommands().collect();
        if below.is_empty() {
            let once = command
                .get_arguments()
                .any(|argument| argument.get_long() == Some("request-id"));
            found.push((path.trim().to_owned(), once));
        }
        for next in below {
            leaves(&format!("{path} {}", next.get_name()), next, found);
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_changing_command_has_a_request_id_and_no_other_one() {
        let mut found = Vec::new();
        leaves("", &super::Cli::command(), &mut found);
        assert!(found.len() > 80, "{found:?}");
        let looks = |path: &str| {
            let verb = path.rsplit(' ').next().unwrap_or_default();
            let noun = path.split(' ').next().unwrap_or_default();
            // Verbs of the nouns that have all of them, and of the event log.
            ["get", "list", "vms"].contains(&verb) || noun == "audit"
        };
        for (path, once) in found {
            let without = WITHOUT.iter().any(|(name, _)| *name == path) || looks(&path);
            assert_eq!(
                once, !without,
                "`photon {path}`: --request-id on what changes something, and there alone"
            );
        }
    }
}
