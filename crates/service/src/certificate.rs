//! What a host's certificate says: which host of which cluster it is, where the others reach it, and until when.
//!
//! The connection has verified that one of the trusted authorities signed it. That is looked at anew here is when it is
//! valid: a connection can last longer than the certificate that it was made with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The identity in a host's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    pub cluster: String,
    pub node: String,
    /// Where the cluster's hosts reach it, as it is written there.
    pub addresses: Vec<IpAddr>,
    /// From then on it is worth nothing.
    pub ends: SystemTime,
}

/// Why a certificate is nobody's identity, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotANode {
    #[error("the client's certificate can't be read: {0}")]
    Unreadable(String),
    #[error(
        "the client's certificate is not for client authentication: expected clientAuth among its extended key usages"
    )]
    NotForClients,
    #[error("the client's certificate is not valid yet: look at the clocks of both hosts")]
    NotYet,
    #[error("the client's certificate has expired: it must be renewed")]
    Expired,
    #[error(
        "the client's certificate has {0} URIs among its alternative names: expected one, photon://CLUSTER/node/NODE"
    )]
    Uris(usize),
    #[error("the URI of the client's certificate is {0:?}: expected photon://CLUSTER/node/NODE")]
    Uri(String),
}

impl NodeCertificate {
    /// Reads a verified certificate (DER) as of `now`.
    pub fn read(der: &[u8], now: SystemTime) -> Result<Self, NotANode> {
        let unreadable = |error: &dyn std::fmt::Display| NotANode::Unreadable(error.to_string());
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(&error))?;
        if !rest.is_empty() {
            return Err(unreadable(&"there is more behind its end"));
        }
        let usage = certificate
            .extended_key_usage()
            .map_err(|error| unreadable(&error))?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(NotANode::NotForClients);
        }
        let validity = certificate.validity();
        if now < time(validity.not_before.timestamp()) {
            return Err(NotANode::NotYet);
        }
        let ends = time(validity.not_after.timestamp());
        if now >= ends {
            return Err(NotANode::Expired);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| unreadable(&error))?;
        let names: Vec<&GeneralName<'_>> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .collect();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris[..] else {
            return Err(NotANode::Uris(uris.len()));
        };
        let (cluster, node) = parse(uri).ok_or_else(|| NotANode::Uri(shown(uri)))?;
        Ok(Self {
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            addresses: names.iter().filter_map(|name| address(name)).collect(),
            ends,
        })
    }
}

/// Four or sixteen bytes (RFC 5280 section 4.2.1.6).
fn address(name: &GeneralName<'_>) -> Option<IpAddr> {
    let GeneralName::IPAddress(bytes) = *name else {
        return None;
    };
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into()))
        .ok()
}

/// Seconds since 1970, before which no certificate of ours can begin.
fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn parse(uri: &str) -> Option<(&str, &str)> {
    let (cluster, node) = uri.strip_prefix("photon://")?.split_once("/node/")?;
    let is_name = |name: &str| photon_resource::validate_resource_name("name", name).is_ok();
    (is_name(cluster) && is_name(node)).then_some((cluster, node))
}

/// It goes into an event and an answer.
fn shown(uri: &str) -> String {
    uri.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

    use super::*;

    fn certificate(uris: &[&str], usages: &[ExtendedKeyUsagePurpose]) -> Vec<u8> {
        let names = ["node02", "192.0.2.2"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;
    const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;
    const URI: &str = "photon://example/node/node02";

    #[test]
    fn a_hosts_certificate_says_which_host_it_is() {
        let der = certificate(&[URI], &[SERVER, CLIENT]);
        let read = NodeCertificate::read(&der, SystemTime::now()).unwrap();
        assert_eq!(
            (read.cluster.as_str(), read.node.as_str()),
            ("example", "node02")
        );
        assert_eq!(read.addresses, [IpAddr::from([192, 0, 2, 2])]);
        assert!(read.ends > SystemTime::now());
    }

    #[test]
    fn what_is_no_hosts_certificate_is_refused_for_its_own_reason() {
        let now = SystemTime::now();
        let uri = |uri: &str| (vec![uri.to_owned()], NotANode::Uri(uri.to_owned()));
        let cases = [
            (vec![], NotANode::Uris(0)),
            (
                vec![URI.to_owned(), "photon://example/node/node01".to_owned()],
                NotANode::Uris(2),
            ),
            uri("https://example/node/node02"),
            uri("photon://example/node/"),
            uri("photon:///node/node02"),
            uri("photon://example/node/node02/"),
            uri("photon://example/node/node02?x"),
            uri("photon://example/nodes/node02"),
            uri("photon://example/node/Node02"),
            uri("PHOTON://example/node/node02"),
            uri("photon://a/node/b/node/node02"),
        ];
        for (uris, expected) in cases {
            let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
            let der = certificate(&uris, &[CLIENT]);
            assert_eq!(NodeCertificate::read(&der, now), Err(expected));
        }
        for usages in [&[][..], &[SERVER][..]] {
            let der = certificate(&[URI], usages);
            assert_eq!(
                NodeCertificate::read(&der, now),
                Err(NotANode::NotForClients)
            );
        }
        let mut longer = certificate(&[URI], &[CLIENT]);
        longer.push(0);
        let unreadable = NodeCertificate::read(&longer, now);
        assert!(matches!(unreadable, Err(NotANode::Unreadable(_))));
    }

    #[test]
    fn it_counts_from_its_begin_to_its_end() {
        let der = certificate(&[URI], &[CLIENT]);
        let read = NodeCertificate::read(&der, SystemTime::now()).unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(
            NodeCertificate::read(&der, read.ends),
            Err(NotANode::Expired)
        );
        assert!(NodeCertificate::read(&der, read.ends - second).is_ok());
        assert_eq!(
            NodeCertificate::read(&der, UNIX_EPOCH),
            Err(NotANode::NotYet)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..400, to in any::<u8>()) {
            let _ = NodeCertificate::read(&bytes, SystemTime::now());
            let mut der = certificate(&[URI], &[CLIENT]);
            if let Some(byte) = der.get_mut(at) {
                *byte = to;
            }
            let _ = NodeCertificate::read(&der, SystemTime::now());
        }
    }
}
