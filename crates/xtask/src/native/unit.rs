//! What a program's unit file gives it (`modules/units`): the one place that says so.

use anyhow::{Context, Result};

use crate::photoncloud::tree;

/// A program's unit file.
pub struct Unit {
    name: String,
    text: String,
}

impl Unit {
    /// Of this program.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(program: &str) -> Result<Self> {
        let name = format!("{program}.service");
        let path = tree().join("modules/units").join(&name);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Unit { name, text })
    }

    fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let lines = self.text.lines();
        lines.filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// The variables that it sets by itself.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = self.values("Environment");
        let pairs = pairs.filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// The memory beyond which it is ended, in bytes.
    ///
    /// # Errors
    /// When it has no such limit.
    pub fn memory_max(&self) -> Result<u64> {
        let value = self.values("MemoryMax").last();
        let value = value.with_context(|| format!("{} has no MemoryMax", self.name))?;
        bytes(value).with_context(|| format!("{}: '{value}' is no size in K, M or G", self.name))
    }
}

/// A size as systemd.resource-control(5) has it.
fn bytes(text: &str) -> Option<u64> {
    let units = [("K", 10), ("M", 20), ("G", 30), ("", 0)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))?;
    number.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_systemd_does() {
        assert_eq!(bytes("2G"), Some(2 << 30));
        assert_eq!(bytes("768M"), Some(768 << 20));
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("infinity"), None);
        assert_eq!(bytes("2T"), None);
    }

    #[test]
    fn a_unit_says_its_environment() {
        let arenas = ("MALLOC_ARENA_MAX".to_owned(), "2".to_owned());
        let agent = Unit::of("prismnet-agent").unwrap();
        assert!(agent.environment().contains(&arenas));
    }

    #[test]
    fn every_server_has_its_limit() {
        for program in ["iam-server", "prismnet-server", "plasmavmc-server"] {
            let unit = Unit::of(program).unwrap();
            assert!(unit.memory_max().unwrap() >= 256 << 20, "{program}");
        }
    }
}
