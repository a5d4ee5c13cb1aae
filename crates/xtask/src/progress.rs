//! Long steps, told to whoever waits: what runs, for how long, how much of it is done and what that leaves, and where
//! its full output is. Any number of steps run beside each other.

mod board;
mod share;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use board::State;
pub use board::beside_others;
pub use photon_e2e::progress::human;
use share::Share;

/// Prints one line of what is being done, to standard error, whatever is shown there meanwhile.
pub fn say(line: impl AsRef<str>) {
    board::between(|| photon_e2e::progress::say(line));
}

/// A step that takes long enough to be announced.
pub struct Step {
    what: String,
    begun: Instant,
    state: Arc<State>,
}

impl Step {
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        Self::named(what.clone(), what)
    }

    /// A step that has a short name, by which it is told apart from those beside it.
    pub fn named(name: impl Into<String>, what: impl Into<String>) -> Self {
        let what = what.into();
        say(format!("==> {what}"));
        Step {
            what,
            begun: Instant::now(),
            state: Arc::new(State::new(name)),
        }
    }

    /// From here on the work is counted: there are `of` of these `things`, as far as is known.
    pub fn count(&self, of: usize, things: &'static str) {
        self.state.set(Share::begin(of, things));
    }

    /// So many of them are done.
    pub fn done(&self, count: usize) {
        self.state.update(|share| share.done = count);
    }

    /// Runs a child to its end, with its output in `log`, and keeps the reader company meanwhile.
    ///
    /// The child ends when this process does, however that ends, if it is one of [`bound`]'s.
    /// A child that makes mounts should be run through [`contained`].
    pub fn run(&self, command: &mut Command, log: &Path) -> Result<()> {
        let output = open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut child = spawn(command)?;
        let shown = board::show(&self.state, Some(log));
        let status = child.wait()?;
        drop(shown);
        self.must_succeed(status, log)
    }

    /// As [`Step::run`], and `each` is told every line that the child writes to its standard output.
    pub fn run_lines(
        &self,
        command: &mut Command,
        log: &Path,
        mut each: impl FnMut(&str),
    ) -> Result<()> {
        let mut output = open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(output.try_clone()?);
        let mut child = spawn(command)?;
        let stdout = child
            .stdout
            .take()
            .context("the child's output is a pipe")?;
        let shown = board::show(&self.state, None);
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            output.write_all(&line)?;
            each(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
        let status = child.wait()?;
        drop(shown);
        self.must_succeed(status, log)
    }

    fn must_succeed(&self, status: ExitStatus, log: &Path) -> Result<()> {
        if !status.success() {
            bail!(
                "{} failed ({status}); the last lines of its log:\n{}",
                self.what,
                tail(log, 20)
            );
        }
        Ok(())
    }

    pub fn end(self) -> Duration {
        let took = self.begun.elapsed();
        say(format!("    {}: {}", self.what, human(took)));
        took
    }
}

fn open(log: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log {}", log.display()))
}

fn spawn(command: &mut Command) -> Result<std::process::Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .spawn()
        .with_context(|| format!("cannot start {program}"))
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

/// A command that the kernel ends with this process, however that ends.
pub fn bound(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A command whose processes and mounts vanish with this process, even if that is killed: it runs in
/// its own PID and mount namespaces, and the kernel ends the namespace's first process.
pub fn contained(program: &str) -> Command {
    let mut command = bound("unshare");
    command.args(["--pid", "--mount-proc", "--fork", "--kill-child", program]);
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

    #[test]
    fn lines_are_told_and_kept() {
        let log = std::env::temp_dir().join(format!("xtask-lines-{}", std::process::id()));
        let step = Step::begin("testing");
        let mut lines = Vec::new();
        step.run_lines(
            Command::new("sh").args(["-c", "echo one; echo aside >&2; printf two"]),
            &log,
            |line| lines.push(line.to_owned()),
        )
        .unwrap();
        let kept = std::fs::read_to_string(&log).unwrap();
        std::fs::remove_file(&log).unwrap();
        assert_eq!(lines, ["one", "two"]);
        assert!(kept.contains("one\n") && kept.contains("aside\n"), "{kept}");
    }
}
