//! One command's connections: which services, as whom, in which scope.

use std::ops::Deref;
use std::path::PathBuf;

use clap::Args;
use photon_client::{Channels, EndpointArgs};

use crate::context::{self, Config, Context};
use crate::error::Failure;

/// Where and as whom. Each flag overrides the environment, which overrides the context.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The context to use instead of the current one. It says what neither flags nor the environment do.
    #[arg(long, global = true, env = "PHOTON_CONTEXT")]
    pub context: Option<String>,
    #[command(flatten)]
    pub endpoints: EndpointArgs,
    /// PEM file with the certificate authority of https endpoints. Default: the system's.
    #[arg(long, global = true, env = "PHOTON_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The organization that the command is about. Default: the context's, else the token's.
    #[arg(long, global = true, env = "PHOTON_ORG")]
    pub org: Option<String>,
    /// The project that the command is about. Default: the context's, else the token's.
    #[arg(long, global = true, env = "PHOTON_PROJECT")]
    pub project: Option<String>,
}

impl Connection {
    /// Name and content of the context in use, with flags and environment laid over it.
    pub fn resolve(&self) -> Result<(String, Context), Failure> {
        let config = Config::load()?;
        let name = self.context.clone().unwrap_or(config.current.clone());
        if self.context.is_some() && !config.contexts.contains_key(&name) {
            let known: Vec<&str> = config.contexts.keys().map(String::as_str).collect();
            return Err(Failure::Local(format!(
                "there is no context '{name}' (there is: {}); make it with `photon context set {name}`",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            )));
        }
        let kept = config.context(&name);
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
        };
        Ok((name, context))
    }
}

/// The connections of one command, and who makes it.
pub struct Session {
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
        let token = match std::env::var("PHOTON_TOKEN") {
            Ok(token) if !token.is_empty() => Some(token),
            _ => context::load_token(&context_name)?,
        };
        let channels = channels(&context)?;
        let client = match token {
            Some(token) => photon_client::Session::with_token(&channels, &token)?,
            None => photon_client::Session::anonymous(&channels),
        };
        let scope = |name: &Option<String>| name.clone().unwrap_or_default();
        Ok(Self {
            client: client.within(&scope(&context.org), &scope(&context.project)),
            context_name,
            context,
        })
    }
}

/// Connections to the servers of a context.
pub fn channels(context: &Context) -> Result<Channels, Failure> {
    let agent = concat!("photon/", env!("CARGO_PKG_VERSION"));
    Ok(Channels::named(context.endpoints(), agent)?)
}
