//! What the servers take: memory, disk, and what they refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::arena::server;
use crate::native::stage::Process;
use crate::native::unit::Unit;

/// `/metrics` is at the port of gRPC and this (`components.toml`).
const METRICS: u16 = 1000;
const LIMIT: Duration = Duration::from_secs(10);

/// A server that is looked at.
pub struct Watched {
    pub program: &'static str,
    pub component: &'static str,
    pub memory_max: u64,
    process: Process,
}

/// What one of them has at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of its memory in RAM: now, and the most that there was (VmRSS and VmHWM of proc_pid_status(5)), in bytes.
    pub resident: u64,
    pub peak: u64,
    /// Connections and calls that it did not let in.
    pub refused: u64,
}

impl Watched {
    pub fn new(component: &'static str, program: &'static str, process: Process) -> Result<Self> {
        Ok(Watched {
            program,
            component,
            memory_max: Unit::of(program)?.memory_max()?,
            process,
        })
    }

    /// # Errors
    /// When it has ended, with the end of its log, or does not answer `/metrics` in 10 s.
    pub async fn look(&self) -> Result<Seen> {
        self.process.check()?;
        let path = format!("/proc/{}/status", self.process.pid());
        let status =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let metrics = timeout(LIMIT, self.metrics()).await;
        let metrics = metrics
            .with_context(|| format!("{} does not answer /metrics", self.program))?
            .with_context(|| format!("/metrics of {}", self.program))?;
        Ok(Seen {
            resident: kilobytes(&status, "VmRSS")?,
            peak: kilobytes(&status, "VmHWM")?,
            refused: refused(&metrics),
        })
    }

    async fn metrics(&self) -> Result<String> {
        let mut address = server(self.component);
        address.set_port(address.port() + METRICS);
        let mut stream = TcpStream::connect(address).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// # Errors
    /// When it does not end.
    pub async fn stop(&self) -> Result<()> {
        self.process.stop().await
    }
}

/// A value of proc_pid_status(5), in bytes.
fn kilobytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().nth(1));
    let value = value.and_then(|value| value.parse::<u64>().ok());
    Ok(value.with_context(|| format!("the kernel tells no {name}"))? * 1024)
}

/// All of `photon_refused_total`, whatever the reason (Prometheus exposition format).
fn refused(metrics: &str) -> u64 {
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("photon_refused_total{"));
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// What the stores, which have the chains, and the logs below a directory take on the disk, in bytes; images are their
/// tenants', and have quotas. A file that goes meanwhile takes nothing.
pub fn on_disk(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut next: Vec<PathBuf> = vec![directory.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = next.pop() {
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => next.push(entry.path()),
                Ok(meta) if is_ours(&entry.file_name().to_string_lossy()) => {
                    bytes += meta.blocks() * 512;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
    bytes
}

/// Whether this is a store's (`flaredb.sqlite`, `-wal`, `-shm`) or a log's name.
fn is_ours(name: &str) -> bool {
    name.starts_with("flaredb.") || name.ends_with(".log")
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{FallocateFlags, fallocate};

    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_tells_it() {
        let status = "VmPeak:\t  900 kB\nVmHWM:\t   300 kB\nVmRSS:\t   200 kB\n";
        assert_eq!(kilobytes(status, "VmHWM").unwrap(), 300 << 10);
        assert!(kilobytes(status, "VmSwap").is_err());
    }

    #[test]
    fn refusals_for_all_reasons_are_one_number() {
        let metrics = "# TYPE photon_refused_total counter\n\
            photon_refused_total{why=\"it asks too fast\"} 40\n\
            photon_refused_total{why=\"it connects too often\"} 2\n\
            photon_grpc_calls_total{code=\"OK\"} 7\n";
        assert_eq!(refused(metrics), 42);
        assert_eq!(refused(""), 0);
    }

    #[test]
    fn what_a_file_takes_is_what_it_has_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("store")).unwrap();
        let sparse = std::fs::File::create(directory.path().join("store/flaredb.sqlite")).unwrap();
        sparse.set_len(1 << 30).unwrap();
        assert!(on_disk(directory.path()) < 1 << 20);
        fallocate(&sparse, FallocateFlags::empty(), 0, 2 << 20).unwrap();
        assert!(on_disk(directory.path()) >= 2 << 20);
        let before = on_disk(directory.path());
        std::fs::write(directory.path().join("store/image"), [1; 9000]).unwrap();
        assert_eq!(on_disk(directory.path()), before);
        std::fs::write(directory.path().join("iam-server.log"), [1; 9000]).unwrap();
        assert!(on_disk(directory.path()) > before);
    }
}
