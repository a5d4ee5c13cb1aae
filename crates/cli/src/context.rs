//! Contexts: places to sign in to. `~/.config/photon/config.toml` holds what is no secret;
//! `~/.config/photon/tokens/CONTEXT` (mode 0600) holds the token, and what it is renewed with.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use etcetera::BaseStrategy;
use photon_client::{Endpoints, TokenFile, component, write_private};
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Where to find the services, and as whom in which scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Kept")]
pub struct Context {
    /// `http://` or `https://` URL of a server, by which the others are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// PEM file with the certificate authority of `https://` endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Organization that commands are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// Project that commands are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Who signed in last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// URLs of servers by their components' names, as somebody said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// The same, as IAM at `endpoint` told at the last sign-in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, String>,
    /// Passwords and tokens may go to other hosts over `http://`. Said with each command, and never kept.
    #[serde(skip)]
    pub insecure: bool,
}

/// A context as it is in the file. Before endpoints were a table, each had a key of its own: `iam = "https://…"`.
#[derive(Deserialize)]
struct Kept {
    endpoint: Option<String>,
    ca_file: Option<PathBuf>,
    org: Option<String>,
    project: Option<String>,
    principal: Option<String>,
    #[serde(default)]
    endpoints: BTreeMap<String, String>,
    #[serde(default)]
    told: BTreeMap<String, String>,
    #[serde(flatten)]
    further: BTreeMap<String, String>,
}

impl TryFrom<Kept> for Context {
    type Error = String;

    fn try_from(kept: Kept) -> Result<Self, String> {
        let mut endpoints = kept.endpoints;
        for (name, url) in kept.further {
            if component(&name).is_none() {
                return Err(format!("'{name}' is nothing that a context has"));
            }
            endpoints.entry(name).or_insert(url);
        }
        Ok(Self {
            endpoint: kept.endpoint,
            ca_file: kept.ca_file,
            org: kept.org,
            project: kept.project,
            principal: kept.principal,
            endpoints,
            told: kept.told,
            insecure: false,
        })
    }
}

impl Context {
    /// Whether somebody has said where this component's server is, or IAM has told.
    pub fn knows(&self, component: &str) -> bool {
        let one = component == "iam" && self.endpoint.is_some();
        one || self.endpoints.contains_key(component) || self.told.contains_key(component)
    }

    /// Asks IAM, if one endpoint is what this context knows, where the others are.
    pub async fn learn(&mut self) -> Result<(), Failure> {
        if let Some(url) = &self.endpoint {
            self.told = Endpoints::told_by(url, self.ca_file.clone()).await?.urls;
        }
        Ok(())
    }

    /// Where this context has the servers: as it says, else as IAM told, else beside the one that it knows, else on this
    /// machine.
    pub fn endpoints(&self) -> Endpoints {
        let said: Endpoints = self.endpoints.clone().into_iter().collect();
        let told: Endpoints = self.told.clone().into_iter().collect();
        let beside = match &self.endpoint {
            Some(url) => Endpoints::beside(url),
            None => Endpoints::default(),
        };
        // IAM is where it was reached, whatever it is called elsewhere.
        let reached = self.endpoint.iter().map(|url| ("iam", url));
        said.or(&reached.collect())
            .or(&told)
            .or(&beside)
            .or(&Endpoints::local())
            .trusting(self.ca_file.clone())
    }
}

/// All contexts, and which one is current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The context that commands use unless `--context` names another.
    pub current: String,
    /// By name.
    pub contexts: BTreeMap<String, Context>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            current: "default".to_owned(),
            contexts: BTreeMap::new(),
        }
    }
}

/// The folder of it all: `$PHOTON_CONFIG_DIR`, else `photon` in the user's folder for configuration (XDG's:
/// `$XDG_CONFIG_HOME`, else `~/.config`).
pub fn directory() -> Result<PathBuf, Failure> {
    if let Some(directory) = std::env::var_os("PHOTON_CONFIG_DIR").filter(|set| !set.is_empty()) {
        return Ok(directory.into());
    }
    match etcetera::base_strategy::Xdg::new() {
        Ok(xdg) => Ok(xdg.config_dir().join("photon")),
        Err(_) => Err(Failure::Local(
            "neither HOME nor PHOTON_CONFIG_DIR is set, so there is no place for contexts and tokens".into(),
        )),
    }
}

