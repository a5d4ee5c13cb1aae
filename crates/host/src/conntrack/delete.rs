//! Deleting one tracked connection exactly, by netlink (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! The program `conntrack` reads the whole table for each connection that it deletes: 20 ms of a small one, and with the
//! square of their number that of many connections. The kernel finds one by what its first packet had.

use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Connection, Kind};
use crate::{Error, Result};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is also what acknowledges.
const ERROR: u16 = 2;
/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;
/// `CTA_TUPLE_ORIG`, and in it `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`; `CTA_ZONE`.
const TUPLE: u16 = 1 | NESTED;
const ADDRESSES: u16 = 1 | NESTED;
const PROTOCOL: u16 = 2 | NESTED;
const ZONE: u16 = 18;
/// The kernel answers at once.
const SECONDS: i64 = 10;

fn failed(error: Errno) -> Error {
    Error::Netlink {
        action: "delete a tracked connection".to_owned(),
        reason: error.to_string(),
    }
}

/// Deletes those that are still there. Blocks.
///
/// Errors: [`Error::Netlink`]: no socket, or no right to (`CAP_NET_ADMIN`).
pub(super) fn delete(connections: &[Connection]) -> Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )
    .map_err(failed)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(failed)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(SECONDS)).map_err(failed)?;
    let kernel = NetlinkAddr::new(0, 0);
    let mut answer = [0; 4096];
    for (connection, sequence) in connections.iter().zip(1..) {
        let Some(message) = message(connection, sequence) else {
            continue;
        };
        let parts = [IoSlice::new(&message)];
        sendmsg(
            socket.as_raw_fd(),
            &parts,
            &[],
            MsgFlags::empty(),
            Some(&kernel),
        )
        .map_err(failed)?;
        loop {
            let length =
                recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed)?;
            let Some(result) = result(&answer[..length], sequence) else {
                continue;
            };
            match result {
                // It has ended meanwhile.
                0 | -2 => break,
                code => return Err(failed(Errno::from_raw(-code))),
            }
        }
    }
    Ok(())
}

/// What the kernel says of message `sequence`: 0, or an error's number, negative. `None`: not about it.
fn result(answer: &[u8], sequence: u32) -> Option<i32> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let of = u32::from_ne_bytes(answer.get(8..12)?.try_into().ok()?);
    let code = i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?);
    (kind == ERROR && of == sequence).then_some(code)
}

/// An attribute: its length (without padding), its type, its contents, padding to four bytes.
fn attribute(to: &mut Vec<u8>, kind: u16, contents: &[u8]) {
    // Contents are addresses and what holds them: far below 64 KiB.
    let length = contents.len() as u16 + 4;
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(contents);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// `None`: of a protocol of which more is needed than is known of it here.
fn message(connection: &Connection, sequence: u32) -> Option<Vec<u8>> {
    let (mut addresses, mut protocol) = (Vec::new(), Vec::new());
    let family = match (connection.source, connection.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            attribute(&mut addresses, 1, &source.octets());
            attribute(&mut addresses, 2, &destination.octets());
            libc_family(AddressFamily::Inet)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            attribute(&mut addresses, 3, &source.octets());
            attribute(&mut addresses, 4, &destination.octets());
            libc_family(AddressFamily::Inet6)
        }
        _ => return None,
    };
    attribute(&mut protocol, 1, &[connection.protocol]);
    match (connection.ports, connection.icmp) {
        (Some((source, destination)), _) => {
            attribute(&mut protocol, 2, &source.to_be_bytes());
            attribute(&mut protocol, 3, &destination.to_be_bytes());
        }
        (None, Some(Kind { number, code, id })) => {
            // `CTA_PROTO_ICMP_ID`, `_TYPE`, `_CODE`, or those of ICMPv6 after them.
            let first = if connection.source.is_ipv4() { 4 } else { 7 };
            attribute(&mut protocol, first, &id.to_be_bytes());
            attribute(&mut protocol, first + 1, &[number]);
            attribute(&mut protocol, first + 2, &[code]);
        }
        (None, None) => return None,
    }
    let mut tuple = Vec::new();
    attribute(&mut tuple, ADDRESSES, &addresses);
    attribute(&mut tuple, PROTOCOL, &protocol);
    // nfgenmsg: family, version 0, resource 0.
    let mut body = vec![family, 0, 0, 0];
    attribute(&mut body, TUPLE, &tuple);
    attribute(&mut body, ZONE, &connection.zone.to_be_bytes());
    let mut message = Vec::new();
    message.extend((body.len() as u32 + 16).to_ne_bytes());
    message.extend(DELETE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(body);
    Some(message)
}

/// The kernel's number of a family, which fits a byte.
fn libc_family(family: AddressFamily) -> u8 {
    family as i32 as u8
}

/// Whether [`delete`] can name it to the kernel.
pub(super) fn is_exact(connection: &Connection) -> bool {
    message(connection, 0).is_some()
}
