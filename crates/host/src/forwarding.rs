//! What an interface is told of stations that are elsewhere, instead of learning it: forwarding databases and neighbours,
//! by rtnetlink (`rtnetlink(7)`, `bridge(8)`, `ip-neighbour(8)`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{Handle, NeighbourAddRequest};

use crate::links::netlink;
use crate::{Error, Result};

/// One thing that an interface is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Entry {
    /// A VXLAN device sends frames for this MAC to this address.
    Tunnel {
        device: String,
        mac: [u8; 6],
        to: Ipv4Addr,
    },
    /// A bridge sends frames for this MAC out of this port of it.
    Port { device: String, mac: [u8; 6] },
    /// On this interface the address is at this MAC: nobody need ask.
    Neighbour {
        device: String,
        address: IpAddr,
        mac: [u8; 6],
    },
}

/// Of entries with the same place there is but one: a new one takes the place of the old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place<'a> {
    /// In a VXLAN device's own database.
    Tunnel(&'a str, [u8; 6]),
    /// In that of the bridge.
    Port(&'a str, [u8; 6]),
    /// Among the neighbours.
    Neighbour(&'a str, IpAddr),
}

impl Entry {
    /// The interface that is told.
    pub fn device(&self) -> &str {
        match self {
            Self::Tunnel { device, .. }
            | Self::Port { device, .. }
            | Self::Neighbour { device, .. } => device,
        }
    }

    /// Where it is.
    pub fn place(&self) -> Place<'_> {
        match self {
            Self::Tunnel { device, mac, .. } => Place::Tunnel(device, *mac),
            Self::Port { device, mac } => Place::Port(device, *mac),
            Self::Neighbour {
                device, address, ..
            } => Place::Neighbour(device, *address),
        }
    }
}

/// The kernel's databases.
#[async_trait]
pub trait Forwarding: Send + Sync {
    /// All that interfaces were told by somebody: what they have learnt themselves is not among it.
    async fn list(&self) -> Result<Vec<Entry>>;

    /// Removes entries, then adds others. One that is not there any more, or whose interface is not, is removed already; one
    /// that is added takes the place of what is there.
    async fn change(&self, remove: &[Entry], add: &[Entry]) -> Result<()>;
}

/// The kernel's own, in the network namespace of the thread that made this.
pub struct Databases {
    handle: Handle,
}

impl Databases {
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

    async fn names(&self) -> Result<BTreeMap<u32, String>> {
        let links = self.handle.link().get().execute().try_collect().await;
        let links: Vec<LinkMessage> = links.map_err(netlink("list links"))?;
        let named = links.into_iter().filter_map(|link| {
            let name = link.attributes.into_iter().find_map(|it| match it {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            Some((link.header.index, name?))
        });
        Ok(named.collect())
    }

    async fn dump(&self, family: AddressFamily) -> Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get().set_address_family(family);
        let messages = request.execute().try_collect().await;
        messages.map_err(netlink("list what interfaces are told"))
    }
}

/// What somebody has set of what a dump holds; `None`: it was learnt, is the interface's own MAC, or is of another kind.
fn entry(message: &NeighbourMessage, names: &BTreeMap<u32, String>) -> Option<Entry> {
    let device = names.get(&message.header.ifindex)?.clone();
    let (mut mac, mut destination, mut of_bridge) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            NeighbourAttribute::Destination(address) => destination = Some(address),
            NeighbourAttribute::Controller(_) => of_bridge = true,
            _ => {}
        }
    }
    let mac = mac?;
    let told = message.header.flags.contains(NeighbourFlags::ExtLearned);
    match (message.header.family, destination) {
        (AddressFamily::Bridge, Some(NeighbourAddress::Other(to))) => {
            let to = Ipv4Addr::from(<[u8; 4]>::try_from(to.as_slice()).ok()?);
            Some(Entry::Tunnel { device, mac, to })
        }
        (AddressFamily::Bridge, None) if of_bridge && told => Some(Entry::Port { device, mac }),
        (AddressFamily::Inet, Some(NeighbourAddress::Inet(address))) if told => {
            let address = IpAddr::V4(*address);
            Some(Entry::Neighbour {
                device,
                address,
                mac,
            })
        }
        (AddressFamily::Inet6, Some(NeighbourAddress::Inet6(address))) if told => {
            let address = IpAddr::V6(*address);
            Some(Entry::Neighbour {
                device,
                address,
                mac,
            })
        }
        _ => None,
    }
}

/// The message that adds an entry, and says where it is to whoever removes it.
///
/// States are those that each takes: VXLAN's own database wants one that does not end by itself, a bridge's `PERMANENT`
/// would be a MAC of the bridge, and networkd looks after permanent neighbours. What is `EXT_LEARNED` never ages and is
/// not collected as garbage.
fn request(handle: &Handle, index: u32, entry: &Entry) -> NeighbourAddRequest {
    let neighbours = handle.neighbours();
    match entry {
        Entry::Tunnel { mac, to, .. } => neighbours
            .add_bridge(index, mac)
            .destination((*to).into())
            .state(NeighbourState::Permanent)
            .flags(NeighbourFlags::Own),
        Entry::Port { mac, .. } => neighbours
            .add_bridge(index, mac)
            .state(NeighbourState::Noarp)
            .flags(NeighbourFlags::Controller | NeighbourFlags::ExtLearned),
        Entry::Neighbour { mac, address, .. } => neighbours
            .add(index, *address)
            .link_layer_address(mac)
            .state(NeighbourState::Noarp)
            .flags(NeighbourFlags::ExtLearned),
    }
    .replace()
}

#[async_trait]
impl Forwarding for Databases {
    async fn list(&self) -> Result<Vec<Entry>> {
        let names = self.names().await?;
        let mut all = Vec::new();
        for family in [
            AddressFamily::Bridge,
            AddressFamily::Inet,
            AddressFamily::Inet6,
        ] {
            let messages = self.dump(family).await?;
            all.extend(messages.iter().filter_map(|it| entry(it, &names)));
        }
        Ok(all)
    }

    async fn change(&self, remove: &[Entry], add: &[Entry]) -> Result<()> {
        let names = self.names().await?;
        let indices: BTreeMap<&str, u32> = names
            .iter()
            .map(|(index, name)| (name.as_str(), *index))
            .collect();
        for entry in remove {
            let Some(index) = indices.get(entry.device()) else {
                continue;
            };
            let message = request(&self.handle, *index, entry).message_mut().clone();
            match self.handle.neighbours().del(message).execute().await {
                Err(rtnetlink::Error::NetlinkError(error)) if is_gone(error.raw_code()) => {}
                other => other.map_err(netlink(format!("remove {entry:?}")))?,
            }
        }
        for entry in add {
            let device = entry.device();
            let index = indices.get(device).ok_or_else(|| Error::Netlink {
                action: format!("tell {device} where {entry:?} is"),
                reason: "there is no such interface".to_owned(),
            })?;
            let added = request(&self.handle, *index, entry).execute().await;
            added.map_err(netlink(format!("add {entry:?}")))?;
        }
        Ok(())
    }
}

fn is_gone(code: i32) -> bool {
    use nix::libc::{ENODEV, ENOENT};
    [-ENOENT, -ENODEV].contains(&code)
}
