//! A flag and an environment variable for each component's endpoint: `--iam-endpoint`, `$PHOTON_IAM_ENDPOINT`. With the
//! feature `clap`, for programs that take a command line.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use photon_api::components::{COMPONENTS, Component};

use crate::endpoints::Endpoints;

/// The endpoints that were given.
#[derive(Clone, Debug, Default)]
pub struct EndpointArgs(pub Endpoints);

/// The URL of a server, as a flag's value.
///
/// # Errors
/// When it begins with neither `http://` nor `https://`, or names no host.
pub fn parse_url(text: &str) -> Result<String, String> {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with(['/', ':']) => Ok(text.to_owned()),
        _ => Err("expected a URL such as https://cloud.example.org:50080".to_owned()),
    }
}

impl FromArgMatches for EndpointArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let url = |component: &'static Component| {
            let given = matches.get_one::<String>(component.endpoint_flag).cloned();
            let url = given.or_else(|| component.url_in_environment())?;
            Some((component.name, url))
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
                    .value_parser(parse_url)
                    .help(format!(
                        "URL of the {} ({}), where it is elsewhere. On its own host: {}",
                        component.serves, component.title, component.default_endpoint
                    )),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_scheme_and_a_host() {
        for good in ["http://127.0.0.1:50080", "https://cloud.example.org"] {
            assert_eq!(parse_url(good).as_deref(), Ok(good));
        }
        for bad in ["127.0.0.1:50080", "https://", "https:///x", "ftp://a", ""] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
