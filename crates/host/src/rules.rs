//! At which place the host's own addresses are looked for: the rules of policy routing that lead to the table *local*
//! (`ip-rule(8)`).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Handle, IpVersion};

use crate::links::netlink;
use crate::{Error, Result};

/// `RT_TABLE_LOCAL` of linux/rtnetlink.h.
const LOCAL: u8 = 255;

/// Of IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Family {
    V4,
    V6,
}

/// The rules, by their preference: the lowest is asked first. The kernel makes one of preference 0.
pub type LocalRules = BTreeMap<Family, BTreeSet<u32>>;

/// The kernel's rules.
#[async_trait]
pub trait Rules: Send + Sync {
    /// The preferences of those that lead every packet to the table *local*, of each family that the kernel has.
    async fn local(&self) -> Result<LocalRules>;
    /// Adds one; nothing happens when there is one of this preference.
    async fn add_local(&self, family: Family, preference: u32) -> Result<()>;
    /// Removes one; nothing happens when there is none. The last one is the way to the host itself.
    async fn remove_local(&self, family: Family, preference: u32) -> Result<()>;
}

/// The kernel's own, in the network namespace of the thread that made this.
pub struct PolicyRouting {
    handle: Handle,
}

impl PolicyRouting {
    /// Opens a netlink socket and starts the task that serves it.
    ///
    /// Errors: [`Error::Netlink`].
    pub fn new() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| Error::Netlink {
                action: "open socket".to_owned(),
                reason: error.to_string(),
            })?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }
}

/// The preference of a rule that leads every packet to the table *local*. What the kernel does not print is 0.
fn local_preference(rule: &RuleMessage) -> Option<u32> {
    let header = &rule.header;
    let mut table = u32::from(header.table);
    let mut preference = 0;
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => preference = *number,
            // Who made it.
            RuleAttribute::Protocol(_)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
            | RuleAttribute::L3MDev(false) => {}
            // It is for some packets alone.
            _ => return None,
        }
    }
    let all = header.dst_len == 0 && header.src_len == 0 && header.tos == 0;
    let leads = header.action == RuleAction::ToTable && table == u32::from(LOCAL);
    (all && leads).then_some(preference)
}

/// Of the kernel, as the one that it takes the place of: networkd removes rules that it does not know of others.
fn message(family: Family, preference: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.table = LOCAL;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![RuleAttribute::Priority(preference)];
    message
}

#[async_trait]
impl Rules for PolicyRouting {
    async fn local(&self) -> Result<LocalRules> {
        let mut all = LocalRules::new();
        for (family, version) in [(Family::V4, IpVersion::V4), (Family::V6, IpVersion::V6)] {
            let rules = self.handle.rule().get(version).execute();
            let rules: Vec<RuleMessage> = match rules.try_collect().await {
                Err(rtnetlink::Error::NetlinkError(error))
                    if error.raw_code() == -nix::libc::EAFNOSUPPORT
                        || error.raw_code() == -nix::libc::EOPNOTSUPP =>
                {
                    continue;
                }
                other => other.map_err(netlink("list rules"))?,
            };
            // A kernel without the family answers with another's rules, or none.
            let own = message(family, 0).header.family;
            if rules.iter().any(|rule| rule.header.family == own) {
                let rules = rules.iter().filter(|rule| rule.header.family == own);
                all.insert(family, rules.filter_map(local_preference).collect());
            }
        }
        Ok(all)
    }

    async fn add_local(&self, family: Family, preference: u32) -> Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message(family, preference);
        let by = RuleAttribute::Protocol(RouteProtocol::Kernel);
        request.message_mut().attributes.push(by);
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(error))
                if error.raw_code() == -nix::libc::EEXIST =>
            {
                Ok(())
            }
            other => other.map_err(netlink(format!("add the rule {preference} to local"))),
        }
    }

    async fn remove_local(&self, family: Family, preference: u32) -> Result<()> {
        let removed = self.handle.rule().del(message(family, preference));
        match removed.execute().await {
            Err(rtnetlink::Error::NetlinkError(error))
                if error.raw_code() == -nix::libc::ENOENT =>
            {
                Ok(())
            }
            other => other.map_err(netlink(format!("remove the rule {preference} to local"))),
        }
    }
}
