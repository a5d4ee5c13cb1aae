//! What evaluation of the flake gives the example hosts, kept under `tests/golden`, made ready for a host that is no
//! NixOS. `tests/golden/refresh` renders it anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{BINDIR, tree};

/// Units of a host, below its root.
pub const UNITS: &str = "etc/systemd/system/";
/// NixOS's name of a drop-in to a unit that a package brings.
pub const DROP_IN: &str = ".d/overrides.conf";

/// One example host.
#[derive(Debug)]
pub struct Rendered {
    /// The host's name.
    pub host: String,
    /// Its files, by path below the root, with placeholders as they are kept.
    pub files: BTreeMap<String, String>,
    /// Which target wants which unit.
    pub wants: Vec<(String, String)>,
}

impl Rendered {
    /// The example hosts, by name.
    ///
    /// # Errors
    /// When there is none, or a file cannot be read.
    pub fn all() -> Result<Vec<Self>> {
        let golden = tree().join("tests/golden");
        let mut hosts = Vec::new();
        for entry in std::fs::read_dir(&golden)
            .with_context(|| format!("cannot read {}", golden.display()))?
        {
            let path = entry?.path();
            if path.join("enabled").is_file() {
                hosts.push(Self::read(&path)?);
            }
        }
        if hosts.is_empty() {
            bail!("{} has no host: run refresh there", golden.display());
        }
        hosts.sort_by(|one, other| one.host.cmp(&other.host));
        Ok(hosts)
    }

    /// The example host of that name.
    pub fn host(name: &str) -> Result<Self> {
        Self::read(&tree().join("tests/golden").join(name))
    }

    fn read(directory: &Path) -> Result<Self> {
        let name = directory.file_name().and_then(|name| name.to_str());
        let enabled = std::fs::read_to_string(directory.join("enabled"))
            .with_context(|| format!("{} is no example host", directory.display()))?;
        let wants = enabled.lines().map(|line| {
            let (target, unit) = line
                .split_once(" wants ")
                .with_context(|| format!("`{line}` does not read `TARGET wants UNIT`"))?;
            Ok((target.to_owned(), unit.to_owned()))
        });
        Ok(Rendered {
            host: name.context("the host's name is UTF-8")?.to_owned(),
            files: files(directory, "etc")?,
            wants: wants.collect::<Result<_>>()?,
        })
    }

    /// Its unit files and drop-ins by name below `etc/systemd/system`.
    pub fn units(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(path, text)| Some((path.strip_prefix(UNITS)?, text.as_str())))
    }

    /// Writes its files below `root`, with placeholders replaced.
    pub fn place(&self, root: &Path) -> Result<()> {
        for (path, text) in &self.files {
            let to = root.join(path);
            let folder = to.parent().context("a file lies in a directory")?;
            std::fs::create_dir_all(folder)?;
            std::fs::write(&to, without_placeholders(text))
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    }
}

/// All files below `directory/path`, by path below `directory`.
pub fn files(directory: &Path, path: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let folder: PathBuf = directory.join(path);
    for entry in
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().context("names are UTF-8")?;
        let below = format!("{path}/{name}");
        if entry.file_type()?.is_dir() {
            found.extend(files(directory, &below)?);
        } else {
            found.insert(below, std::fs::read_to_string(entry.path())?);
        }
    }
    Ok(found)
}

/// `@name@` stands for a store path: of our own package, where the programs of this tree are on a host; of all others,
/// what Debian has in `/usr`.
pub fn without_placeholders(text: &str) -> String {
    let text = text.replace("@photoncloud@/bin", BINDIR);
    let mut made = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('@') {
        made.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let name = after
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+._?=-".contains(c))
            .filter(|end| *end > 0 && after[*end..].starts_with('@'));
        match name {
            Some(end) => {
                made.push_str("/usr");
                rest = &after[end + 1..];
            }
            None => {
                made.push('@');
                rest = after;
            }
        }
    }
    made + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_placeholders_are_replaced() {
        for (kept, made) in [
            (
                "tftp-root=@photon-ipxe@/lib/ipxe",
                "tftp-root=/usr/lib/ipxe",
            ),
            (
                "PATH=@coreutils@/bin:@systemd@/sbin",
                "PATH=/usr/bin:/usr/sbin",
            ),
            (
                "ExecStart=@photoncloud@/bin/photon-enrol enrol",
                "ExecStart=/usr/lib/photoncloud/bin/photon-enrol enrol",
            ),
            (
                "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources",
                "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources",
            ),
            (
                "ssh-ed25519 AAAA operator@example",
                "ssh-ed25519 AAAA operator@example",
            ),
        ] {
            assert_eq!(without_placeholders(kept), made);
        }
    }
}
