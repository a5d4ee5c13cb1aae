//! Long steps, told to whoever waits: what runs, for how long, and where its full output is.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use photon_e2e::progress::{human, say};

/// A step that takes long enough to be announced.
pub struct Step {
    what: String,
    begun: Instant,
}

impl Step {
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        say(format!("==> {what}"));
        Step {
            what,
            begun: Instant::now(),
        }
    }

    /// Runs a child to its end, with its output in `log`, and keeps the reader company meanwhile.
    ///
    /// The child ends when this process does, however that ends: it gets SIGKILL from the kernel.
    /// A child that makes mounts should be run through [`contained`].
    pub fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;

        let (done, ended) = std::sync::mpsc::channel::<()>();
        let status = std::thread::scope(|scope| {
            scope.spawn(move || self.keep_company(log, &ended));
            let status = child.wait();
            drop(done);
            status
        })?;
        if !status.success() {
            bail!(
                "{} failed ({status}); the last lines of its log:\n{}",
                self.what,
                tail(log, 20)
            );
        }
        Ok(())
    }

    fn keep_company(&self, log: &Path, ended: &std::sync::mpsc::Receiver<()>) {
        let terminal = std::io::stderr().is_terminal();
        let period = Duration::from_secs(if terminal { 1 } else { 30 });
        // The sender never sends: what arrives is either the end of the period or the end of the child.
        while ended.recv_timeout(period) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let last: String = tail(log, 1).trim().chars().take(60).collect();
            let line = format!("    {:>10}  {last}", human(self.begun.elapsed()));
            if terminal {
                eprint!("\r\x1b[K{line}");
                // Nobody is harmed when a progress line is lost.
                let _ = std::io::stderr().flush();
            } else {
                say(line);
            }
        }
        if terminal {
            eprint!("\r\x1b[K");
        }
    }

    pub fn end(self) -> Duration {
        let took = self.begun.elapsed();
        say(format!("    {}: {}", self.what, human(took)));
        took
    }
}

/// The last `lines` lines of a file, or a word on why there are none.
pub fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

/// A command whose processes and mounts vanish with this process, even if that is killed: it runs in
/// its own PID and mount namespaces, and the kernel ends the namespace's first process.
pub fn contained(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--pid", "--mount-proc"])
        .args(["--fork", "--kill-child", program]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_child_is_named_with_its_last_words() {
        let log = std::env::temp_dir().join(format!("xtask-progress-{}", std::process::id()));
        let step = Step::begin("testing");
        let error = step
            .run(
                Command::new("sh").args(["-c", "echo it broke here; exit 3"]),
                &log,
            )
            .unwrap_err()
            .to_string();
        std::fs::remove_file(&log).unwrap();
        assert!(error.contains("it broke here"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
    }
}
