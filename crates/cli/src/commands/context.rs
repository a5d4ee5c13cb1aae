//! Contexts in `~/.config/photon`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::context::{self, Config, Context};
use crate::error::Failure;
use crate::output::Output;
use crate::session::Service;

/// Places to sign in to.
#[derive(Subcommand)]
pub enum ContextCommand {
    /// List all contexts.
    List,
    /// Show one context, with the endpoints in use.
    Show {
        /// Default: the current one.
        name: Option<String>,
    },
    /// Make a context or change one; what is not given stays.
    Set {
        /// Its name.
        name: String,
        /// URL of IAM.
        #[arg(long)]
        iam: Option<String>,
        /// URL of PrismNET.
        #[arg(long)]
        prismnet: Option<String>,
        /// URL of PlasmaVMC.
        #[arg(long)]
        plasmavmc: Option<String>,
        /// URL of the provisioner.
        #[arg(long)]
        provisioner: Option<String>,
        /// PEM file with the certificate authority.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// Organization that commands are about.
        #[arg(long)]
        default_org: Option<String>,
        /// Project that commands are about.
        #[arg(long)]
        default_project: Option<String>,
    },
    /// Make a context the current one.
    Use {
        /// Its name.
        name: String,
    },
    /// Remove a context and its token.
    Delete {
        /// Its name.
        name: String,
    },
}

fn shown(name: &str, context: &Context, current: bool) -> serde_json::Value {
    json!({
        "name": name,
        "current": current,
        "iam": Service::Iam.endpoint(context),
        "prismnet": Service::Prismnet.endpoint(context),
        "plasmavmc": Service::Plasmavmc.endpoint(context),
        "provisioner": Service::Provisioner.endpoint(context),
        "ca_file": context.ca_file,
        "org": context.org,
        "project": context.project,
        "principal": context.principal,
    })
}

fn unknown(config: &Config, name: &str) -> Failure {
    let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
    Failure::Local(format!(
        "there is no context '{name}'; there is: {}",
        known.join(", ")
    ))
}

/// `photon context`
pub fn run(command: ContextCommand, output: &Output) -> Result<(), Failure> {
    let mut config = Config::load()?;
    match command {
        ContextCommand::List => {
            let rows = config
                .contexts
                .iter()
                .map(|(name, context)| shown(name, context, *name == config.current))
                .collect();
            output.rows(
                rows,
                &[
                    ("NAME", "name"),
                    ("CURRENT", "current"),
                    ("IAM", "iam"),
                    ("ORG", "org"),
                    ("PROJECT", "project"),
                    ("PRINCIPAL", "principal"),
                ],
            )
        }
        ContextCommand::Show { name } => {
            let name = name.unwrap_or(config.current.clone());
            output.value(&shown(
                &name,
                &config.context(&name),
                name == config.current,
            ))
        }
        ContextCommand::Set {
            name,
            iam,
            prismnet,
            plasmavmc,
            provisioner,
            ca,
            default_org,
            default_project,
        } => {
            context::load_token(&name)?;
            let kept = config.context(&name);
            let changed = Context {
                iam: iam.or(kept.iam),
                prismnet: prismnet.or(kept.prismnet),
                plasmavmc: plasmavmc.or(kept.plasmavmc),
                provisioner: provisioner.or(kept.provisioner),
                ca_file: ca.or(kept.ca_file),
                org: default_org.or(kept.org),
                project: default_project.or(kept.project),
                principal: kept.principal,
            };
            config.contexts.insert(name.clone(), changed);
            if config.contexts.len() == 1 {
                config.current.clone_from(&name);
            }
            config.save()?;
            output.done(&format!("Context {name} is kept."));
            Ok(())
        }
        ContextCommand::Use { name } => {
            if !config.contexts.contains_key(&name) {
                return Err(unknown(&config, &name));
            }
            config.current = name;
            config.save()
        }
        ContextCommand::Delete { name } => {
            if config.contexts.remove(&name).is_none() {
                return Err(unknown(&config, &name));
            }
            context::remove_token(&name)?;
            config.save()
        }
    }
}
