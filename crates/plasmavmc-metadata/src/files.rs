//! The files of the host's VMs, as plasmavmc-agent puts them here: each replaced by rename, so that none is ever half.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use photon_host::Error;
use photon_resource::VmId;

use crate::instance::Instance;

/// The largest file that is read, in bytes: user data and SSH keys have 64 KiB each, and once more as text of JSON.
const LARGEST: u64 = 1 << 20;

/// What tells one file of a name from the next: inode, time of change in nanoseconds (also of who may read it), and size.
type Stamp = (u64, i128, u64);

/// The directory, and what was read of it.
pub struct Directory {
    path: PathBuf,
    known: BTreeMap<VmId, (Stamp, Option<Arc<Instance>>)>,
}

impl Directory {
    /// Nothing has been read.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            known: BTreeMap::new(),
        }
    }

    /// All VMs that are described. A file that is not understood describes none, and is told of once.
    ///
    /// Errors: the directory can't be read; that it is not there is none, and nothing is described then.
    pub fn read(&mut self) -> Result<Vec<Arc<Instance>>, Error> {
        let stamps = stamps(&self.path).map_err(|source| Error::File {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        self.known.retain(|vm, _| stamps.contains_key(vm));
        for (vm, stamp) in stamps {
            if self
                .known
                .get(&vm)
                .is_some_and(|(known, _)| *known == stamp)
            {
                continue;
            }
            let path = self.path.join(file_name(vm));
            let instance = match read(&path, vm) {
                Ok(instance) => Some(Arc::new(instance)),
                Err(error) => {
                    tracing::warn!(path = %path.display(), "its guest is told nothing: {error:#}");
                    None
                }
            };
            self.known.insert(vm, (stamp, instance));
        }
        let known = self.known.values();
        Ok(known.filter_map(|(_, instance)| instance.clone()).collect())
    }
}

/// The name of a VM's file.
pub fn file_name(vm: VmId) -> String {
    format!("{vm}.json")
}

/// The files that there are, without what is in them.
///
/// Errors: the directory can't be read; that it is not there is none.
pub fn stamps(directory: &Path) -> io::Result<BTreeMap<VmId, (u64, i128, u64)>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut stamps = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let vm = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let Some(vm) = vm.and_then(|vm| vm.parse::<VmId>().ok()) else {
            continue;
        };
        match entry.metadata() {
            Ok(file) => {
                let changed = i128::from(file.ctime()) * 1_000_000_000;
                let stamp = (
                    file.ino(),
                    changed + i128::from(file.ctime_nsec()),
                    file.size(),
                );
                stamps.insert(vm, stamp);
            }
            // It went in this moment.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(stamps)
}

fn read(path: &Path, vm: VmId) -> anyhow::Result<Instance> {
    let size = std::fs::metadata(path)?.size();
    anyhow::ensure!(
        size <= LARGEST,
        "it has {size} bytes, more than any VM's {LARGEST}"
    );
    let instance = Instance::from_file(&std::fs::read(path)?)?;
    anyhow::ensure!(instance.vm == vm, "it describes VM {}", instance.vm);
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::example;

    #[test]
    fn files_are_read_when_they_are_other_ones() {
        let place = tempfile::tempdir().unwrap();
        let put = |name: String, contents: &[u8]| {
            let new = place.path().join(".new");
            std::fs::write(&new, contents).unwrap();
            std::fs::rename(new, place.path().join(name)).unwrap();
        };
        let mut directory = Directory::new(place.path());
        assert!(directory.read().unwrap().is_empty());
        let mut instance = example(1, "pt1", "10.0.1.10/24");
        put(file_name(instance.vm), &instance.to_file().unwrap());
        let first = directory.read().unwrap();
        assert_eq!(*first[0], instance);
        assert!(Arc::ptr_eq(&first[0], &directory.read().unwrap()[0]));
        instance.hostname = "other".into();
        put(file_name(instance.vm), &instance.to_file().unwrap());
        assert_eq!(directory.read().unwrap()[0].hostname, "other");
        // Of another VM, not understood, or no VM's file at all.
        let other = example(2, "pt2", "10.0.1.11/24");
        put(file_name(other.vm), &instance.to_file().unwrap());
        put("notes.json".into(), b"{}");
        assert_eq!(directory.read().unwrap().len(), 1);
        std::fs::remove_file(place.path().join(file_name(instance.vm))).unwrap();
        assert!(directory.read().unwrap().is_empty());
        std::fs::remove_dir_all(place.path()).unwrap();
        assert!(directory.read().unwrap().is_empty());
    }
}
