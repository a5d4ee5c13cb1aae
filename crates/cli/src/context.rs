//! Contexts: places to sign in to. `~/.config/photon/config.toml` holds what is no secret;
//! `~/.config/photon/tokens/CONTEXT` (mode 0600) holds the token.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Where to find the services, and as whom in which scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Context {
    /// `http://` or `https://` URL of IAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iam: Option<String>,
    /// URL of PrismNET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prismnet: Option<String>,
    /// URL of PlasmaVMC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plasmavmc: Option<String>,
    /// URL of the provisioner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioner: Option<String>,
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

/// The folder of it all: `$PHOTON_CONFIG_DIR`, else `$XDG_CONFIG_HOME/photon`, else `~/.config/photon`.
pub fn directory() -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(directory) = set("PHOTON_CONFIG_DIR") {
        return Ok(directory.into());
    }
    if let Some(config) = set("XDG_CONFIG_HOME") {
        return Ok(Path::new(&config).join("photon"));
    }
    match set("HOME") {
        Some(home) => Ok(Path::new(&home).join(".config/photon")),
        None => Err(Failure::Local(
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
        write_private(&directory()?.join("config.toml"), text.as_bytes())
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

/// The token kept for a context.
pub fn load_token(context: &str) -> Result<Option<String>, Failure> {
    let path = token_path(context)?;
    match fs::read_to_string(&path) {
        Ok(token) => Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", &path, error)),
    }
}

/// Keeps a token for a context, readable by its owner alone.
pub fn save_token(context: &str, token: &str) -> Result<(), Failure> {
    write_private(&token_path(context)?, token.as_bytes())
}

/// Forgets the token of a context.
pub fn remove_token(context: &str) -> Result<(), Failure> {
    let path = token_path(context)?;
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::file("remove", &path, error)),
    }
}

fn write_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let wrong = |error| Failure::file("write", path, error);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(wrong)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(wrong)?;
    file.write_all(content).map_err(wrong)?;
    fs::rename(&new, path).map_err(wrong)
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
                iam: Some("https://rack1:50080".into()),
                ..Context::default()
            },
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
        assert!(toml::from_str::<Config>("curent = 'a'").is_err());
    }

    #[test]
    fn a_context_name_cannot_leave_its_folder() {
        assert!(token_path("../../etc/passwd").is_err());
        assert!(token_path(".hidden").is_err());
    }
}
