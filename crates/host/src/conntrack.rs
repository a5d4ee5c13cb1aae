//! Tracked connections, by the program `conntrack` (`conntrack(8)`).

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;

use crate::process;
use crate::{Error, Result};

/// Longest time that one run may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The kernel's table of connections.
#[async_trait]
pub trait Connections: Send + Sync {
    /// Forgets all connections of `zone` that `address` began or was called by. What still comes of them is
    /// then judged as new.
    async fn forget(&self, zone: u16, address: IpAddr) -> Result<()>;
}

/// The program `conntrack`, found in PATH.
#[derive(Debug, Default)]
pub struct Conntrack;

#[async_trait]
impl Connections for Conntrack {
    async fn forget(&self, zone: u16, address: IpAddr) -> Result<()> {
        let (zone, text) = (zone.to_string(), address.to_string());
        let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
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
}
