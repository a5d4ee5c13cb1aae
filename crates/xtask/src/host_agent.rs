//! Inside a rack host: runs commands and opens connections for the rack (protocol: `rack::wire`).
//!
//! It is this same program, started from the share, so that it is always as new as the rack. It
//! trusts whoever can reach the management network, which exists in the run's namespace only.

use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

use crate::rack::wire::{self, Kind, Request};

/// Serves until the process ends.
pub async fn serve(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    if let Err(error) = answer(stream).await {
                        eprintln!("a request failed: {error:#}");
                    }
                });
            }
            // Out of descriptors, or the peer left meanwhile: the next may do better.
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let frame = wire::receive(&mut stream).await?;
    if frame.kind != Kind::Request {
        bail!("expected a request, got {:?}", frame.kind);
    }
    match serde_json::from_slice(&frame.content)? {
        Request::Run { script } => run(stream, &script).await,
        Request::Connect { port } => connect(stream, port).await,
    }
}

async fn connect(mut stream: TcpStream, port: u16) -> Result<()> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut inner) => {
            inner.set_nodelay(true)?;
            wire::send(&mut stream, Kind::Connected, &[]).await?;
            // One side closing hard is how many connections end; there is nobody to tell.
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
            Ok(())
        }
        Err(error) => {
            let reason = format!("127.0.0.1:{port}: {error}");
            wire::send(&mut stream, Kind::Failed, reason.as_bytes()).await
        }
    }
}

async fn run(mut stream: TcpStream, script: &str) -> Result<()> {
    let spawned = Command::new("/bin/bash")
        .args(["-c", script])
        .env("HOME", "/root")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .current_dir("/root")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let reason = format!("cannot start bash: {error}");
            return wire::send(&mut stream, Kind::Failed, reason.as_bytes()).await;
        }
    };
    let group = Pid::from_raw(child.id().context("the child was just started")? as i32);
    let (reader, writer) = stream.into_split();
    let (frames, queue) = mpsc::channel(16);
    let sending = tokio::spawn(forward_frames(queue, writer));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let outputs = [
        tokio::spawn(read_into(stdout, Kind::Stdout, frames.clone())),
        tokio::spawn(read_into(stderr, Kind::Stderr, frames.clone())),
    ];
    let mut gone = tokio::spawn(feed(reader, stdin));

    let status = tokio::select! {
        status = child.wait() => status?,
        _ = &mut gone => {
            // The rack went away: nobody waits for this script any more.
            let _ = killpg(group, Signal::SIGKILL);
            child.wait().await?;
            return Ok(());
        }
    };
    // Whoever inherited the pipes may write on; the rack is told of the end when they are done too,
    // as a shell's pipeline would be.
    for output in outputs {
        tokio::select! {
            result = output => result?,
            _ = &mut gone => {
                let _ = killpg(group, Signal::SIGKILL);
                return Ok(());
            }
        }
    }
    let code = code_of(status).to_string().into_bytes();
    // A closed queue means a closed connection.
    let _ = frames.send((Kind::Exit, code)).await;
    drop(frames);
    sending.await?;
    gone.abort();
    Ok(())
}

/// As shells number it: a script killed by signal N ends with 128 + N.
fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

async fn forward_frames(mut queue: mpsc::Receiver<(Kind, Vec<u8>)>, mut writer: OwnedWriteHalf) {
    while let Some((kind, content)) = queue.recv().await {
        if wire::send(&mut writer, kind, &content).await.is_err() {
            return;
        }
    }
}

async fn read_into(
    pipe: Option<impl AsyncRead + Unpin>,
    kind: Kind,
    frames: mpsc::Sender<(Kind, Vec<u8>)>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        if frames.send((kind, buffer[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Returns when the rack closes the connection.
async fn feed(mut reader: OwnedReadHalf, mut stdin: Option<ChildStdin>) {
    while let Ok(frame) = wire::receive(&mut reader).await {
        if frame.kind != Kind::Stdin {
            return;
        }
        let Some(pipe) = &mut stdin else { continue };
        // A script that does not read its input is not wrong.
        if frame.content.is_empty() || pipe.write_all(&frame.content).await.is_err() {
            stdin = None;
        }
    }
}
