//! Installing with apt: each way is tried without changing anything, the first that works is told and then done.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::decision::Way;
use crate::cache::remove_tree;
use crate::progress::{Step, say};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The releases in apt's indexes, by code name.
pub fn releases() -> Vec<String> {
    let output = apt("apt-get")
        .args(["indextargets", "--format", "$(CODENAME)"])
        .arg("Created-By: Packages")
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let mut releases: Vec<String> = text
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect();
    releases.sort_unstable();
    releases.dedup();
    releases
}

/// Installs the packages in the first of these ways that removes nothing.
///
/// # Errors
/// When apt finds none of them possible; nothing is changed then, and the message names the conflict. Or when the
/// installation itself fails.
pub fn install(packages: &[&'static str], ways: &[Way]) -> Result<()> {
    let mut refusals = Vec::new();
    for way in ways {
        let attempt = Attempt::prepare(packages, way)?;
        match attempt.simulate()? {
            Outcome::Possible(changes) => {
                attempt.tell(&changes);
                return attempt.carry_out();
            }
            Outcome::Impossible(conflict) => refusals.push((way, conflict)),
        }
    }
    let tried: Vec<String> = refusals
        .iter()
        .map(|(way, conflict)| format!("{}:\n{}", name_of(way), conflict.text))
        .collect();
    let mut here: Vec<&str> = refusals
        .iter()
        .flat_map(|(_, conflict)| conflict.packages.iter().map(String::as_str))
        .filter(|name| !packages.contains(name))
        .collect();
    here.sort_unstable();
    here.dedup();
    bail!("{}", conflict_message(packages, &tried, &here))
}

fn name_of(way: &Way) -> String {
    match way {
        Way::Usual => "from apt's own choice of releases".into(),
        Way::From {
            release, packages, ..
        } => format!("{} from {release}", packages.join(" ")),
    }
}

fn conflict_message(packages: &[&str], tried: &[String], here: &[&str]) -> String {
    let culprit = match here {
        [] => "what is installed here".to_owned(),
        names => names.join(", "),
    };
    format!(
        "apt cannot install {} beside {culprit}, and nothing of yours is removed for it: nothing was changed. \
         Either install these packages yourself in versions that fit, or change {culprit} to the version of your \
         distribution's release, and run this again. What apt says:\n{}",
        packages.join(" "),
        tried.join("\n")
    )
}

/// What an installation would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Packages, with the versions that they would get.
    new: Vec<(String, String)>,
    upgraded: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Conflict {
    /// Those that cannot be together, or would go.
    packages: Vec<String>,
    /// apt's words.
    text: String,
}

enum Outcome {
    Possible(Changes),
    Impossible(Conflict),
}

/// One way, with the lists that it needs.
struct Attempt<'a> {
    way: &'a Way,
    wanted: &'a [&'static str],
    scratch: Scratch,
}

impl<'a> Attempt<'a> {
    fn prepare(wanted: &'a [&'static str], way: &'a Way) -> Result<Self> {
        let scratch = Scratch::new()?;
        if let Way::From {
            release, unknown, ..
        } = way
        {
            scratch.prefer(release)?;
            if *unknown {
                scratch.add_source(release)?;
            }
        }
        let attempt = Attempt {
            way,
            wanted,
            scratch,
        };
        attempt.update()?;
        Ok(attempt)
    }

    /// A fresh machine often has no package lists at all. That they cannot be had anew matters only when an
    /// installation with the old ones fails.
    fn update(&self) -> Result<()> {
        let step = Step::begin("reading apt's package lists");
        let log = self.scratch.0.join("update.log");
        if let Err(error) = step.run(self.apt_get().arg("update"), &log) {
            say(format!(
                "    going on with the lists that are here: {error:#}"
            ));
        }
        step.end();
        Ok(())
    }

    fn apt_get(&self) -> Command {
        let mut command = apt("apt-get");
        // Others may be installing something: they are waited for.
        command.args(["-o", "DPkg::Lock::Timeout=600"]);
        for (setting, path) in [
            ("Dir::Etc::preferencesparts", self.scratch.preferences()),
            ("Dir::Etc::sourceparts", self.scratch.sources()),
            ("Dir::State::lists", self.scratch.lists()),
        ] {
            if path.exists() {
                command
                    .arg("-o")
                    .arg(format!("{setting}={}", path.display()));
            }
        }
        command
    }

    fn installation(&self) -> Command {
        let mut command = self.apt_get();
        command
            .args(["--yes", "--no-remove", "--no-install-recommends"])
            .arg("install")
            .args(self.wanted);
        command
    }

    fn simulate(&self) -> Result<Outcome> {
        let output = self
            .installation()
            .arg("--simulate")
            .output()
            .context("cannot start apt-get")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(Outcome::Possible(changes_in(&stdout)));
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Ok(Outcome::Impossible(conflict_in(&stdout, &stderr)))
    }

    /// How much is to be fetched, in bytes: nothing of what apt has already.
    fn size(&self) -> u64 {
        let output = self.installation().args(["--print-uris", "-qq"]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        size_in(&text.unwrap_or_default())
    }

    fn tell(&self, changes: &Changes) {
        if let Way::From {
            release,
            packages,
            unknown,
            because,
        } = self.way
        {
            say(format!(
                "{} from {release}: {because}{}",
                packages.join(" "),
                if *unknown {
                    " (apt is told of it for this one installation)"
                } else {
                    ""
                }
            ));
        }
        say(announcement(self.wanted, changes, self.size()));
    }

    fn carry_out(&self) -> Result<()> {
        let step = Step::begin("installing packages");
        let log = self.scratch.0.join("install.log");
        step.run(&mut self.installation(), &log)
            .with_context(|| format!("cannot install {}", self.wanted.join(" ")))?;
        step.end();
        Ok(())
    }
}

