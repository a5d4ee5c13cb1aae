//! Listening, and who is in the way of it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use anyhow::anyhow;
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};
use tokio::net::TcpListener;

/// Listens on an address.
///
/// Errors: it can't; if the port is taken, with the process that has it, as far as this one may see.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            anyhow!(
                "can't listen on {address}: the port is taken by {}",
                holder(address)
            )
        } else {
            anyhow!(error).context(format!("can't listen on {address}"))
        }
    })
}

/// Who has a TCP port of this host, in words. A program in a sandbox sees but the processes of its own user.
fn holder(address: SocketAddr) -> String {
    let look = format!(
        "`ss -tanp 'sport = :{}'`, as root, tells which",
        address.port()
    );
    let Some(entry) = Process::myself()
        .ok()
        .and_then(|own| in_the_way(&own, address))
    else {
        return format!("another process: {look}");
    };
    let how = match entry.state {
        TcpState::Listen => "which listens on it".to_owned(),
        // The kernel gave it out: see net.ipv4.ip_local_reserved_ports.
        _ => format!("for its connection to {}", entry.remote_address),
    };
    match process_of(entry.inode) {
        Some(process) => format!("{process}, {how}"),
        None => format!("another process, {how}: {look}"),
    }
}

/// The socket that has the port: one that listens before one that is connected.
fn in_the_way(own: &Process, address: SocketAddr) -> Option<TcpNetEntry> {
    let mut entries = own.tcp().unwrap_or_default();
    entries.extend(own.tcp6().unwrap_or_default());
    let same = |ip: IpAddr| {
        let (ip, wanted) = (ip.to_canonical(), address.ip().to_canonical());
        ip == wanted || ip.is_unspecified() || wanted.is_unspecified()
    };
    entries.retain(|entry| {
        entry.local_address.port() == address.port()
            && same(entry.local_address.ip())
            // Nobody has it any more.
            && entry.inode != 0
    });
    entries.sort_by_key(|entry| entry.state != TcpState::Listen);
    entries.into_iter().next()
}

/// The process with an open socket: `process 7 (nginx)`.
fn process_of(inode: u64) -> Option<String> {
    let has = |process: &Process| {
        let mut files = process.fd().ok()?.flatten();
        files.find(|file| matches!(file.target, FDTarget::Socket(it) if it == inode))
    };
    // What ends meanwhile, or is another user's, can't be read.
    let process = all_processes()
        .ok()?
        .flatten()
        .find(|process| has(process).is_some())?;
    let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
    Some(format!("process {} ({name})", process.pid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_has_the_port_is_named() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = busy.local_addr().unwrap();
        let own = std::process::id();
        for wanted in [address, SocketAddr::from(([0, 0, 0, 0], address.port()))] {
            let error = format!("{:#}", listen(wanted).await.unwrap_err());
            for word in [
                wanted.to_string(),
                format!("process {own} ("),
                "listens".to_owned(),
            ] {
                assert!(error.contains(&word), "{word}: {error}");
            }
        }
        drop(busy);
        listen(address).await.unwrap();
    }

    /// As when the kernel gave a server's port to somebody's connection.
    #[tokio::test]
    async fn a_connection_in_the_way_is_told_from_a_listener() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = other.local_addr().unwrap();
        let connection = tokio::net::TcpStream::connect(to).await.unwrap();
        let address = connection.local_addr().unwrap();
        let error = format!("{:#}", listen(address).await.unwrap_err());
        assert!(
            error.contains(&format!("for its connection to {to}")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn another_reason_is_told_as_it_is() {
        // TEST-NET-1, of no interface here.
        let error = listen("192.0.2.1:1".parse().unwrap()).await.unwrap_err();
        assert!(!format!("{error:#}").contains("taken"), "{error:#}");
    }
}
