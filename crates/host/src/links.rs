//! Network interfaces and their addresses, by rtnetlink (`rtnetlink(7)`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use ipnet::IpNet;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoVrf, InfoVxlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;

use crate::{Error, Result};

/// What kind of device an interface is, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A VRF with its routing table.
    Vrf {
        /// The table's number.
        table: u32,
    },
    /// A bridge.
    Bridge,
    /// A TUN or TAP.
    Tun,
    /// A VXLAN tunnel.
    Vxlan(Vxlan),
    /// Any other, among them hardware.
    Other,
}

/// A VXLAN tunnel (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier.
    pub vni: u32,
    /// The host's end; `None`: not said, or IPv6.
    pub local: Option<Ipv4Addr>,
    /// UDP port of the other ends.
    pub port: u16,
    /// Whether it learns from what comes who is where.
    pub learning: bool,
}

/// What a bridge does with one of its ports. By default it learns and floods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// Whether it learns from what comes in there.
    pub learning: bool,
    /// Whether frames for MACs that it does not know go out there.
    pub unicast_flood: bool,
    /// Whether multicast goes out there.
    pub multicast_flood: bool,
    /// Whether the bridge answers by itself who asks for neighbours that are there.
    pub neighbour_suppression: bool,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index: another one after the interface was made anew.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Name of the bridge or VRF that it belongs to.
    pub master: Option<String>,
    /// How it is a port of a bridge; `None`: of none.
    pub bridge_port: Option<BridgePort>,
    /// The largest packet that it carries, in bytes.
    pub mtu: u32,
    /// Hardware address; absent for devices without.
    pub mac: Option<[u8; 6]>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether there is somebody at the other end: of a TAP, whether a process has it open.
    pub carrier: bool,
    /// Its addresses with their prefix length.
    pub addresses: BTreeSet<IpNet>,
}

/// The kernel's interfaces.
#[async_trait]
pub trait Links: Send + Sync {
    /// All interfaces.
    async fn list(&self) -> Result<Vec<Link>>;
    /// Deletes an interface; nothing happens when there is none of that name.
    async fn delete(&self, name: &str) -> Result<()>;
    /// Changes its value with every change of an interface or address, wherever it came from.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The kernel's own, in the network namespace of the thread that made this.
pub struct Netlink {
    handle: Handle,
    changes: watch::Receiver<u64>,
}

impl Netlink {
    /// Opens two netlink sockets and starts the tasks that serve them.
    ///
    /// Errors: [`Error::Netlink`].
    pub fn new() -> Result<Self> {
        let opened = |error: std::io::Error| Error::Netlink {
            action: "open socket".to_owned(),
            reason: error.to_string(),
        };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(opened)?;
        tokio::spawn(connection);
        let (listener, _, mut messages) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])
        .map_err(opened)?;
        tokio::spawn(listener);
        let (sender, changes) = watch::channel(0_u64);
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                sender.send_modify(|count| *count = count.wrapping_add(1));
                if sender.is_closed() {
                    break;
                }
            }
        });
        Ok(Self { handle, changes })
    }

    async fn addresses(&self) -> Result<BTreeMap<u32, BTreeSet<IpNet>>> {
        let messages: Vec<_> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(netlink("list addresses"))?;
        let mut addresses: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
        for message in messages {
            // The local address is what the host has; `Address` is the peer's on point-to-point links.
            let mut local = None;
            let mut address = None;
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Local(ip) => local = Some(*ip),
                    AddressAttribute::Address(ip) => address = Some(*ip),
                    _ => {}
                }
            }
            if let Some(net) = local
                .or(address)
                .and_then(|ip| IpNet::new(ip, message.header.prefix_len).ok())
            {
                addresses
                    .entry(message.header.index)
                    .or_default()
                    .insert(net);
            }
        }
        Ok(addresses)
    }
}

/// What a request of rtnetlink failed with.
pub(crate) fn netlink(action: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> Error {
    let action = action.into();
    move |error| Error::Netlink {
        action,
        reason: error.to_string(),
    }
}

fn kind(infos: &[LinkInfo]) -> Kind {
    let named = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match named {
        Some(InfoKind::Vrf) => {
            let table = infos.iter().find_map(|info| match info {
                LinkInfo::Data(InfoData::Vrf(data)) => data.iter().find_map(|item| match item {
                    InfoVrf::TableId(table) => Some(*table),
                    _ => None,
                }),
                _ => None,
            });
            table.map_or(Kind::Other, |table| Kind::Vrf { table })
        }
        Some(InfoKind::Bridge) => Kind::Bridge,
        Some(InfoKind::Tun) => Kind::Tun,
        Some(InfoKind::Vxlan) => Kind::Vxlan(vxlan(infos)),
        _ => Kind::Other,
    }
}

fn vxlan(infos: &[LinkInfo]) -> Vxlan {
    let mut vxlan = Vxlan {
        vni: 0,
        local: None,
        port: 0,
        learning: false,
    };
    let data = infos.iter().filter_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(data)) => Some(data),
        _ => None,
    });
    for item in data.flatten() {
        match item {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Local(address) => vxlan.local = Some(*address),
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Learning(learning) => vxlan.learning = *learning,
            _ => {}
        }
    }
    vxlan
}

fn bridge_port(infos: &[LinkInfo]) -> Option<BridgePort> {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BridgePort(data)) => Some(data),
        _ => None,
    })?;
    let mut port = BridgePort {
        learning: true,
        unicast_flood: true,
        multicast_flood: true,
        neighbour_suppression: false,
    };
    for item in data {
        match item {
            InfoBridgePort::Learning(is) => port.learning = *is,
            InfoBridgePort::UnicastFlood(is) => port.unicast_flood = *is,
            InfoBridgePort::MulticastFlood(is) => port.multicast_flood = *is,
            InfoBridgePort::NeighSupress(is) => port.neighbour_suppression = *is,
            _ => {}
        }
    }
    Some(port)
}

fn link(message: &LinkMessage, names: &BTreeMap<u32, String>) -> Option<Link> {
    let index = message.header.index;
    let mut link = Link {
        index,
        name: names.get(&index)?.clone(),
        kind: Kind::Other,
        master: None,
        bridge_port: None,
        mtu: 0,
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        addresses: BTreeSet::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Controller(master) => link.master = names.get(master).cloned(),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = kind(infos);
                link.bridge_port = bridge_port(infos);
            }
            _ => {}
        }
    }
    Some(link)
}

#[async_trait]
impl Links for Netlink {
    async fn list(&self) -> Result<Vec<Link>> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(netlink("list links"))?;
        let mut addresses = self.addresses().await?;
        let names: BTreeMap<u32, String> = messages
            .iter()
            .filter_map(|message| {
                message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        LinkAttribute::IfName(name) => Some((message.header.index, name.clone())),
                        _ => None,
                    })
            })
            .collect();
        Ok(messages
            .iter()
            .filter_map(|message| link(message, &names))
            .map(|mut link| {
                link.addresses = addresses.remove(&link.index).unwrap_or_default();
                link
            })
            .collect())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        // By name (index 0): an index could belong to another interface by now.
        let mut request = self.handle.link().del(0);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(LinkAttribute::IfName(name.to_owned()));
        match request.execute().await {
            Err(rtnetlink::Error::NetlinkError(message))
                if message.raw_code() == -nix::libc::ENODEV =>
            {
                Ok(())
            }
            other => other.map_err(netlink(format!("delete link {name}"))),
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}
