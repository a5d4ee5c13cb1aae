//! `photon-enrol report`: what a machine that netbooted tells the provisioner, again and again until it is told to
//! start from its disk.

mod hardware;
mod post;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub use hardware::{Identity, inventory};
pub use post::{BadUrl, Posted, post};

use photon_api::inventory::{Answer, LARGEST_REPORT};

/// How often a machine reports: an installation begins only upon a report that came after the approval.
pub const PERIOD: Duration = Duration::from_secs(10);

/// A report that was not answered is repeated sooner, by this factor: the boot server may be starting.
const SOONER: u32 = 5;

/// What `report` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// URL of the provisioner's boot listener; default: `photon.provisioner=` of the kernel's command line.
    pub provisioner: Option<String>,
    /// The public half of the key by which this machine's SSH server is known.
    pub ssh_host_key: Option<PathBuf>,
    /// How often it reports.
    pub period: Duration,
    /// Where `/sys` and `/proc` are: `/`, but in tests.
    pub root: PathBuf,
}

/// Reports again and again; returns when the answer is that the machine has a system on its disk.
///
/// # Errors
/// When it cannot begin: no URL, one that is not `http://`, no hardware to tell of. A provisioner that does not
/// answer, or refuses, is asked again for as long as it takes: someone is going to change that.
pub async fn run(options: &Options, told: impl Fn(&str)) -> Result<()> {
    let url = match &options.provisioner {
        Some(url) => url.clone(),
        None => from_command_line(&options.root)?,
    };
    let url = format!("{}/inventory", url.trim_end_matches('/'));
    post::check_url(&url)?;
    let mut last = String::new();
    loop {
        // Read each time: a cable may be plugged in, a disk be added.
        let mut report = inventory(&options.root)?;
        if let Some(path) = &options.ssh_host_key {
            let key = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the SSH host key {}", path.display()))?;
            report.ssh_host_key = key.trim().to_owned();
        }
        let body = serde_json::to_vec(&report)?;
        if body.len() > LARGEST_REPORT {
            bail!(
                "this machine's inventory takes {} bytes as JSON, at most {LARGEST_REPORT} are accepted",
                body.len()
            );
        }
        let (word, pause) = match post(&url, body).await {
            Ok(Posted::Taken(answer)) if answer.boot_disk => {
                told(&format!(
                    "machine {} is {}: it starts from its disk",
                    answer.id, answer.state
                ));
                return Ok(());
            }
            Ok(Posted::Taken(answer)) => (state(&answer), options.period),
            Ok(Posted::Refused { status, reason }) => (
                format!("{url} refused the report ({status}): {reason}"),
                options.period,
            ),
            Err(error) => (format!("{url}: {error:#}"), options.period / SOONER),
        };
        // Once each, or the machine's screen would be full of it.
        if word != last {
            told(&word);
            last = word;
        }
        tokio::time::sleep(pause).await;
    }
}

fn state(answer: &Answer) -> String {
    match answer.name.as_str() {
        "" => format!("reported: machine {} is {}", answer.id, answer.state),
        name => format!(
            "reported: machine {} is {} as {name}",
            answer.id, answer.state
        ),
    }
}

fn from_command_line(root: &Path) -> Result<String> {
    let path = root.join("proc/cmdline");
    let line = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let url = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("photon.provisioner="));
    url.map(str::to_owned).context(
        "nothing says where the provisioner is: give --provisioner http://ADDRESS:8089, or boot with \
         photon.provisioner=http://ADDRESS:8089 on the kernel's command line",
    )
}

#[cfg(test)]
mod tests;
