//! Contexts in `~/.config/photon`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use photon_client::{COMPONENTS, Component, parse_url};
use serde_json::{Value, json};

use crate::completion::contexts;
use crate::context::{self, Config, Context};
use crate::error::Failure;
use crate::output::{Output, Shape};

/// Places to sign in to.
#[derive(Subcommand)]
pub enum ContextCommand {
    /// List all contexts.
    #[command(visible_alias = "ls")]
    List(Shape),
    /// Show one context, with the endpoints in use.
    #[command(visible_alias = "show")]
    Get {
        /// Default: the current one.
        #[arg(add = contexts())]
        name: Option<String>,
    },
    /// Make a context or change one: `photon context set home --endpoint https://cloud.example.org:50080 --org acme
    /// --project web`.
    ///
    /// It keeps --endpoint, --ca-file, --org, --project and the endpoints of single servers, as they are given. What is not
    /// given stays; `--org ''` and `--project ''` take what was kept away.
    Set(Box<Set>),
    /// Make a context the current one.
    Use {
        /// Its name.
        #[arg(add = contexts())]
        name: String,
    },
    /// Remove a context and its token.
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name.
        #[arg(add = contexts())]
        name: String,
    },
}

/// What a context is to have.
#[derive(Args)]
pub struct Set {
    /// Its name.
    #[arg(add = contexts())]
    name: String,
    #[command(flatten)]
    given: Given,
    #[command(flatten)]
    former: Former,
}

