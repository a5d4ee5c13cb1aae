//! The unix user of a VM, as records that nss-systemd reads (`JSON User Records`, systemd's USER_RECORD;
//! nss-systemd(8)): systemd takes no `User=` that it can't look up, and nothing is added to `/etc/passwd`.
//!
//! The records are below `/run`: a reboot of the host forgets them, and the next start makes them again.

use std::os::unix::fs::symlink;
use std::path::Path;

use photon_host::{Error, Result, durable};
use photon_resource::VmId;
use serde_json::json;

use super::layout::Layout;

/// Makes the records of the VM's user and group. Blocks.
///
/// Errors: a file could not be written.
pub fn ensure(layout: &Layout, id: VmId) -> Result<()> {
    let (name, uid) = (id.unix_user(), id.unix_uid());
    let directory = &layout.userdb;
    std::fs::create_dir_all(directory).map_err(|source| Error::File {
        action: "create",
        path: directory.clone(),
        source,
    })?;
    let user = json!({
        "userName": name,
        "realName": format!("PhotonCloud VM {id}"),
        "uid": uid,
        "gid": uid,
        "disposition": "dynamic",
        "locked": true,
        "homeDirectory": "/",
        "shell": "/usr/sbin/nologin",
    });
    let group = json!({ "groupName": name, "gid": uid, "disposition": "dynamic" });
    for (kind, record) in [("group", group), ("user", user)] {
        let file = format!("{name}.{kind}");
        let text = record.to_string();
        durable::write_volatile(&directory.join(&file), text.as_bytes(), 0o644)?;
        link(&file, &directory.join(format!("{uid}.{kind}")))?;
    }
    Ok(())
}

/// Removes the records; none are fine. Blocks.
///
/// Errors: a file could not be removed.
pub fn remove(layout: &Layout, id: VmId) -> Result<()> {
    for kind in ["user", "group"] {
        durable::remove(&layout.userdb.join(format!("{}.{kind}", id.unix_uid())))?;
        durable::remove(&layout.userdb.join(format!("{}.{kind}", id.unix_user())))?;
    }
    Ok(())
}

/// Lookups by number go through a link with the number as its name.
fn link(target: &str, path: &Path) -> Result<()> {
    if std::fs::read_link(path).is_ok_and(|found| found == Path::new(target)) {
        return Ok(());
    }
    durable::remove(path)?;
    symlink(target, path).map_err(|source| Error::File {
        action: "link",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_name_and_number_and_go_again() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout {
            state: directory.path().join("state"),
            run: directory.path().join("run"),
            userdb: directory.path().join("userdb"),
        };
        let id = VmId::generate();
        ensure(&layout, id).unwrap();
        ensure(&layout, id).unwrap();
        for name in [id.unix_user(), id.unix_uid().to_string()] {
            let text = std::fs::read(layout.userdb.join(format!("{name}.user"))).unwrap();
            let record: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(record["uid"], id.unix_uid());
            assert!(layout.userdb.join(format!("{name}.group")).exists());
        }
        remove(&layout, id).unwrap();
        remove(&layout, id).unwrap();
        assert_eq!(std::fs::read_dir(&layout.userdb).unwrap().count(), 0);
    }
}
