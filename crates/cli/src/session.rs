//! One command's connections: which services, as whom, in which scope.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;

use clap::Args;
use photon_api::components::component;
use photon_client::{Channels, EndpointArgs, parse_url};
use tonic::codegen::http::Uri;

use crate::commands::org::Orgs;
use crate::commands::project::Projects;
use crate::completion::{contexts, names};
use crate::context::{self, Config, Context};
use crate::error::Failure;

/// Where and as whom. Each flag overrides the environment, which overrides the context.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The context to use instead of the current one. It says what neither flags nor the environment do.
    #[arg(long, global = true, env = "PHOTON_CONTEXT", add = contexts())]
    pub context: Option<String>,
    /// URL of the cloud; all its servers are found through it. Default: the context's.
    #[arg(long, global = true, value_name = "URL", value_parser = parse_url, env = "PHOTON_ENDPOINT")]
    pub endpoint: Option<String>,
    #[command(flatten)]
    pub endpoints: EndpointArgs,
    /// PEM file with the certificate authority of https endpoints. Default: the system's.
    #[arg(long, global = true, value_name = "FILE", env = "PHOTON_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Send passwords and tokens over http:// to another host, where everybody on the way can read them.
    #[arg(long, global = true)]
    pub insecure: bool,
    /// The organization that the command is about. Default: the context's, else the token's.
    #[arg(long, global = true, env = "PHOTON_ORG", add = names::<Orgs>())]
    pub org: Option<String>,
    /// The project that the command is about. Default: the context's, else the token's.
    #[arg(long, global = true, env = "PHOTON_PROJECT", add = names::<Projects>())]
    pub project: Option<String>,
}

impl Connection {
    /// Name and content of the context in use, with flags and environment laid over it.
    pub fn resolve(&self) -> Result<(String, Context), Failure> {
        let config = Config::load()?;
        let name = self.context.clone().unwrap_or(config.current.clone());
        if !config.contexts.contains_key(&name) {
            // Whoever says where the cloud is, or has none kept, needs no context.
            let elsewhere = self.endpoint.is_some() || !self.endpoints.0.urls.is_empty();
            if self.context.is_some() {
                return Err(config.unknown(&name));
            }
            if !config.contexts.is_empty() && !elsewhere {
                return Err(Failure::Local(format!(
                    "no context is current: choose one with `photon context use NAME` or `--context NAME`; there is: {}",
                    config.names()
                )));
            }
        }
        let mut kept = config.context(&name);
        if self.endpoint.is_some() && self.endpoint != kept.endpoint {
            // Another cloud: what is kept of this one's servers does not count.
            kept = Context {
                endpoint: self.endpoint.clone(),
                told: BTreeMap::new(),
                endpoints: BTreeMap::new(),
                ..kept
            };
        }
        let mut endpoints = kept.endpoints;
        endpoints.extend(self.endpoints.0.urls.clone());
        let context = Context {
            endpoint: kept.endpoint,
            told: kept.told,
            endpoints,
            ca_file: self.ca_file.clone().or(kept.ca_file),
            org: self.org.clone().or(kept.org),
            project: self.project.clone().or(kept.project),
            principal: kept.principal,
            insecure: self.insecure,
        };
        refuse_plaintext(&context)?;
        let name = match name.is_empty() {
            true => Config::default().current,
            false => name,
        };
        Ok((name, context))
    }
}