/// A command of apt's that asks nothing and speaks English.
fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

/// A directory of this installation; it goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("photon-apt-{}", std::process::id()));
        remove_tree(&path)?;
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        // apt fetches as a user of its own.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
        Ok(Scratch(path))
    }

    fn sources(&self) -> PathBuf {
        self.0.join("sources.list.d")
    }

    fn lists(&self) -> PathBuf {
        self.0.join("lists")
    }

    fn preferences(&self) -> PathBuf {
        self.0.join("preferences.d")
    }

    /// For QEMU and what it is built together with, and for nothing else, this release comes first
    /// (apt_preferences(5): above 500, what all others have).
    fn prefer(&self, release: &str) -> Result<()> {
        beside(&self.preferences(), Path::new("/etc/apt/preferences.d"))?;
        let preference = format!(
            "Package: src:qemu src:seabios src:ipxe\nPin: release n={release}\nPin-Priority: 990\n"
        );
        let path = self.preferences().join("photon-qemu");
        Ok(std::fs::write(path, preference)?)
    }

    fn add_source(&self, release: &str) -> Result<()> {
        std::fs::create_dir_all(self.lists().join("partial"))?;
        beside(&self.sources(), Path::new("/etc/apt/sources.list.d"))?;
        let site = site_of(release).with_context(|| {
            format!("none of apt's sources has the release that {release} belongs to")
        })?;
        let source = format!(
            "Types: deb\nURIs: {site}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n"
        );
        let path = self.sources().join("photon-backports.sources");
        Ok(std::fs::write(path, source)?)
    }
}

/// Makes a directory that has what the machine's own has, for more to be put beside it.
fn beside(directory: &Path, own: &Path) -> Result<()> {
    std::fs::create_dir(directory)?;
    for entry in std::fs::read_dir(own).into_iter().flatten() {
        let entry = entry?;
        symlink(entry.path(), directory.join(entry.file_name()))?;
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the directory for what may go at any time.
        let _ = remove_tree(&self.0);
    }
}

/// Where apt has the release from that these backports are for.
fn site_of(backports: &str) -> Option<String> {
    let release = backports.strip_suffix("-backports")?;
    let output = apt("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)"])
        .args([
            "Created-By: Packages",
            "Origin: Debian",
            &format!("Codename: {release}"),
        ])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.to_owned())
}

/// What `apt-get --simulate` says that it would do: `Inst NAME [OLD] (NEW RELEASE [ARCHITECTURE])`.
fn changes_in(simulated: &str) -> Changes {
    let mut changes = Changes::default();
    for line in simulated.lines() {
        let Some(rest) = line.strip_prefix("Inst ") else {
            continue;
        };
        let Some((name, rest)) = rest.split_once(' ') else {
            continue;
        };
        let version = rest.split_once('(').map_or("", |(_, new)| new);
        let version = version.split(' ').next().unwrap_or_default();
        let change = (name.to_owned(), version.to_owned());
        match rest.starts_with('[') {
            true => changes.upgraded.push(change),
            false => changes.new.push(change),
        }
    }
    changes
}

