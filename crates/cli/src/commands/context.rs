//! Contexts in `~/.config/photon`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use photon_client::{COMPONENTS, Component};
use serde_json::{Value, json};

use crate::context::{self, Config, Context};
use crate::error::Failure;
use crate::output::Output;

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
    Set(Set),
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

/// What a context is to have.
#[derive(Args)]
pub struct Set {
    /// Its name.
    name: String,
    /// URL of IAM; the other servers are found through it.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    #[command(flatten)]
    endpoints: Urls,
    /// PEM file with the certificate authority.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Organization that commands are about.
    #[arg(long)]
    default_org: Option<String>,
    /// Project that commands are about.
    #[arg(long)]
    default_project: Option<String>,
}

/// A flag for each component's URL: `--prismnet`.
struct Urls(BTreeMap<String, String>);

impl FromArgMatches for Urls {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let url = |component: &Component| {
            let url = matches.get_one::<String>(component.name)?;
            Some((component.name.to_owned(), url.clone()))
        };
        Ok(Self(COMPONENTS.into_iter().filter_map(url).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Urls {
    fn augment_args(command: Command) -> Command {
        COMPONENTS.into_iter().fold(command, |command, component| {
            command.arg(
                Arg::new(component.name)
                    .long(component.name)
                    .value_name("URL")
                    .help(format!("URL of {}", component.title)),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn shown(name: &str, context: &Context, current: bool) -> Value {
    let mut shown = json!({ "name": name, "current": current });
    if let (Some(url), Some(fields)) = (&context.endpoint, shown.as_object_mut()) {
        fields.insert("endpoint".into(), json!(url));
    }
    let endpoints = context.endpoints();
    for component in COMPONENTS {
        shown[component.name] = json!(endpoints.url(component.name));
    }
    shown["ca_file"] = json!(context.ca_file);
    shown["org"] = json!(context.org);
    shown["project"] = json!(context.project);
    shown["principal"] = json!(context.principal);
    shown
}

fn unknown(config: &Config, name: &str) -> Failure {
    let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
    Failure::Local(format!(
        "there is no context '{name}'; there is: {}",
        known.join(", ")
    ))
}

/// `photon context`
pub async fn run(command: ContextCommand, output: &Output) -> Result<(), Failure> {
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
        ContextCommand::Set(set) => {
            let name = set.name;
            context::token_file(&name)?.read()?;
            let kept = config.context(&name);
            let mut endpoints = kept.endpoints;
            endpoints.extend(set.endpoints.0);
            let changed = Context {
                // What another cloud's IAM told does not count.
                told: match set.endpoint {
                    Some(_) => BTreeMap::new(),
                    None => kept.told,
                },
                endpoint: set.endpoint.or(kept.endpoint),
                endpoints,
                ca_file: set.ca.or(kept.ca_file),
                org: set.default_org.or(kept.org),
                project: set.default_project.or(kept.project),
                principal: kept.principal,
                insecure: false,
            };
            config.contexts.insert(name.clone(), changed);
            if config.contexts.len() == 1 {
                config.current.clone_from(&name);
            }
            config.save()?;
            output.done(&format!("Context {name} is kept."))
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
            // The session stays until it is not used for a while: `photon logout` before this ends it.
            context::token_file(&name)?.lock().await?.remove()?;
            config.save()
        }
    }
}