impl Connection {
    /// The variables that make another `photon` of what was said here by flags; `--insecure` has none.
    pub fn environment(&self) -> Vec<(String, String)> {
        let path = self.ca_file.as_ref();
        let own = [
            ("PHOTON_CONTEXT", self.context.clone()),
            ("PHOTON_ENDPOINT", self.endpoint.clone()),
            ("PHOTON_CA_FILE", path.map(|it| it.display().to_string())),
            ("PHOTON_ORG", self.org.clone()),
            ("PHOTON_PROJECT", self.project.clone()),
        ];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let urls = self.endpoints.0.urls.iter();
        let urls =
            urls.filter_map(|(name, url)| Some((component(name)?.endpoint_variable, url.clone())));
        own.chain(urls)
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// The connections of one command, and who makes it.
pub struct Session {
    /// What was said of them.
    pub connection: Connection,
    /// Name of the context in use.
    pub context_name: String,
    /// The context, with flags and environment laid over it.
    pub context: Context,
    client: photon_client::Session,
}

impl Deref for Session {
    type Target = photon_client::Session;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl Session {
    /// Reads the context and its token (`PHOTON_TOKEN` overrides it). Connects nowhere yet, but to learn where the servers
    /// are, in a context that nobody signed in to.
    pub async fn open(connection: &Connection) -> Result<Self, Failure> {
        let (context_name, mut context) = connection.resolve()?;
        if context.told.is_empty() {
            match context.learn().await {
                // Whoever is asked next says it better.
                Ok(()) | Err(Failure::Unreachable { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        let channels = channels(&context)?;
        let client = match std::env::var("PHOTON_TOKEN") {
            Ok(token) if !token.is_empty() => {
                photon_client::Session::with_token(&channels, &token)?
            }
            _ => photon_client::Session::kept_in(&channels, &context::token_file(&context_name)?)?
                .unwrap_or_else(|| photon_client::Session::anonymous(&channels)),
        };
        let scope = |name: &Option<String>| name.clone().unwrap_or_default();
        Ok(Self {
            client: client.within(&scope(&context.org), &scope(&context.project)),
            connection: connection.clone(),
            context_name,
            context,
        })
    }
}

/// Connections to the servers of a context.
pub fn channels(context: &Context) -> Result<Channels, Failure> {
    // What IAM told may be another host than the one that was asked.
    refuse_plaintext(context)?;
    let agent = concat!("photon/", env!("CARGO_PKG_VERSION"));
    Ok(Channels::named(context.endpoints(), agent)?)
}

/// Refuses to send secrets to another host over a connection that everybody on the way can read and change, unless that
/// was said to be meant.
fn refuse_plaintext(context: &Context) -> Result<(), Failure> {
    let endpoints = context.endpoints();
    let mut urls = endpoints.urls.values();
    match urls.find(|url| is_readable_on_the_way(url)) {
        Some(url) if !context.insecure => Err(Failure::Local(format!(
            "{url} is another host, and http:// shows it and everybody on the way your password and token: use \
             https:// (--ca-file names its authority), or --insecure where nobody else can listen"
        ))),
        _ => Ok(()),
    }
}

fn is_readable_on_the_way(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        // Refused as no URL at all when it is used.
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let here = match address {
        Ok(address) => address.to_canonical().is_loopback(),
        // What resolvers must not ask anybody for (RFC 6761, 6.3).
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    };
    uri.scheme_str() == Some("http") && !here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_this_host_over_https_alone_unless_it_is_meant() {
        for (url, refused) in [
            ("https://192.0.2.1:50080", false),
            ("http://127.0.0.1:50080", false),
            ("http://127.8.0.1:1", false),
            ("http://[::1]:50080", false),
            ("http://localhost:50080", false),
            ("http://192.0.2.1:50080", true),
            ("http://[2001:db8::1]:50080", true),
            ("http://rack.example", true),
            ("http://localhost.example", true),
            ("http://127.0.0.1.example", true),
            ("HTTP://rack.example", true),
        ] {
            let mut context = Context {
                endpoint: Some(url.into()),
                ..Context::default()
            };
            let told = refuse_plaintext(&context);
            assert_eq!(told.is_err(), refused, "{url}");
            if let Err(failure) = told {
                let said = failure.to_string();
                assert!(
                    said.contains("--insecure") && said.contains("https://"),
                    "{said}"
                );
            }
            context.insecure = true;
            refuse_plaintext(&context).unwrap();
        }
        // One of several that IAM told.
        let context = Context {
            endpoint: Some("https://rack.example:50080".into()),
            told: [("prismnet".into(), "http://rack.example:50081".into())].into(),
            ..Context::default()
        };
        assert!(refuse_plaintext(&context).is_err());
    }
}