/// What apt-get says when it cannot, or may not for `--no-remove`.
fn conflict_in(stdout: &str, stderr: &str) -> Conflict {
    const UNMET: &str = "The following packages have unmet dependencies:";
    const REMOVED: &str = "The following packages will be REMOVED:";
    let mut conflict = Conflict::default();
    let mut said = Vec::new();
    let mut within = None;
    for line in stdout.lines() {
        match line {
            UNMET | REMOVED => within = Some(line),
            _ if !line.starts_with(' ') => within = None,
            _ => {}
        }
        let Some(heading) = within else { continue };
        said.push(line.trim_end());
        if line == heading {
            continue;
        }
        let names = match heading {
            // ` qemu-utils : Breaks: qemu-system-common (< 1:8.0)`, and lines that go on with the next reason
            UNMET => line.split_once(" : ").map_or("", |(name, _)| name),
            _ => line,
        };
        conflict
            .packages
            .extend(names.split_whitespace().map(str::to_owned));
    }
    said.extend(stderr.lines().filter(|line| line.starts_with("E: ")));
    conflict.text = said.join("\n");
    conflict
}

/// The sizes in what `apt-get --print-uris` prints: `'URI' FILE SIZE DIGEST`.
fn size_in(uris: &str) -> u64 {
    let lines = uris.lines().filter(|line| line.starts_with('\''));
    let sizes = lines.filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
    sizes.sum()
}

fn announcement(wanted: &[&str], changes: &Changes, size: u64) -> String {
    let version = |name: &str| {
        let mut all = changes.new.iter().chain(&changes.upgraded);
        let found = all.find(|(package, _)| package == name);
        found.map_or(String::new(), |(_, version)| format!(" ({version})"))
    };
    let wanted: Vec<String> = wanted
        .iter()
        .map(|name| format!("{name}{}", version(name)))
        .collect();
    let mut text = format!("apt will install {}", wanted.join(", "));
    let all = changes.new.len() + changes.upgraded.len();
    if all > wanted.len() {
        text += &format!(", and {} packages that these need", all - wanted.len());
    }
    text += &format!(
        "; {} MB to fetch, nothing is removed",
        size.div_ceil(1_000_000)
    );
    if !changes.upgraded.is_empty() {
        let upgraded: Vec<&str> = changes.upgraded.iter().map(|(name, _)| &**name).collect();
        text += &format!("; of what is here, {} get newer", upgraded.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_tells_what_is_new_and_what_is_upgraded() {
        let text = "Reading package lists...\nInst libfoo1 [1.0-1] (1.0-2 Debian:12/oldstable [amd64])\n\
                    Inst flex (2.6.4-8.2 Debian:12.11/oldstable [amd64])\nConf flex (2.6.4-8.2 Debian:12.11/oldstable [amd64])\n";
        let pair = |name: &str, version: &str| vec![(name.to_owned(), version.to_owned())];
        let changes = changes_in(text);
        assert_eq!(changes.new, pair("flex", "2.6.4-8.2"));
        assert_eq!(changes.upgraded, pair("libfoo1", "1.0-2"));
        assert_eq!(
            announcement(&["flex"], &changes, 1_500_000),
            "apt will install flex (2.6.4-8.2), and 1 packages that these need; 2 MB to fetch, nothing is removed; \
             of what is here, libfoo1 get newer"
        );
    }

    #[test]
    fn a_conflict_names_who_is_in_the_way() {
        let stdout = "Some packages could not be installed.\n\n\
            The following packages have unmet dependencies:\n \
            qemu-utils : Breaks: qemu-system-common (< 1:8.0+dfsg-5~) but 1:7.2 is to be installed\n";
        let conflict = conflict_in(
            stdout,
            "E: Unable to correct problems, you have held broken packages.\n",
        );
        assert_eq!(conflict.packages, ["qemu-utils"]);
        assert!(conflict.text.ends_with("you have held broken packages."));

        let stdout = "The following packages will be REMOVED:\n  qemu-utils other\n\
                      The following NEW packages will be installed:\n  qemu-system-x86\n";
        let conflict = conflict_in(
            stdout,
            "E: Packages need to be removed but remove is disabled.\n",
        );
        assert_eq!(conflict.packages, ["qemu-utils", "other"]);

        let message = conflict_message(&["qemu-system-x86"], &[conflict.text], &["qemu-utils"]);
        assert!(
            message.starts_with("apt cannot install qemu-system-x86 beside qemu-utils, and nothing of yours is removed"),
            "{message}"
        );
    }

    #[test]
    fn what_is_to_be_fetched_is_added_up() {
        let text = "'http://m/a_1.deb' a_1.deb 1000 SHA256:00\n'http://m/b_1.deb' b_1.deb 24 SHA256:00\nother\n";
        assert_eq!(size_in(text), 1024);
    }
}
