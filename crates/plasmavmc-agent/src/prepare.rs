//! A VM's files: its user, directory, disks and seed.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use photon_host::{Error, durable, process};
use photon_resource::VmId;

use super::layout::Layout;
use super::user;
use crate::plan::desired::{DesiredDisk, DesiredVm, DiskFormat};
use crate::plan::seed;

/// `qemu-img create` only writes a header.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// Makes everything that the VM's process needs and that is not there yet. A disk that exists is never
/// touched: it is the guest's.
///
/// Errors: the first thing that could not be made.
pub async fn prepare(
    layout: &Layout,
    qemu_img: &Path,
    id: VmId,
    vm: &DesiredVm,
) -> Result<(), Error> {
    user::ensure(layout, id)?;
    let directory = layout.vm(id);
    let made = (|| {
        std::fs::create_dir_all(&directory)?;
        // Root's, so that the VM's process can't put something else in a file's place; its group's to enter.
        chown(&directory, Some(0), Some(id.unix_uid()))?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o750))
    })();
    made.map_err(|source| Error::File {
        action: "create",
        path: directory.clone(),
        source,
    })?;
    for disk in &vm.disks {
        let path = layout.disk(id, &disk.id);
        if !path.exists() {
            make_disk(layout, qemu_img, disk, &path, id.unix_uid()).await?;
        }
    }
    let seed_path = layout.seed(id);
    let image = seed::image(id, vm).map_err(|source| Error::File {
        action: "write",
        path: seed_path.clone(),
        source,
    })?;
    if !std::fs::read(&seed_path).is_ok_and(|present| present == image) {
        durable::write(&seed_path, &image, 0o600)?;
        give(&seed_path, id.unix_uid())?;
    }
    durable::write(&layout.prepared(id), vm.preparation(id).as_bytes(), 0o600)
}

/// Makes a disk under another name and renames it when it is whole, so that a power cut leaves none that is
/// half made.
async fn make_disk(
    layout: &Layout,
    qemu_img: &Path,
    disk: &DesiredDisk,
    path: &Path,
    uid: u32,
) -> Result<(), Error> {
    let unfinished = path.with_extension("new");
    durable::remove(&unfinished)?;
    let (program, target) = (
        qemu_img.display().to_string(),
        unfinished.display().to_string(),
    );
    let size = disk.size_bytes.to_string();
    let base = disk.image.as_ref().map(|image| {
        let format = match image.format {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        };
        (
            layout.image(&image.file.sha256).display().to_string(),
            format,
        )
    });
    let mut arguments = vec!["create", "-q", "-f", "qcow2"];
    if let Some((base, format)) = &base {
        // Unread (`-u`): the image is a tenant's, and this runs as root. QEMU itself reads it, as the VM's user.
        arguments.extend(["-u", "-b", base, "-F", format]);
    }
    arguments.extend([target.as_str(), size.as_str()]);
    process::run(&program, &arguments, b"", CREATE_LIMIT).await?;
    give(&unfinished, uid)?;
    let finished = (|| {
        std::fs::File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    finished.map_err(|source| Error::File {
        action: "create",
        path: path.to_owned(),
        source,
    })
}

fn give(path: &Path, uid: u32) -> Result<(), Error> {
    let given = chown(path, Some(uid), Some(uid))
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)));
    given.map_err(|source| Error::File {
        action: "give to the VM's user",
        path: path.to_owned(),
        source,
    })
}

/// What the VM's files were made from; `None` when something of what a start needs is missing. Blocks.
pub fn prepared(layout: &Layout, id: VmId) -> Option<String> {
    if !layout.user_record(&id.unix_user()).exists() {
        return None;
    }
    std::fs::read_to_string(layout.prepared(id)).ok()
}

/// Removes all of it. Blocks.
///
/// Errors: what could not be removed.
pub fn remove(layout: &Layout, id: VmId) -> Result<(), Error> {
    for directory in [layout.notes(id), layout.vm(id)] {
        match std::fs::remove_dir_all(&directory) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::File {
                    action: "remove",
                    path: directory,
                    source,
                });
            }
            _ => {}
        }
    }
    user::remove(layout, id)
}

#[cfg(test)]
mod tests;
