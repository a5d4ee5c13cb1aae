//! IAM's own settings: section `[iam]` of the configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use photon_api::components::{self, Component};
use photon_catalog::quota::{Defaults, Quantity};
use photon_program::{ComponentSettings, Invalid, check_url};
use photon_resource::Error;
use serde::Deserialize;

use crate::app::session::Lasting;
use crate::store::usage;
use crate::token::{DEFAULT_TTL, MAX_TTL};

/// What is counted, and what a project and an organization may have of it.
pub const QUANTITIES: [Quantity; 6] = [
    of_organization(usage::PROJECTS, 100),
    of_organization(usage::PRINCIPALS, 2000),
    of_organization(usage::ROLES, 500),
    of_project(usage::BINDINGS, 1000),
    of_project(usage::API_KEYS, 1000),
    of_project(usage::S3_KEYS, 1000),
];

const fn of_organization(name: &'static str, per_organization: u64) -> Quantity {
    Quantity {
        name,
        per_project: None,
        per_organization,
    }
}

const fn of_project(name: &'static str, per_project: u64) -> Quantity {
    Quantity {
        name,
        per_project: Some(per_project),
        per_organization: 5 * per_project,
    }
}

/// Section `[iam]`. What is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Lifetime of a token whose request does not say, in seconds; default 900.
    pub token_ttl_seconds: Option<u32>,
    /// The longest lifetime that can be asked for, in seconds; default and maximum 3600.
    pub token_max_ttl_seconds: Option<u32>,
    /// After how many seconds a session ends that is not used; default 43200 (12 hours), maximum 2592000 (30 days).
    pub session_idle_seconds: Option<u32>,
    /// After how many seconds a session ends however it is used; default 604800 (7 days), maximum 2592000 (30 days).
    pub session_max_seconds: Option<u32>,
    /// After how many days the signing key is replaced; default 30.
    pub signing_key_days: Option<u32>,
    /// Where `operator-password` and the programs' `*.key` are; default `$CREDENTIALS_DIRECTORY`, which systemd sets.
    pub credentials_dir: Option<PathBuf>,
    /// The name of this host, whose agents' identities are in the credentials; default: the host name.
    pub node: Option<String>,
    /// The name of the cluster, which the certificates of its hosts must have (`photon://CLUSTER/node/NODE`); default:
    /// whatever the authorities of `tls.client_ca` sign for is of this cluster.
    pub cluster: Option<String>,
    /// Where clients reach the cloud's components: a URL by the component's name (`prismnet`). Clients that know IAM
    /// alone find the others by it; nobody needs a token to read it. Default: none is published.
    pub public_endpoints: BTreeMap<String, String>,
    /// The components that may hold things of tenants: each is asked before a project or an organization is deleted, and if
    /// one does not answer, nothing is. Default: all that IAM calls. A cloud without one of them leaves it out.
    pub tenant_holders: Option<Vec<String>>,
    /// What may be of what is counted.
    pub quota: Defaults,
}

/// How long tokens live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    default_ttl: Duration,
    max_ttl: Duration,
}

impl TokenSettings {
    /// The lifetime of a token whose request asks for so many seconds; 0: it does not say.
    ///
    /// Errors: `InvalidArgument` if that is too long.
    pub fn ttl(&self, ttl_seconds: u32) -> Result<Duration, Error> {
        let ttl = match ttl_seconds {
            0 => self.default_ttl,
            seconds => Duration::from_secs(seconds.into()),
        };
        if ttl > self.max_ttl {
            return Err(Error::invalid(
                "ttl_seconds",
                ttl_seconds,
                format!("at most {}", self.max_ttl.as_secs()),
            ));
        }
        Ok(ttl)
    }

    /// The lifetime of a token whose sign-in asked for so many seconds, when the settings may have been others.
    pub fn within(&self, ttl_seconds: u32) -> Duration {
        Duration::from_secs(ttl_seconds.into()).min(self.max_ttl)
    }
}

const HOUR: u32 = 3600;
/// How long a session lasts that is not used.
const SESSION_IDLE: u32 = 12 * HOUR;
/// How long a session lasts however it is used.
const SESSION_MAX: u32 = 7 * 24 * HOUR;
/// How long either may be.
const SESSION_LONGEST: u32 = 30 * 24 * HOUR;

impl Settings {
    /// How long tokens live.
    pub fn tokens(&self) -> TokenSettings {
        let seconds = |given: Option<u32>, otherwise: Duration| {
            given.map_or(otherwise, |seconds| Duration::from_secs(seconds.into()))
        };
        let max_ttl = seconds(self.token_max_ttl_seconds, MAX_TTL).min(MAX_TTL);
        TokenSettings {
            default_ttl: seconds(self.token_ttl_seconds, DEFAULT_TTL).min(max_ttl),
            max_ttl,
        }
    }

