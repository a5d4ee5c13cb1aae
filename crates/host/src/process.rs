//! Running a program: to its end, with its output as it comes, or as a stream to talk through.

use std::os::unix::process::CommandExt;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, Lines, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{Error, Result};

/// How long a program that was interrupted has to end before it is killed.
const AFTER_INTERRUPT: Duration = Duration::from_secs(30);

/// Becomes `program`, which has the terminal, the signals and the exit status from then on, and `more` in its environment.
/// Returns only what came in the way.
pub fn exec(program: &str, arguments: &[String], more: Vec<(String, String)>) -> Error {
    let source = std::process::Command::new(program)
        .args(arguments)
        .envs(more)
        .exec();
    Error::Start {
        program: program.to_owned(),
        source,
    }
}

/// Runs `program` with `arguments` and `input` on its standard input, in the C locale; returns its standard
/// output. It is killed when it runs longer than `limit`, or when the future is dropped.
///
/// Errors: [`Error::Start`], [`Error::Failed`] with what it said unless it exits with 0, [`Error::TimedOut`].
pub async fn run(
    program: &str,
    arguments: &[&str],
    input: &[u8],
    limit: Duration,
) -> Result<Vec<u8>> {
    let shown = || format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start {
            program: program.to_owned(),
            source,
        })?;
    let mut stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin.take() {
            // A program that ends without reading says why on stderr; the broken pipe says nothing.
            let _ = stdin.write_all(input).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(limit, both)
        .await
        .map_err(|_| Error::TimedOut {
            what: shown(),
            limit,
        })?
        .map_err(|source| Error::Start {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    const SHOWN: usize = 2000;
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed {
        program: shown(),
        status: output.status.to_string(),
        stderr: said.trim().chars().take(SHOWN).collect(),
    })
}

/// Where a line of a program's output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Runs `program` with `variables` added to its environment and nothing on its standard input, and gives each line
/// that it says to `line` as it comes.
///
/// It is in a process group of its own, so that a terminal's Ctrl-C does not reach it. When `interrupt` resolves, the
/// group gets SIGINT, and SIGKILL if it has not ended 30 s later. When the future is dropped, the program is killed.
///
/// Errors: [`Error::Start`]. That it failed is not an error here: the exit status says so.
pub async fn follow(
    program: &str,
    arguments: &[String],
    variables: &[(String, String)],
    mut line: impl FnMut(Stream, &str),
    interrupt: impl Future<Output = ()>,
) -> Result<ExitStatus> {
    let failed = |source| Error::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = child.id().map(|id| Pid::from_raw(id as i32));
    let signal = |signal| {
        if let Some(group) = group {
            // Already gone is as good.
            let _ = killpg(group, signal);
        }
    };
    let mut output = child.stdout.take().map(|pipe| BufReader::new(pipe).lines());
    let mut errors = child.stderr.take().map(|pipe| BufReader::new(pipe).lines());
    let mut interrupt = std::pin::pin!(interrupt);
    let mut patience = std::pin::pin!(tokio::time::sleep(Duration::MAX));
    let mut interrupted = false;
    loop {
        tokio::select! {
            said = next_line(&mut output) => match said {
                Some(said) => line(Stream::Output, &said),
                None => output = None,
            },
            said = next_line(&mut errors) => match said {
                Some(said) => line(Stream::Error, &said),
                None => errors = None,
            },
            status = child.wait(), if output.is_none() && errors.is_none() => {
                return status.map_err(failed);
            }
            () = &mut interrupt, if !interrupted => {
                interrupted = true;
                signal(Signal::SIGINT);
                patience.as_mut().reset(tokio::time::Instant::now() + AFTER_INTERRUPT);
            }
            () = &mut patience => {
                signal(Signal::SIGKILL);
                return child.wait().await.map_err(failed);
            }
        }
    }
}

/// The next line; `None` at the end, for a pipe that is closed already never.
async fn next_line<P: AsyncRead + Unpin>(
    lines: &mut Option<Lines<BufReader<P>>>,
) -> Option<String> {
    match lines {
        // What is not UTF-8 ends the listening as the end of the pipe does.
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// A running program as a byte stream: what is written goes to its standard input, what is read comes from its
/// standard output. Dropping it kills the program.
#[derive(Debug)]
pub struct Piped {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

/// Starts `program` to talk through it; its standard error is not heard.
///
/// Errors: [`Error::Start`].
pub fn pipe(program: &str, arguments: &[String]) -> Result<Piped> {
    let failed = |source| Error::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(input), Some(output)) => Ok(Piped {
            input,
            output,
            _child: child,
        }),
        _ => Err(failed(std::io::ErrorKind::BrokenPipe.into())),
    }
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn feeds_and_reads_more_than_a_pipe_holds() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(run("cat", &[], &input, LIMIT).await.unwrap(), input);
    }

    #[tokio::test]
    async fn says_what_failed_and_what_it_said() {
        let error = run("sh", &["-c", "echo no such thing >&2; exit 3"], b"", LIMIT)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("no such thing"),
            "{error}"
        );
        let error = run("no-such-program-here", &[], b"", LIMIT)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
    }

    #[tokio::test]
    async fn ends_what_takes_too_long() {
        let error = run("sleep", &["600"], b"", Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn gives_lines_as_they_come_and_the_exit_status() {
        let mut heard = Vec::new();
        let status = follow(
            "sh",
            &words(&["-c", "echo \"$WORD\"; echo worse >&2; exit 3"]),
            &[("WORD".to_owned(), "good".to_owned())],
            |stream, line| heard.push((stream, line.to_owned())),
            std::future::pending(),
        )
        .await
        .unwrap();
        assert_eq!(status.code(), Some(3));
        heard.sort_by_key(|(stream, _)| *stream == Stream::Error);
        assert_eq!(
            heard,
            [
                (Stream::Output, "good".to_owned()),
                (Stream::Error, "worse".to_owned())
            ]
        );
    }

    #[tokio::test]
    async fn interrupts_a_program_in_its_own_group() {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let mut begun = Some(begun);
        let script = "trap 'echo stopping; exit 9' INT; echo begun; while :; do sleep 0.02; done";
        let mut heard = Vec::new();
        // Where SIGINT is ignored from the start, as in the background of a script, no shell could take it.
        let status = follow(
            "env",
            &words(&["--default-signal=INT", "bash", "-c", script]),
            &[],
            |_, line| {
                heard.push(line.to_owned());
                if let Some(begun) = begun.take() {
                    let _ = begun.send(());
                }
            },
            async {
                let _ = begins.await;
            },
        )
        .await
        .unwrap();
        assert_eq!(status.code(), Some(9), "{heard:?}");
        assert_eq!(heard, ["begun", "stopping"]);
    }

    #[tokio::test]
    async fn talks_through_a_program() {
        use tokio::io::AsyncReadExt;
        let mut cat = pipe("cat", &[]).unwrap();
        cat.write_all(b"there and back").await.unwrap();
        cat.shutdown().await.unwrap();
        let mut back = [0; 14];
        cat.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"there and back");
        assert!(pipe("no-such-program-here", &[]).is_err());
    }
}
