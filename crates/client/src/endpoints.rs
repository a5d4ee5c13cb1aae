//! Where the servers of a cloud are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use photon_api::components::{COMPONENTS, component};

/// The URL of each server that is known, and whose certificates to believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `http://` or `https://` URLs by the component's name.
    pub urls: BTreeMap<String, String>,
    /// PEM file with the authority that `https://` servers must have their certificates of. None: those that the
    /// machine trusts.
    pub ca_file: Option<PathBuf>,
}

impl Endpoints {
    /// Each component's server on this machine, at its own port.
    pub fn local() -> Self {
        COMPONENTS
            .into_iter()
            .map(|component| (component.name, component.default_endpoint))
            .collect()
    }

    /// The servers that are on the same host as this URL's, each at its component's own port.
    pub fn beside(url: &str) -> Self {
        // Only what is between "://" and the next '/' is the host; an IPv6 address has its colons in brackets.
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self::default();
        };
        let host = rest.split('/').next().unwrap_or_default();
        let host = match host.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => host,
        };
        COMPONENTS
            .into_iter()
            .map(|component| {
                let url = format!("{scheme}://{host}:{}", component.port);
                (component.name, url)
            })
            .collect()
    }

    /// The URL of a component's server.
    pub fn url(&self, component: &str) -> Option<&str> {
        self.urls.get(component).map(String::as_str)
    }

    /// Trusts this authority for `https://` servers.
    pub fn trusting(mut self, ca_file: Option<PathBuf>) -> Self {
        self.ca_file = ca_file;
        self
    }

    /// What is not known here is taken from there.
    pub fn or(mut self, other: &Self) -> Self {
        for (name, url) in &other.urls {
            self.urls.entry(name.clone()).or_insert_with(|| url.clone());
        }
        self.ca_file = self.ca_file.or_else(|| other.ca_file.clone());
        self
    }
}

impl<N: Into<String>, U: Into<String>> FromIterator<(N, U)> for Endpoints {
    fn from_iter<I: IntoIterator<Item = (N, U)>>(urls: I) -> Self {
        Self {
            urls: urls
                .into_iter()
                .map(|(name, url)| (name.into(), url.into()))
                .collect(),
            ca_file: None,
        }
    }
}

/// URLs in the order of the table of components; the last ones may be left out.
impl<const N: usize> From<[String; N]> for Endpoints {
    fn from(urls: [String; N]) -> Self {
        COMPONENTS
            .into_iter()
            .map(|component| component.name)
            .zip(urls)
            .collect()
    }
}

/// What a component's server is called for people: `PrismNET`; a name that is not in the table as it is.
pub fn title(name: &str) -> &str {
    component(name).map_or(name, |component| component.title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_wins_and_the_rest_is_filled_in() {
        let mine: Endpoints = [("iam", "https://rack:50080")].into_iter().collect();
        let all = mine.or(&Endpoints::local());
        assert_eq!(all.url("iam"), Some("https://rack:50080"));
        assert_eq!(all.url("provisioner"), Some("http://127.0.0.1:50089"));
        assert_eq!(all.url("chainfire"), None);
    }

    #[test]
    fn other_servers_are_looked_for_beside_the_one_that_is_known() {
        for (one, other) in [
            ("https://rack.example:50080", "https://rack.example:50081"),
            ("https://rack.example", "https://rack.example:50081"),
            ("http://[2001:db8::1]:50080/", "http://[2001:db8::1]:50081"),
            ("http://[2001:db8::1]", "http://[2001:db8::1]:50081"),
        ] {
            assert_eq!(Endpoints::beside(one).url("prismnet"), Some(other), "{one}");
        }
    }

    #[test]
    fn a_row_of_urls_is_in_the_order_of_the_table() {
        let urls = ["http://a".to_owned(), "http://b".to_owned()];
        let endpoints = Endpoints::from(urls);
        assert_eq!(endpoints.url("prismnet"), Some("http://b"));
        assert_eq!(endpoints.url("plasmavmc"), None);
    }
}
