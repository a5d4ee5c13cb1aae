//! A flag and an environment variable for each component's endpoint: `--iam-endpoint`, `$IAM_ENDPOINT`. With the
//! feature `clap`, for programs that take a command line.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::component::{COMPONENTS, Component};
use crate::endpoints::Endpoints;

/// The endpoints that were given.
#[derive(Clone, Debug, Default)]
pub struct EndpointArgs(pub Endpoints);

fn flag(component: &Component) -> String {
    format!("{}-endpoint", component.name)
}

/// clap keeps names for as long as the program runs; a program makes its command line once or twice.
fn kept(name: String) -> &'static str {
    name.leak()
}

impl FromArgMatches for EndpointArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let url = |component: &'static Component| {
            let url = matches.get_one::<String>(&flag(component))?;
            Some((component.name, url.clone()))
        };
        Ok(Self(COMPONENTS.iter().filter_map(url).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for EndpointArgs {
    fn augment_args(command: Command) -> Command {
        COMPONENTS.iter().fold(command, |command, component| {
            let flag = kept(flag(component));
            command.arg(
                Arg::new(flag)
                    .long(flag)
                    .global(true)
                    .env(kept(component.variable()))
                    .value_name("URL")
                    .help(format!(
                        "URL of {}. Default: {}",
                        component.title,
                        component.local_url()
                    )),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