/// The flags of every command that stand on this one's command line: here they are what is kept, not what is used. The
/// environment's do not count.
struct Given(Context);

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        fn said<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, id: &str) -> Option<T> {
            let typed = matches.value_source(id) == Some(ValueSource::CommandLine);
            let value = matches.try_get_one::<T>(id).ok().flatten();
            value.filter(|_| typed).cloned()
        }
        let url = |component: &Component| {
            let url = said(matches, component.endpoint_flag)?;
            Some((component.name.to_owned(), url))
        };
        Ok(Self(Context {
            endpoint: said(matches, "endpoint"),
            ca_file: said(matches, "ca_file"),
            org: said(matches, "org"),
            project: said(matches, "project"),
            endpoints: COMPONENTS.into_iter().filter_map(url).collect(),
            ..Context::default()
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// What the same flags were called before every command's were taken; they go with the release after the next.
#[derive(Args)]
struct Former {
    #[arg(long, hide = true)]
    ca: Option<PathBuf>,
    #[arg(long, hide = true)]
    default_org: Option<String>,
    #[arg(long, hide = true)]
    default_project: Option<String>,
    #[command(flatten)]
    endpoints: Urls,
}

impl Former {
    fn under(self, given: Context) -> Context {
        let mut endpoints = self.endpoints.0;
        endpoints.extend(given.endpoints);
        Context {
            ca_file: given.ca_file.or(self.ca),
            org: given.org.or(self.default_org),
            project: given.project.or(self.default_project),
            endpoints,
            ..given
        }
    }
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
                    .value_parser(parse_url)
                    .hide(true),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// What is kept, with what was given laid over it: an empty text takes away what there was.
fn changed(kept: Context, given: Context) -> Result<Context, Failure> {
    let text = |given: Option<String>, kept| match given {
        Some(given) => Some(given).filter(|given| !given.is_empty()),
        None => kept,
    };
    let ca_file = match given.ca_file {
        // It is to be found from every folder.
        Some(path) => {
            Some(std::path::absolute(&path).map_err(|error| Failure::file("find", &path, error))?)
        }
        None => kept.ca_file,
    };
    let mut endpoints = kept.endpoints;
    endpoints.extend(given.endpoints);
    Ok(Context {
        // What another cloud's IAM told does not count.
        told: match given.endpoint {
            Some(_) => BTreeMap::new(),
            None => kept.told,
        },
        endpoint: text(given.endpoint, kept.endpoint),
        endpoints,
        ca_file,
        org: text(given.org, kept.org),
        project: text(given.project, kept.project),
        principal: kept.principal,
        insecure: false,
    })
}

fn shown(name: &str, context: &Context, current: bool) -> Value {
    let endpoints = context.endpoints();
    let endpoint = context.endpoint.as_deref().or(endpoints.url("iam"));
    let mut shown = json!({ "name": name, "current": current, "endpoint": endpoint });
    for component in COMPONENTS {
        shown[component.name] = json!(endpoints.url(component.name));
    }
    shown["ca_file"] = json!(context.ca_file);
    shown["org"] = json!(context.org);
    shown["project"] = json!(context.project);
    shown["principal"] = json!(context.principal);
    shown
}

/// `photon context`
pub async fn run(command: ContextCommand, output: &Output) -> Result<(), Failure> {
    let mut config = Config::load()?;
    match command {
        ContextCommand::List(shape) => {
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
                    ("ENDPOINT", "endpoint"),
                    ("ORG", "org"),
                    ("PROJECT", "project"),
                    ("PRINCIPAL", "principal"),
                ],
                &shape,
                None,
            )
        }
        ContextCommand::Get { name } => {
            if let Some(name) = &name
                && !config.contexts.contains_key(name)
            {
                return Err(config.unknown(name));
            }
            let name = name.unwrap_or(config.current.clone());
            if name.is_empty() {
                return Err(Failure::Local(format!(
                    "no context is current; there is: {}",
                    config.names()
                )));
            }
            output.value(&shown(
                &name,
                &config.context(&name),
                name == config.current,
            ))
        }
        ContextCommand::Set(set) => {
            let Set {
                name,
                given,
                former,
            } = *set;
            context::token_file(&name)?.read()?;
            let given = former.under(given.0);
            let context = changed(config.context(&name), given)?;
            config.contexts.insert(name.clone(), context);
            if config.contexts.len() == 1 {
                config.current.clone_from(&name);
            }
            config.save()?;
            output.done(&match config.current == name {
                true => format!("Context {name} is saved; it is the current one."),
                false => format!(
                    "Context {name} is saved; `photon context use {name}` makes it the current one."
                ),
            })
        }
        ContextCommand::Use { name } => {
            if !config.contexts.contains_key(&name) {
                return Err(config.unknown(&name));
            }
            config.current.clone_from(&name);
            config.save()?;
            output.done(&format!("Context {name} is the current one."))
        }
        ContextCommand::Delete { name } => {
            if config.contexts.remove(&name).is_none() {
                return Err(config.unknown(&name));
            }
            // The session stays until it is not used for a while: `photon logout` before this ends it.
            context::token_file(&name)?.lock().await?.remove()?;
            let was_current = config.current == name;
            if was_current {
                // Nothing takes its place by itself: a command would reach another cloud than was meant.
                config.current = match config.contexts.is_empty() {
                    true => Config::default().current,
                    false => String::new(),
                };
            }
            config.save()?;
            output.done(&match was_current && !config.contexts.is_empty() {
                true => format!(
                    "Context {name} is gone. It was the current one: `photon context use` makes another one that. There is: {}",
                    config.names()
                ),
                false => format!("Context {name} is gone."),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_kept_and_what_is_not_stays() {
        let kept = Context {
            endpoint: Some("https://one.example".into()),
            org: Some("acme".into()),
            project: Some("web".into()),
            told: BTreeMap::from([("prismnet".into(), "https://one.example:2".into())]),
            ..Context::default()
        };
        let given = Context {
            project: Some(String::new()),
            ca_file: Some("/ca.pem".into()),
            ..Context::default()
        };
        let now = changed(kept.clone(), given).unwrap();
        assert_eq!(now.org.as_deref(), Some("acme"));
        assert_eq!(now.project, None);
        assert_eq!(now.ca_file, Some("/ca.pem".into()));
        assert_eq!(now.told, kept.told);
        let elsewhere = Context {
            endpoint: Some("https://two.example".into()),
            ..Context::default()
        };
        assert!(changed(kept, elsewhere).unwrap().told.is_empty());
    }
}
