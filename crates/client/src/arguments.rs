//! A flag and an environment variable for each component's endpoint: `--iam-endpoint`, `$IAM_ENDPOINT`. With the
//! feature `clap`, for programs that take a command line.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use photon_api::components::{COMPONENTS, Component};

use crate::endpoints::Endpoints;

/// The endpoints that were given.
#[derive(Clone, Debug, Default)]
pub struct EndpointArgs(pub Endpoints);

impl FromArgMatches for EndpointArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let url = |component: &'static Component| {
            let url = matches.get_one::<String>(component.endpoint_flag)?;
            Some((component.name, url.clone()))
        };
        Ok(Self(COMPONENTS.into_iter().filter_map(url).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for EndpointArgs {
    fn augment_args(command: Command) -> Command {
        COMPONENTS.into_iter().fold(command, |command, component| {
            command.arg(
                Arg::new(component.endpoint_flag)
                    .long(component.endpoint_flag)
                    .global(true)
                    .env(component.endpoint_variable)
                    .value_name("URL")
                    .help(format!(
                        "URL of {}. Default: {}",
                        component.title, component.default_endpoint
                    )),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
