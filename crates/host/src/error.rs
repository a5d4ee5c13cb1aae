//! What can go wrong with a host.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the host; its text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written or removed.
    #[error("{action} {path}: {source}", path = path.display())]
    File {
        /// `read`, `write`, ….
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("start {program}: {source} (is it installed and in PATH?)")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        /// Name and arguments.
        program: String,
        /// Exit status.
        status: String,
        /// What it said, shortened.
        stderr: String,
    },
    /// Something did not end in time.
    #[error("{what} did not end within {limit:?}")]
    TimedOut {
        /// What.
        what: String,
        /// The limit.
        limit: Duration,
    },
    /// A program or the kernel answered something that is not understood.
    #[error("{what} answered what is not understood: {reason}")]
    Answer {
        /// Who answered.
        what: &'static str,
        /// Why it is not understood.
        reason: String,
    },
    /// D-Bus, or the service behind it.
    #[error("D-Bus call {call}: {source}")]
    DBus {
        /// `interface.Method`.
        call: &'static str,
        /// Why.
        source: zbus::Error,
    },
    /// A socket could not be opened.
    #[error("open a {protocol} socket at {address} in {device}: {reason}")]
    Socket {
        /// `UDP`, `TCP`.
        protocol: &'static str,
        /// Where.
        address: std::net::SocketAddr,
        /// The device that it was for.
        device: String,
        /// The kernel's answer.
        reason: String,
    },
    /// Route netlink.
    #[error("netlink {action}: {reason}")]
    Netlink {
        /// What was asked for.
        action: String,
        /// The kernel's answer.
        reason: String,
    },
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
