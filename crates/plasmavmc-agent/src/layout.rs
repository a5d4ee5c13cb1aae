//! Where the agent keeps things.
//!
//! ```text
//! STATE/desired.json                what should exist, as last heard (0600)
//! STATE/images/<sha256>             image files, complete and verified; *.part: being fetched
//! STATE/vms/<id>/                   root's directory, which the VM's group may enter
//!                disk-<disk>.qcow2  the VM's user's, 0600
//!                seed.img           the same
//!                prepared           digest of what the above were made from
//!                started            reboot generation of the last start
//! RUN/vm/<id>/                      the unit's RuntimeDirectory: QEMU's sockets, the VM's user's
//! RUN/vm-notes/<id>/                root's, readable by the unit: how long its guest may take to power down, which run
//!                                   of it panicked
//! RUN/metadata/<id>.json            what its guest is told of itself: for plasmavmc-metadata's group
//! RUN/accelerator                   what was found out by trying, since boot
//! USERDB/pvm-….{user,group}         the VM's user
//! ```

use std::path::{Path, PathBuf};

use photon_resource::VmId;

use crate::plan::desired::{DiskId, Sha256Hex};

/// The directories, so that tests have their own.
#[derive(Clone, Debug)]
pub struct Layout {
    pub state: PathBuf,
    /// `/run/photoncloud`. Emptied by a reboot. Units know it relative to `/run`.
    pub run: PathBuf,
    /// `/run/userdb`.
    pub userdb: PathBuf,
}

impl Layout {
    /// The host's own, with this state directory.
    pub fn host(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
            run: "/run/photoncloud".into(),
            userdb: "/run/userdb".into(),
        }
    }

    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    pub fn image(&self, sha256: &Sha256Hex) -> PathBuf {
        self.images().join(sha256.as_str())
    }

    pub fn image_part(&self, sha256: &Sha256Hex) -> PathBuf {
        self.images().join(format!("{sha256}.part"))
    }

    pub fn vms(&self) -> PathBuf {
        self.state.join("vms")
    }

    pub fn vm(&self, id: VmId) -> PathBuf {
        self.vms().join(id.to_string())
    }

    pub fn disk(&self, id: VmId, disk: &DiskId) -> PathBuf {
        self.vm(id).join(format!("disk-{disk}.qcow2"))
    }

    pub fn seed(&self, id: VmId) -> PathBuf {
        self.vm(id).join("seed.img")
    }

    pub fn prepared(&self, id: VmId) -> PathBuf {
        self.vm(id).join("prepared")
    }

    pub fn started(&self, id: VmId) -> PathBuf {
        self.vm(id).join("started")
    }

    /// The unit's runtime directory relative to `/run`, as `RuntimeDirectory=` wants it.
    pub fn runtime_name(&self, id: VmId) -> String {
        let run = self
            .run
            .strip_prefix("/run")
            .unwrap_or(Path::new("photoncloud"));
        format!("{}/vm/{id}", run.display())
    }

    pub fn runtime(&self, id: VmId) -> PathBuf {
        self.run.join("vm").join(id.to_string())
    }

    pub fn notes(&self, id: VmId) -> PathBuf {
        self.run.join("vm-notes").join(id.to_string())
    }

    pub fn stop_timeout(&self, id: VmId) -> PathBuf {
        self.notes(id).join("stop-timeout")
    }

    /// Reboot generation up to which the running machine was reset.
    pub fn reset(&self, id: VmId) -> PathBuf {
        self.notes(id).join("reset")
    }

    /// The run ([`Run::name`](crate::plan::Run::name)) whose kernel panicked.
    pub fn panicked(&self, id: VmId) -> PathBuf {
        self.notes(id).join("panicked")
    }

    pub fn console(&self, id: VmId) -> PathBuf {
        self.notes(id).join("console")
    }

    pub fn metadata(&self) -> PathBuf {
        self.run.join("metadata")
    }

    pub fn metadata_of(&self, id: VmId) -> PathBuf {
        self.metadata().join(format!("{id}.json"))
    }

    pub fn accelerator(&self) -> PathBuf {
        self.run.join("accelerator")
    }

    pub fn user_record(&self, name: &str) -> PathBuf {
        self.userdb.join(format!("{name}.user"))
    }
}
