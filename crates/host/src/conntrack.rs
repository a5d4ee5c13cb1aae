//! Tracked connections, by the program `conntrack` (`conntrack(8)`), and by netlink where it would take too long.

mod delete;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::process;
use crate::{Error, Result};

/// Longest time that one run may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A tracked connection, as its first packet went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// Its zone; 0 is the host's own.
    pub zone: u16,
    /// Protocol number (IANA).
    pub protocol: u8,
    /// Who began it.
    pub source: IpAddr,
    /// Who was called.
    pub destination: IpAddr,
    /// Source and destination port, of protocols that have ports.
    pub ports: Option<(u16, u16)>,
    /// Which question it is, of ICMP and ICMPv6.
    pub icmp: Option<Kind>,
}

/// What tells ICMP's questions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The message's type.
    pub number: u8,
    /// Its code.
    pub code: u8,
    /// Its identifier.
    pub id: u16,
}

/// The kernel's table of connections.
#[async_trait]
pub trait Connections: Send + Sync {
    /// Forgets all connections of `zone` that `address` began or was called by. What still comes of them is
    /// then judged as new.
    async fn forget(&self, zone: u16, address: IpAddr) -> Result<()>;

    /// All connections of zones other than the host's own.
    async fn list(&self) -> Result<Vec<Connection>>;

    /// Forgets these. One that has ended meanwhile is no error; whether all are gone, [`list`](Self::list) tells.
    async fn remove(&self, connections: &[Connection]) -> Result<()>;
}

/// The program `conntrack`, found in PATH.
#[derive(Debug, Default)]
pub struct Conntrack;

#[async_trait]
impl Connections for Conntrack {
    async fn forget(&self, zone: u16, address: IpAddr) -> Result<()> {
        let (zone, text) = (zone.to_string(), address.to_string());
        let family = family(address);
        for side in ["--orig-src", "--orig-dst"] {
            let which = ["--family", family, "--zone", &zone, side, &text];
            let run = |verb| {
                let mut arguments = vec![verb];
                arguments.extend(which);
                async move { process::run("conntrack", &arguments, b"", LIMIT).await }
            };
            // It fails when there is none; whether that was why, the list tells.
            let deleted = run("--delete").await;
            if let Err(error) = deleted
                && (!matches!(error, Error::Failed { .. }) || !run("--dump").await?.is_empty())
            {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Connection>> {
        let mut all = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let arguments = ["--dump", "--family", family];
            let output = process::run("conntrack", &arguments, b"", LIMIT).await?;
            all.extend(String::from_utf8_lossy(&output).lines().filter_map(parse));
        }
        Ok(all)
    }

    async fn remove(&self, connections: &[Connection]) -> Result<()> {
        let (exact, others): (Vec<Connection>, Vec<Connection>) =
            connections.iter().cloned().partition(delete::is_exact);
        let deleted = tokio::task::spawn_blocking(move || delete::delete(&exact)).await;
        deleted.map_err(|error| Error::Netlink {
            action: "delete tracked connections".to_owned(),
            reason: error.to_string(),
        })??;
        // Of other protocols all between the two go at once.
        let between: BTreeSet<String> = others.iter().map(which).collect();
        for arguments in between {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            match process::run("conntrack", &arguments, b"", LIMIT).await {
                // Also when there is none any more.
                Ok(_) | Err(Error::Failed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// The arguments that delete all of the connection's protocol between the two.
fn which(connection: &Connection) -> String {
    format!(
        "--delete --family {} --zone {} --proto {} --orig-src {} --orig-dst {}",
        family(connection.source),
        connection.zone,
        connection.protocol,
        connection.source,
        connection.destination,
    )
}

/// A line such as `tcp      6 431999 ESTABLISHED src=10.0.1.10 dst=10.0.1.11 sport=40000 dport=80 src=10.0.1.11 …
/// [ASSURED] mark=0 zone=77 use=1`: what the first packet had comes first. `None`: of the host's own zone, which is
/// not printed, or nothing that is understood.
fn parse(line: &str) -> Option<Connection> {
    let value = |key: &str| {
        line.split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    let port = |key: &str| value(key).and_then(|text| text.parse::<u16>().ok());
    Some(Connection {
        zone: value("zone")?.parse().ok()?,
        protocol: line.split_ascii_whitespace().nth(1)?.parse().ok()?,
        source: value("src")?.parse().ok()?,
        destination: value("dst")?.parse().ok()?,
        ports: port("sport").zip(port("dport")),
        icmp: kind(&value),
    })
}

fn kind<'a>(value: &impl Fn(&str) -> Option<&'a str>) -> Option<Kind> {
    Some(Kind {
        number: value("type")?.parse().ok()?,
        code: value("code")?.parse().ok()?,
        id: value("id")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_first_packet_went() {
        let tcp = "tcp      6 431999 ESTABLISHED src=10.0.1.10 dst=10.0.1.11 sport=40000 dport=80 \
                   src=10.0.1.11 dst=10.0.1.10 sport=80 dport=40000 [ASSURED] mark=0 zone=77 use=1";
        let expected = Connection {
            zone: 77,
            protocol: 6,
            source: "10.0.1.10".parse().unwrap(),
            destination: "10.0.1.11".parse().unwrap(),
            ports: Some((40000, 80)),
            icmp: None,
        };
        assert_eq!(parse(tcp), Some(expected.clone()));
        assert!(delete::is_exact(&expected));
        let icmp = "icmpv6   58 29 src=fd00::a dst=fd00::b type=128 code=0 id=7 src=fd00::b dst=fd00::a \
                    type=129 code=0 id=7 mark=0 zone=5 use=1";
        let seen = parse(icmp).unwrap();
        assert_eq!((seen.zone, seen.protocol, seen.ports), (5, 58, None));
        let kind = Kind {
            number: 128,
            code: 0,
            id: 7,
        };
        assert_eq!(seen.icmp, Some(kind));
        let other =
            "unknown  50 590 src=10.0.1.10 dst=10.0.1.11 src=10.0.1.11 dst=10.0.1.10 zone=5 use=1";
        let seen = parse(other).unwrap();
        assert!(!delete::is_exact(&seen));
        assert_eq!(
            which(&seen),
            "--delete --family ipv4 --zone 5 --proto 50 --orig-src 10.0.1.10 --orig-dst 10.0.1.11"
        );
        let own = tcp.replace(" zone=77", "");
        assert_eq!(parse(&own), None);
        assert_eq!(parse("conntrack v1.4.8: 3 flow entries"), None);
    }
}
