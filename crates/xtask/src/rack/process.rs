//! A process of the rack that this process watches and that cannot outlive it.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::sync::{oneshot, watch};

/// Starts a command of [`super::network::Namespace::command`] and tells when it has ended.
///
/// The thread that starts it waits for it, because the kernel kills the child when that thread ends: which is what is
/// wanted when this process does, and not before.
pub async fn spawn(mut command: Command) -> Result<(Pid, watch::Receiver<bool>)> {
    let (started, start) = oneshot::channel();
    let (ending, ended) = watch::channel(false);
    std::thread::spawn(move || match command.spawn() {
        Ok(mut child) => {
            let _ = started.send(Ok(child.id()));
            let _ = child.wait();
            ending.send_replace(true);
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    });
    let pid = start.await.context("the thread that starts it ended")??;
    Ok((Pid::from_raw(i32::try_from(pid)?), ended))
}

#[derive(Debug)]
pub(super) struct Process {
    group: Pid,
    ended: watch::Receiver<bool>,
}

impl Process {
    /// Starts a command of [`super::network::Namespace::command`], in a process group of its own: it is
    /// killed as one, and Ctrl-C at a terminal is not for it.
    pub async fn start(mut command: Command) -> Result<Self> {
        command.process_group(0);
        let (group, ended) = spawn(command).await?;
        Ok(Process { group, ended })
    }

    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the process is gone.
    pub async fn end(&self, limit: Duration) -> Result<()> {
        let mut ended = self.ended.clone();
        match tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await {
            // An error means that the waiting thread is gone, and so is the child.
            Ok(_) => Ok(()),
            Err(_) => bail!("it still runs after {} s", limit.as_secs_f64()),
        }
    }

    /// The end that a power cut is: nothing in it gets to do anything more.
    pub async fn kill(&self) -> Result<()> {
        match killpg(self.group, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("cannot kill it"),
        }
        self.end(Duration::from_secs(10)).await
    }
}
