//! `photon machine token`: how a host whose certificate has ended comes back as it is.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use photon_api::provisioner::v1::{IssueJoinTokenRequest, IssueJoinTokenResponse};

use crate::error::Failure;
use crate::noun::{Desk, Once};
use crate::output::tell;

const ANSWER: &str = "provisioner.v1.IssueJoinTokenResponse";

/// Gets a token and gives it away once: to standard output, or to a file of its own.
pub async fn run(
    desk: &Desk<'_>,
    once: &Once,
    name: String,
    out: Option<PathBuf>,
) -> Result<(), Failure> {
    // Before there is a token, so that none is made that cannot be kept.
    let file = out.as_deref().map(private).transpose()?;
    let given = issue(desk, once, &name, file.zip(out.as_deref())).await;
    if let (Err(_), Some(path)) = (&given, &out) {
        // It is empty, or has a part of a token: of no use to anybody.
        let _ = std::fs::remove_file(path);
    }
    given
}

async fn issue(
    desk: &Desk<'_>,
    once: &Once,
    name: &str,
    out: Option<(File, &Path)>,
) -> Result<(), Failure> {
    let request = IssueJoinTokenRequest {
        machine: name.to_owned(),
        confirm_name: name.to_owned(),
        ..Default::default()
    };
    let answer = desk.change(once, request).await?;
    if answer.token.is_empty() {
        return Err(Failure::Local(
            "this token was given before, under the same request id, and is shown once: ask for another one with another \
             --request-id, or with none"
                .into(),
        ));
    }
    match out {
        Some((mut file, path)) => {
            let line = format!("{}\n", answer.token);
            file.write_all(line.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|error| Failure::file("write", path, error))?;
        }
        None if desk.output.for_people() => desk.output.line(&answer.token)?,
        None => desk.output.message(ANSWER, &answer)?,
    }
    let until = minutes_left(&answer, SystemTime::now());
    tell!(
        "This is a secret: with it a machine becomes the host {name}. It is good once, for {until}. On {name}, as root:\n  \
         1. put it into /var/lib/photoncloud/pki/join-token (mode 0600)\n  \
         2. systemctl restart photon-enrol.service\n  \
         3. systemctl restart --no-block photon-ready.service"
    );
    Ok(())
}

/// A new file that nobody else can read.
fn private(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::file("make", path, error))
}

/// For how long the token is good.
fn minutes_left(answer: &IssueJoinTokenResponse, now: SystemTime) -> String {
    let ends = answer
        .expires_at
        .and_then(|ends| SystemTime::try_from(ends).ok());
    let left: Option<Duration> = ends.and_then(|ends| ends.duration_since(now).ok());
    // Whoever reads "119 minutes" a second after 120 were given wonders why.
    let minutes = left.unwrap_or_default().as_secs().saturating_add(30) / 60;
    format!("{minutes} minutes")
}