    /// How long sessions last.
    pub fn sessions(&self) -> Lasting {
        let seconds =
            |given: Option<u32>, otherwise| Duration::from_secs(given.unwrap_or(otherwise).into());
        Lasting {
            idle: seconds(self.session_idle_seconds, SESSION_IDLE),
            longest: seconds(self.session_max_seconds, SESSION_MAX),
        }
    }

    /// What is counted, with what is said here.
    ///
    /// Errors: `InvalidArgument` for a name of nothing.
    pub fn quantities(&self) -> Result<Arc<[Quantity]>, Error> {
        self.quota.of(&QUANTITIES)
    }

    /// After how long the signing key is replaced.
    pub fn signing_key_age(&self) -> Duration {
        Duration::from_secs(u64::from(self.signing_key_days.unwrap_or(30)) * 24 * 3600)
    }

    /// Who is asked before a project or an organization is deleted.
    pub fn holders(&self) -> Result<Vec<&'static Component>, Invalid> {
        crate::holders::asked(self.tenant_holders.as_deref())
    }

    /// The name of this host, as its agents have it by default: without a domain.
    pub fn node(&self) -> Result<String, Invalid> {
        let name = match &self.node {
            Some(name) => name.clone(),
            None => {
                // Not from /proc: the unit hides all of it but processes (ProcSubset=pid).
                let host = nix::unistd::gethostname().unwrap_or_default();
                host.to_string_lossy()
                    .trim()
                    .split('.')
                    .next()
                    .unwrap_or_default()
                    .to_ascii_lowercase()
            }
        };
        photon_resource::validate_resource_name("iam.node", &name)
            .map_err(|error| Invalid::new("iam.node", &name, error.to_string()))?;
        Ok(name)
    }
}

impl ComponentSettings for Settings {
    fn apply_env(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<(), Invalid> {
        if let Some(dir) = env("CREDENTIALS_DIRECTORY") {
            self.credentials_dir.get_or_insert_with(|| dir.into());
        }
        if let Some(node) = env("PHOTON_NODE") {
            self.node = Some(node);
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), Invalid> {
        let max = u32::try_from(MAX_TTL.as_secs()).unwrap_or(u32::MAX);
        let (idle, longest) = (self.session_idle_seconds, self.session_max_seconds);
        for (key, value, max) in [
            ("iam.token_ttl_seconds", self.token_ttl_seconds, max),
            ("iam.token_max_ttl_seconds", self.token_max_ttl_seconds, max),
            ("iam.session_idle_seconds", idle, SESSION_LONGEST),
            ("iam.session_max_seconds", longest, SESSION_LONGEST),
        ] {
            if let Some(value) = value.filter(|value| !(1..=max).contains(value)) {
                return Err(Invalid::new(key, value.to_string(), format!("1 to {max}")));
            }
        }
        if self.signing_key_days == Some(0) {
            return Err(Invalid::new("iam.signing_key_days", "0", "1 or more"));
        }
        if let Some(cluster) = &self.cluster {
            photon_resource::validate_resource_name("iam.cluster", cluster)
                .map_err(|error| Invalid::new("iam.cluster", cluster, error.to_string()))?;
        }
        for (name, url) in &self.public_endpoints {
            let key = format!("iam.public_endpoints.{name}");
            if components::component(name).is_none() {
                let known = components::COMPONENTS.map(|component| component.name);
                let expected = format!("a key that is one of {}", known.join(", "));
                return Err(Invalid::new(key, url, expected));
            }
            check_url(&key, url)?;
        }
        self.holders()?;
        self.quota.check("iam.quota", &QUANTITIES)?;
        match &self.node {
            Some(_) => self.node().map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endpoints_of_components_that_others_can_reach_safely_are_published() {
        let refusal = |name: &str, url: &str| {
            let settings = Settings {
                public_endpoints: [(name.to_owned(), url.to_owned())].into(),
                ..Settings::default()
            };
            settings.validate().err().map(|invalid| invalid.to_string())
        };
        assert_eq!(refusal("prismnet", "https://cloud.example:50081"), None);
        assert_eq!(refusal("iam", "http://127.0.0.1:50080"), None);
        for (name, url, expected) in [
            (
                "prismnet",
                "http://192.0.2.1:50081",
                "iam.public_endpoints.prismnet",
            ),
            (
                "prismnet",
                "https://cloud.example/api",
                "iam.public_endpoints.prismnet",
            ),
            (
                "prismnett",
                "https://cloud.example",
                "one of iam, prismnet,",
            ),
        ] {
            let text = refusal(name, url).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }
}
