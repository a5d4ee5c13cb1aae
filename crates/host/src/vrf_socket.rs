//! Sockets that hear and are heard in one VRF alone.
//!
//! A socket is bound to the VRF's device before it has an address, and is never without one: what comes in is of that VRF's
//! interfaces, and what goes out goes by its table, whatever addresses other VRFs have. Once the device is gone the socket
//! stays bound to its dead index and hears nothing: it is for the caller to notice, and to open another.
//!
//! `SO_BINDTODEVICE` takes no capability on a socket that is bound to none yet (`socket(7)`, since Linux 5.7); a port below
//! 1024 takes `CAP_NET_BIND_SERVICE`.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use crate::{Error, Result};

/// The ports from which the host connects to guests, by which its filter knows these connections (decision 0051). Above what the
/// kernel gives to connections of its own choice (`ip_local_port_range`, `ip(7)`).
pub const DIALS_FROM: RangeInclusive<u16> = 64512..=65023;

/// Ports of [`DIALS_FROM`] that are tried before it is given up.
const TRIES: u16 = 16;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A UDP socket, not blocking, at an address that the VRF `device` has.
///
/// Errors: [`Error::Socket`]: there is no such device or address in it, or another socket has it.
pub fn udp(device: &str, address: SocketAddr) -> Result<UdpSocket> {
    let opened = open(device, address, SockType::Datagram);
    opened
        .map(UdpSocket::from)
        .map_err(failed("UDP", device, address))
}

/// A TCP socket that listens, as [`udp`].
///
/// Errors: as [`udp`].
pub fn tcp(device: &str, address: SocketAddr) -> Result<TcpListener> {
    let opened = open(device, address, SockType::Stream).and_then(|socket| {
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(socket)
    });
    opened
        .map(TcpListener::from)
        .map_err(failed("TCP", device, address))
}

/// A TCP socket in the VRF `device` that can be connected to an IPv4 address there, from one of [`DIALS_FROM`].
///
/// Errors: [`Error::Socket`]: there is no such device, or too many connections are open in it.
pub fn dialer(device: &str) -> Result<TcpStream> {
    let first = *DIALS_FROM.start();
    let count = DIALS_FROM.end() - first + 1;
    // Where the last one stopped: a port that has just been used may be remembered by the guest.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut tried = 0;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        tried += 1;
        let opened = unbound(device, address, SockType::Stream).and_then(|socket| {
            bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
            Ok(socket)
        });
        match opened {
            Err(nix::Error::EADDRINUSE) if tried < TRIES => {}
            socket => {
                return socket
                    .map(TcpStream::from)
                    .map_err(failed("TCP", device, address));
            }
        }
    }
}

/// A socket that somebody is to find at its address.
fn open(device: &str, address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = unbound(device, address, kind)?;
    if kind == SockType::Stream {
        // A program that starts again must not wait for the last one's connections to be forgotten.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(socket)
}

fn unbound(device: &str, address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, kind, flags, None)?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(device))?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(socket)
}

fn failed(
    protocol: &'static str,
    device: &str,
    address: SocketAddr,
) -> impl FnOnce(nix::Error) -> Error {
    let device = device.to_owned();
    move |errno| Error::Socket {
        protocol,
        address,
        device,
        reason: errno.desc().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_socket_without_its_device() {
        let address = "127.0.0.1:0".parse().unwrap();
        let udp = udp("pv-none", address).unwrap_err().to_string();
        assert!(udp.contains("pv-none"), "{udp}");
        let tcp = tcp("pv-none", address).unwrap_err().to_string();
        assert!(tcp.contains("TCP socket at 127.0.0.1:0"), "{tcp}");
    }

    #[test]
    fn who_connects_has_a_port_that_nobody_else_has() {
        let sockets: Vec<_> = (0..8).map(|_| dialer("lo").unwrap()).collect();
        let ports = sockets.iter().map(|it| it.local_addr().unwrap().port());
        let ports: std::collections::BTreeSet<_> = ports.collect();
        assert_eq!(ports.len(), 8);
        assert!(ports.iter().all(|port| DIALS_FROM.contains(port)));
        let device = nix::sys::socket::getsockopt(&sockets[0], sockopt::BindToDevice);
        assert_eq!(device.unwrap(), "lo");
    }

    /// Loopback is a device as any other.
    #[test]
    fn a_socket_has_the_address_that_it_was_given() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let udp = udp("lo", address).unwrap();
            assert_eq!(udp.local_addr().unwrap().ip(), address.ip());
            let tcp = tcp("lo", address).unwrap();
            assert_eq!(tcp.local_addr().unwrap().ip(), address.ip());
            // It has the device even if no capability came with it.
            let device = nix::sys::socket::getsockopt(&udp, sockopt::BindToDevice);
            assert_eq!(device.unwrap(), "lo");
        }
    }
}
