//! What to do about what is missing: decided from what the machine is, and tried on no machine.

use std::process::{Command, Stdio};

use super::apt;
use super::needs::{Need, program_is_here};

/// The packages that Debian makes of QEMU's source: they refuse one another's other versions, so they are taken from
/// one release. A package that is not here fits all of them.
const QEMU: &[&str] = &[
    "qemu-block-extra",
    "qemu-system-common",
    "qemu-system-data",
    "qemu-system-gui",
    "qemu-system-x86",
    "qemu-utils",
];

/// What a decision depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `ID`, `VERSION_ID`, `VERSION_CODENAME` and `PRETTY_NAME` of os-release(5).
    pub id: String,
    pub version: String,
    pub codename: String,
    pub name: String,
    pub has_apt: bool,
    pub has_nix: bool,
    /// What is installed of [`QEMU`], with versions.
    pub qemu: Vec<(String, String)>,
    /// The releases that apt is told of, by code name.
    pub releases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything is there.
    Nothing,
    /// It cannot be installed; what to do instead.
    Refuse(String),
    /// To be installed in the first of these ways that apt finds possible.
    Install {
        packages: Vec<&'static str>,
        ways: Vec<Way>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As apt itself would choose.
    Usual,
    /// Some from this release, all others as apt itself would choose.
    From {
        release: String,
        packages: Vec<&'static str>,
        /// apt does not know the release: it is told of it for this one installation.
        unknown: bool,
        /// Why, to be told.
        because: String,
    },
}

impl Machine {
    /// This one. What costs a process is only asked when something is missing.
    pub fn observe(missing: &[&Need]) -> Self {
        if missing.is_empty() {
            return Machine::default();
        }
        let release = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        let field = |name| field_of(&release, name);
        let has_apt = program_is_here("apt-get");
        Machine {
            id: field("ID"),
            version: field("VERSION_ID"),
            codename: field("VERSION_CODENAME"),
            name: field("PRETTY_NAME"),
            has_apt,
            has_nix: program_is_here("nix"),
            qemu: if has_apt { installed(QEMU) } else { Vec::new() },
            releases: if has_apt { apt::releases() } else { Vec::new() },
        }
    }
}

/// A field of os-release(5), without its quotes.
fn field_of(text: &str, name: &str) -> String {
    let mut fields = text.lines().filter_map(|line| line.split_once('='));
    let value = fields.find(|(key, _)| *key == name).map(|(_, value)| value);
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// Those of the packages that are installed, with their versions.
fn installed(packages: &[&str]) -> Vec<(String, String)> {
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"])
        .args(packages)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    // It fails when one of them is unknown, and tells of the others.
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("installed "));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

pub fn decide(missing: &[&Need], machine: &Machine) -> Decision {
    if missing.is_empty() {
        return Decision::Nothing;
    }
    if !machine.has_apt {
        return Decision::Refuse(without_apt(missing, machine));
    }
    let packages = distinct(missing.iter().map(|need| need.debian));
    let mut ways = Vec::new();
    ways.extend(from_where_qemu_is(&packages, machine));
    ways.push(Way::Usual);
    Decision::Install { packages, ways }
}

/// QEMU's packages from backports, when those that are there are.
fn from_where_qemu_is(packages: &[&'static str], machine: &Machine) -> Option<Way> {
    let wanted: Vec<&'static str> = packages
        .iter()
        .copied()
        .filter(|package| QEMU.contains(package))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    let backport = format!("~bpo{}+", machine.version);
    let (name, version) = machine
        .qemu
        .iter()
        .find(|(_, version)| version.contains(&backport))?;
    let release = format!("{}-backports", machine.codename);
    Some(Way::From {
        unknown: !machine.releases.contains(&release),
        because: format!("{name} {version} is here and is of that release"),
        release,
        packages: wanted,
    })
}

fn without_apt(missing: &[&Need], machine: &Machine) -> String {
    let names: Vec<&str> = missing.iter().map(|need| need.name).collect();
    let names = names.join(", ");
    if machine.has_nix {
        let attributes = distinct(missing.iter().map(|need| need.nix));
        return format!(
            "missing: {names}. `nix develop` in this tree opens a shell that has all of it; \
             in a shell of your own, add the packages {} (mmdebstrap is this flake's, the others are nixpkgs')",
            attributes.join(" ")
        );
    }
    let packages = distinct(missing.iter().map(|need| need.debian));
    let name = match machine.name.as_str() {
        "" => "this system",
        name => name,
    };
    format!(
        "missing: {names}. {name} has no apt-get to install it with: install what your distribution has instead of \
         the Debian packages {}",
        packages.join(" ")
    )
}

fn distinct(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
