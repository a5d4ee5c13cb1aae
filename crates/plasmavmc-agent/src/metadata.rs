//! Keeps the files from which plasmavmc-metadata tells guests what they are.
//!
//! It is a reconciler beside that of the VMs: a guest runs whether or not it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use nix::unistd::{Gid, Group};
use photon_host::{Error, durable};
use photon_reconcile::{Driver, Reconciler, Signal, Timing};
use photon_resource::VmId;
use plasmavmc_metadata::GROUP;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::layout::Layout;
use crate::plan::desired::Desired;
use crate::plan::metadata::{Observed, Plan, plan};

type Wanted = watch::Receiver<Option<Arc<Desired>>>;

/// Keeps them for as long as it is polled. Without the group that reads them it keeps none: they hold what is secret.
pub async fn keep(layout: Layout, mut wanted: Wanted) {
    let group = match Group::from_name(GROUP).map(|group| group.map(|it| it.gid)) {
        Ok(Some(group)) => group,
        Ok(None) => {
            tracing::warn!("guests are told nothing of themselves: there is no group {GROUP}");
            return;
        }
        Err(error) => {
            tracing::error!(%error, "guests are told nothing of themselves: no group {GROUP}");
            return;
        }
    };
    let signal = Signal::new();
    let files = Files {
        layout,
        group,
        wanted: wanted.clone(),
    };
    if let Err(error) = files.make_directory() {
        tracing::warn!("guests are told nothing of themselves yet: {error}");
    }
    let driver = Driver::new("metadata", files, Timing::default(), signal.clone());
    let changes = async {
        while wanted.changed().await.is_ok() {
            signal.notify();
        }
    };
    tokio::select! {
        _ = driver.run(CancellationToken::new()) => {}
        () = changes => {}
    }
}

struct Files {
    layout: Layout,
    group: Gid,
    wanted: Wanted,
}

impl Files {
    fn read(&self) -> anyhow::Result<BTreeMap<VmId, Vec<u8>>> {
        let directory = self.layout.metadata();
        let names = names(&directory, Some(".json"))
            .with_context(|| format!("read {}", directory.display()))?;
        let read = |id: VmId| {
            let path = self.layout.metadata_of(id);
            let contents = std::fs::read(&path);
            Ok((
                id,
                contents.with_context(|| format!("read {}", path.display()))?,
            ))
        };
        names.into_iter().map(read).collect()
    }

    /// VMs that have a directory here.
    fn here(&self) -> anyhow::Result<BTreeSet<VmId>> {
        let directory = self.layout.vms();
        names(&directory, None).with_context(|| format!("read {}", directory.display()))
    }

    /// The group's before it has its name: nobody finds one that it can't read.
    fn write(&self, id: VmId, contents: &[u8]) -> Result<(), Error> {
        let path = self.layout.metadata_of(id);
        let unfinished = path.with_extension("new");
        durable::write_volatile(&unfinished, contents, 0o640)?;
        let given = chown(&unfinished, None, Some(self.group.as_raw()))
            .and_then(|()| std::fs::rename(&unfinished, &path));
        given.map_err(failed("give to its readers", &path))
    }

    fn make_directory(&self) -> Result<(), Error> {
        let directory = self.layout.metadata();
        let made = std::fs::create_dir_all(&directory)
            .and_then(|()| chown(&directory, None, Some(self.group.as_raw())))
            .and_then(|()| {
                let mode = std::fs::Permissions::from_mode(0o750);
                std::fs::set_permissions(&directory, mode)
            });
        made.map_err(failed("create", &directory))
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

/// The VMs after which something in a directory is named.
fn names(directory: &Path, end: Option<&str>) -> io::Result<BTreeSet<VmId>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| match end {
            Some(end) => name.strip_suffix(end),
            None => Some(name),
        });
        names.extend(name.and_then(|name| name.parse::<VmId>().ok()));
    }
    Ok(names)
}

#[async_trait]
impl Reconciler for Files {
    type Observed = Observed;
    type Plan = Plan;
    type Error = anyhow::Error;

    async fn observe(&mut self) -> anyhow::Result<Option<Observed>> {
        let Some(desired) = self.wanted.borrow_and_update().clone() else {
            return Ok(None);
        };
        Ok(Some(Observed {
            desired,
            files: self.read()?,
            here: self.here()?,
        }))
    }

    fn plan(&self, observed: &Observed) -> Plan {
        plan(observed)
    }

    /// What can't be done for one VM is done for the others all the same.
    async fn apply(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.make_directory()?;
        let removed = plan.remove.iter().map(|id| {
            let path = self.layout.metadata_of(*id);
            durable::remove(&path)
        });
        let written = plan.write.iter().map(|(id, it)| self.write(*id, it));
        let mut failed = Ok(());
        for result in removed.chain(written) {
            failed = failed.and(result);
        }
        Ok(failed?)
    }
}

#[cfg(test)]
mod tests {
    use photon_reconcile::{Pass, run_once};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn files_are_for_their_group_and_go_with_their_vms() {
        let place = tempfile::tempdir().unwrap();
        let mut layout = Layout::host(place.path().join("state"));
        layout.run = place.path().join("run");
        let vm = json!({
            "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64, "power": "on",
        });
        let id: VmId = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".parse().unwrap();
        let mut desired = Desired::default();
        desired.vms.insert(id, serde_json::from_value(vm).unwrap());
        let (known, wanted) = watch::channel(None);
        let mut files = Files {
            layout: layout.clone(),
            group: Gid::current(),
            wanted,
        };
        let mut pass = async || run_once("metadata", &mut files).await.unwrap();
        assert_eq!(pass().await, Pass::Unknown);
        known.send_replace(Some(Arc::new(desired.clone())));
        assert_eq!(pass().await, Pass::Applied);
        assert_eq!(pass().await, Pass::NothingToDo);
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(layout.metadata()), 0o750);
        assert_eq!(mode(layout.metadata_of(id)), 0o640);
        assert_eq!(std::fs::read_dir(layout.metadata()).unwrap().count(), 1);
        desired.vms.get_mut(&id).unwrap().deleting = true;
        known.send_replace(Some(Arc::new(desired)));
        assert_eq!(pass().await, Pass::Applied);
        assert_eq!(std::fs::read_dir(layout.metadata()).unwrap().count(), 0);
    }
}
