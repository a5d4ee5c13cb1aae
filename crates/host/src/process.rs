//! Running a program to its end.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{Error, Result};

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
}
