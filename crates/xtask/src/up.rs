//! `cargo xtask up` and `down`: a one-host PhotonCloud that stays, for trying things by hand.
//!
//! A process in the background holds the rack and its forwards. It has locked `target/photon/lock`
//! for as long as it lives, and the process id is in there, so `down` ends this process and no other.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};

use crate::photoncloud::programs::Programs;
use crate::photoncloud::{self, Endpoints, tree};
use crate::prepare::prepare;
use crate::progress::{say, tail};
use crate::rack::Rack;
use photon_e2e::guest::quote;
use photon_e2e::{Account, Channels, OPERATOR, Session, onboard};

const TENANTS: [&str; 2] = ["acme", "globex"];
const END: Duration = Duration::from_secs(60);

fn directory() -> PathBuf {
    tree().join("target/photon")
}

fn file(name: &str) -> PathBuf {
    directory().join(name)
}

fn open_lock() -> Result<File> {
    std::fs::create_dir_all(directory())?;
    let path = file("lock");
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Starts the process that holds the host, and shows what it says until it is ready.
pub async fn up() -> Result<()> {
    if open_lock()?.try_lock().is_err() {
        bail!(
            "a PhotonCloud is up already: see {}, or end it with `cargo xtask down`",
            file("env").display()
        );
    }
    // The slow part here, where it is seen and can be interrupted.
    let _prepared = tokio::task::spawn_blocking(prepare).await??;
    let _ = std::fs::remove_file(file("env"));
    let log = File::create(file("log"))?;
    let mut holder = Command::new(std::env::current_exe()?)
        .arg("hold-up")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start the process that holds the host")?;
    let mut shown = File::open(file("log"))?;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let mut news = String::new();
        shown.read_to_string(&mut news)?;
        eprint!("{news}");
        if let Some(status) = holder.try_wait()? {
            bail!("it ended ({status}); its log is {}", file("log").display());
        }
        if file("env").exists() {
            break;
        }
        tokio::select! {
            _ = &mut interrupted => {
                kill(Pid::from_raw(holder.id() as i32), Signal::SIGTERM)?;
                holder.wait()?;
                bail!("interrupted");
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    print!("{}", std::fs::read_to_string(file("env"))?);
    say(format!(
        "written to {}; `cargo xtask down` ends it",
        file("env").display()
    ));
    Ok(())
}

/// The process in the background.
pub async fn hold() -> Result<()> {
    // Away from the terminal, whose hangup is not for it.
    setsid().context("this is a process of its own")?;
    let mut lock = open_lock()?;
    lock.try_lock().context("another holds a host")?;
    lock.set_len(0)?;
    write!(lock, "{}", std::process::id())?;

    let programs = tokio::task::spawn_blocking(Programs::ensure).await??;
    let rack = Rack::start(1).await?;
    let host = rack.host(1);
    say("the host is up");
    photoncloud::install(&host, &programs).await?;
    say("PhotonCloud is up");
    let endpoints = Endpoints::open_well_known(&host).await?;
    let channels = Channels::at(endpoints.urls())?;
    let password = photoncloud::operator_password(&host).await?;
    let operator = Session::open(&channels, OPERATOR, "", "", &password).await?;
    operator.wait_for_host(END).await?;
    let mut variables: Vec<(String, String)> = endpoints
        .variables()
        .map(|(variable, url)| (variable.to_string(), url.to_string()))
        .collect();
    variables.extend([
        ("PHOTON_OPERATOR".to_owned(), OPERATOR.to_owned()),
        ("PHOTON_OPERATOR_PASSWORD".to_owned(), password),
        ("PHOTON_GUEST_KERNEL".to_owned(), path(&rack.guest().kernel)),
        ("PHOTON_GUEST_INITRD".to_owned(), path(&rack.guest().initrd)),
    ]);
    for org in TENANTS {
        let account = Account::new(org)?;
        onboard(&operator, &account).await?;
        let name = org.to_uppercase();
        variables.extend([
            (format!("PHOTON_{name}_ORG"), org.to_owned()),
            (format!("PHOTON_{name}_PROJECT"), account.project),
            (format!("PHOTON_{name}_USER"), account.user),
            (format!("PHOTON_{name}_PASSWORD"), account.password),
        ]);
    }
    write_env(&variables)?;
    // The rack ends with the signal that ends this process.
    std::future::pending().await
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// Passwords are in it: nobody else may read it, not even for a moment.
fn write_env(variables: &[(String, String)]) -> Result<()> {
    let passing = file("env.new");
    let mut env = File::create(&passing)?;
    env.set_permissions(Permissions::from_mode(0o600))?;
    env.write_all(exports(variables).as_bytes())?;
    Ok(std::fs::rename(passing, file("env"))?)
}

/// What a shell that reads it gives to the programs that it starts.
fn exports(variables: &[(String, String)]) -> String {
    let lines = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quote(value)));
    lines.collect()
}

/// Ends what `up` started, and waits until nothing of it is left.
pub async fn down() -> Result<()> {
    let mut lock = open_lock()?;
    if lock.try_lock().is_ok() {
        let _ = std::fs::remove_file(file("env"));
        say("no PhotonCloud is up");
        return Ok(());
    }
    let mut pid = String::new();
    lock.rewind()?;
    lock.read_to_string(&mut pid)?;
    let pid: i32 = pid
        .parse()
        .with_context(|| format!("{} does not name a process", file("lock").display()))?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .with_context(|| format!("cannot end process {pid}"))?;
    let deadline = Instant::now() + END;
    while lock.try_lock().is_err() {
        if Instant::now() > deadline {
            bail!(
                "process {pid} is still there after {} s; it said:\n{}",
                END.as_secs(),
                tail(&file("log"), 10)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _ = std::fs::remove_file(file("env"));
    say("it is down");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_reads_the_variables_passes_them_on() {
        let variables = [("PHOTON_A", "plain"), ("PHOTON_B", "it's $HOME; `rm`")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let file = std::env::temp_dir().join(format!("xtask-env-{}", std::process::id()));
        std::fs::write(&file, exports(&variables)).unwrap();
        let script = format!(". {}; exec env", file.display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_file(&file).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for (name, value) in variables {
            let line = format!("{name}={value}");
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }
}
