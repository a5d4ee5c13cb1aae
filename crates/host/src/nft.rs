//! nftables by its JSON API (`libnftables-json(5)`).
//!
//! Rules are built from the types of the crate `nftables`, which can't name everything that a transaction
//! needs (a map of verdicts, for one), so a transaction is JSON. The program is run by [`crate::process`], which
//! has a time limit and does not block.

use std::os::fd::AsRawFd;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::process;
use crate::{Error, Result};

pub use nftables::{expr, schema, stmt, types};

/// Commands in order: each an object with one key, `add`, `flush`, `delete`, ….
pub type Commands = Vec<Value>;

/// Longest time that one transaction may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The kernel's packet filter.
#[async_trait]
pub trait PacketFilter: Send + Sync {
    /// Applies the commands as one transaction: all or none, and no packet sees a part.
    async fn apply(&self, commands: &Commands) -> Result<()>;
    /// Whether the kernel would take the commands; changes nothing.
    async fn check(&self, commands: &Commands) -> Result<()>;
    /// All objects of one table as `nft -j -s list` prints them (without counters), or `None` if there is no
    /// such table. `family` is `bridge`, `inet`, ….
    async fn list(&self, family: &str, table: &str) -> Result<Option<Vec<Value>>>;
}

/// Changes its value with every change of any nftables ruleset of this network namespace, wherever it came from,
/// our own included.
///
/// Errors: [`Error::Netlink`]: no socket (it needs `CAP_NET_ADMIN`).
pub fn changes() -> Result<watch::Receiver<u64>> {
    /// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`; the address has a bit for each group, from 1.
    const GROUP: u32 = 7;
    let opened = |error: nix::Error| Error::Netlink {
        action: "listen for changes of nftables".to_owned(),
        reason: error.to_string(),
    };
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkNetFilter,
    )
    .map_err(opened)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1 << (GROUP - 1))).map_err(opened)?;
    // SAFETY: an `OwnedFd` gives the same open descriptor each time it is asked, and closes it only when it is
    // dropped, which `AsyncFd` does after it has deregistered it.
    let registered = unsafe { AsyncFd::register(socket) };
    let socket = registered.map_err(|error| Error::Netlink {
        action: "listen for changes of nftables".to_owned(),
        reason: error.to_string(),
    })?;
    let (sender, receiver) = watch::channel(0_u64);
    tokio::spawn(async move {
        let mut message = vec![0; 1 << 16];
        while let Ok(mut ready) = socket.readable().await {
            match recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
                Err(Errno::EAGAIN) => ready.clear_ready(),
                // ENOBUFS: there were more than the socket holds. What they said is not looked at anyway.
                Ok(_) | Err(Errno::ENOBUFS) => {
                    sender.send_modify(|count| *count = count.wrapping_add(1));
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!("nftables is not followed any more: {error}");
                    return;
                }
            }
            if sender.is_closed() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The program `nft`, found in PATH.
#[derive(Debug, Default)]
pub struct Nft;

impl Nft {
    async fn feed(arguments: &[&str], commands: &Commands) -> Result<()> {
        let input = serde_json::to_vec(&json!({ "nftables": commands })).map_err(|error| {
            Error::Answer {
                what: "the JSON encoder",
                reason: error.to_string(),
            }
        })?;
        process::run("nft", arguments, &input, LIMIT).await?;
        Ok(())
    }
}

#[async_trait]
impl PacketFilter for Nft {
    async fn apply(&self, commands: &Commands) -> Result<()> {
        Self::feed(&["-j", "-f", "-"], commands).await
    }

    async fn check(&self, commands: &Commands) -> Result<()> {
        Self::feed(&["-c", "-j", "-f", "-"], commands).await
    }

    async fn list(&self, family: &str, table: &str) -> Result<Option<Vec<Value>>> {
        // The whole family and not the one table: the absence of a table is not an error then.
        let output =
            process::run("nft", &["-j", "-s", "list", "ruleset", family], b"", LIMIT).await?;
        let answer: Value = serde_json::from_slice(&output).map_err(|error| Error::Answer {
            what: "nft",
            reason: error.to_string(),
        })?;
        let Value::Array(objects) = answer["nftables"].clone() else {
            return Err(Error::Answer {
                what: "nft",
                reason: "no array 'nftables'".to_owned(),
            });
        };
        let of_table: Vec<Value> = objects
            .into_iter()
            .filter(|object| {
                object.as_object().is_some_and(|object| {
                    object.iter().any(|(kind, body)| {
                        let name = if kind == "table" { "name" } else { "table" };
                        body["family"] == family && body[name] == table
                    })
                })
            })
            .collect();
        Ok((!of_table.is_empty()).then_some(of_table))
    }
}