impl Config {
    /// Reads the file; an absent one is an empty configuration.
    pub fn load() -> Result<Self, Failure> {
        let path = directory()?.join("config.toml");
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| Failure::file("read", &path, error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::file("read", &path, error)),
        }
    }

    /// Writes the file, whole or not at all.
    pub fn save(&self) -> Result<(), Failure> {
        let text = toml::to_string(self)
            .map_err(|error| Failure::Local(format!("cannot write the configuration: {error}")))?;
        let path = directory()?.join("config.toml");
        write_private(&path, text.as_bytes()).map_err(|error| Failure::file("write", &path, error))
    }

    /// The names of all contexts, as they are told.
    pub fn names(&self) -> String {
        match self.contexts.is_empty() {
            true => "none".to_owned(),
            false => {
                let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
                names.join(", ")
            }
        }
    }

    /// That there is no context of this name.
    pub fn unknown(&self, name: &str) -> Failure {
        Failure::Local(format!(
            "there is no context '{name}'; there is: {}. `photon context set {name}` makes it",
            self.names()
        ))
    }

    /// The context of this name; empty if there is none yet.
    pub fn context(&self, name: &str) -> Context {
        self.contexts.get(name).cloned().unwrap_or_default()
    }
}

fn token_path(context: &str) -> Result<PathBuf, Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if context.is_empty() || context.starts_with('.') || !context.chars().all(plain) {
        return Err(Failure::Local(format!(
            "'{context}' cannot be a context's name: use letters, digits, '-', '_' and '.'"
        )));
    }
    Ok(directory()?.join("tokens").join(context))
}

/// Where what somebody signed in with is kept for a context.
pub fn token_file(context: &str) -> Result<TokenFile, Failure> {
    token_path(context).map(TokenFile::at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_round_trips_and_refuses_what_it_does_not_know() {
        let mut config = Config::default();
        config.contexts.insert(
            "rack1".into(),
            Context {
                endpoints: BTreeMap::from([("iam".into(), "https://rack1:50080".into())]),
                org: Some("acme".into()),
                ..Context::default()
            },
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert!(toml::from_str::<Config>("curent = 'a'").is_err());
        let wrong = "[contexts.a]\nproyect = 'web'";
        let error = toml::from_str::<Config>(wrong).unwrap_err().to_string();
        assert!(error.contains("proyect"), "{error}");
    }

    #[test]
    fn a_file_of_before_is_read_as_it_was_meant() {
        let text = "current = 'rack'\n[contexts.rack]\niam = 'https://rack:50080'\nprovisioner = 'https://rack:1'\n\
                    ca_file = '/ca.pem'\nprincipal = 'alice'\n";
        let config: Config = toml::from_str(text).unwrap();
        let context = config.context("rack");
        let endpoints = context.endpoints();
        assert_eq!(endpoints.url("iam"), Some("https://rack:50080"));
        assert_eq!(endpoints.url("provisioner"), Some("https://rack:1"));
        assert_eq!(endpoints.url("prismnet"), Some("http://127.0.0.1:50081"));
        assert_eq!(endpoints.ca_file, Some("/ca.pem".into()));
        assert_eq!(context.principal.as_deref(), Some("alice"));
    }

    #[test]
    fn one_endpoint_leads_to_all() {
        let context = Context {
            endpoint: Some("https://rack.example:50080".into()),
            endpoints: BTreeMap::from([("plasmavmc".into(), "https://vms.example:1".into())]),
            ..Context::default()
        };
        let endpoints = context.endpoints();
        assert_eq!(endpoints.url("iam"), Some("https://rack.example:50080"));
        let prismnet = endpoints.url("prismnet");
        assert_eq!(prismnet, Some("https://rack.example:50081"));
        let plasmavmc = endpoints.url("plasmavmc");
        assert_eq!(plasmavmc, Some("https://vms.example:1"));
    }

    #[test]
    fn a_context_name_cannot_leave_its_folder() {
        assert!(token_path("../../etc/passwd").is_err());
        assert!(token_path(".hidden").is_err());
    }
}
