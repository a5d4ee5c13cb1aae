//! The iPXE script of a machine.

use std::path::PathBuf;

use anyhow::{Context, ensure};

use crate::model::{Machine, State};

/// The netboot image, and how it is booted.
#[derive(Clone, Debug)]
pub struct Netboot {
    /// Directory with `bzImage`, `initrd` and `cmdline`.
    pub files: PathBuf,
    /// URL of the boot listener.
    pub url: String,
    /// Public SSH key with which the installer signs in.
    pub ssh_public_key: Option<String>,
}

impl Netboot {
    /// The script for `machine`; `None`: nobody knows it.
    ///
    /// Errors: the image's `cmdline` can't be read.
    pub async fn script(&self, machine: Option<&Machine>) -> anyhow::Result<String> {
        let what = match machine {
            None => "not known yet".to_owned(),
            Some(machine) => format!("{} ({})", machine.called(), machine.state),
        };
        if machine.is_some_and(|machine| machine.state == State::Retired) {
            return Ok(format!(
                "#!ipxe\necho PhotonCloud: machine {what} was taken out of the cluster, it is not installed.\n\
                 echo Approve it again to use it.\nsleep 10\nexit\n"
            ));
        }
        if machine.is_some_and(Machine::boots_from_disk) {
            return Ok(format!(
                "#!ipxe\necho PhotonCloud: machine {what} starts from its disk.\nexit\n"
            ));
        }
        let path = self.files.join("cmdline");
        let line = tokio::fs::read_to_string(&path)
            .await
            .with_context(|| format!("the netboot image's {}", path.display()))?;
        let line = line.trim();
        // iPXE would take both for its own.
        ensure!(
            !line.contains(['\n', '\r']) && !line.contains("${"),
            "the netboot image's {} is more than one plain line",
            path.display()
        );
        let url = &self.url;
        let key = match &self.ssh_public_key {
            Some(key) => format!(" photon.ssh_key={}", key.trim().replace(' ', "%20")),
            None => String::new(),
        };
        Ok(format!(
            "#!ipxe\n\
             echo PhotonCloud: machine {what} starts the netboot image.\n\
             :again\n\
             kernel {url}/boot/bzImage {line} initrd=initrd photon.provisioner={url}{key} || goto wait\n\
             initrd --name initrd {url}/boot/initrd || goto wait\n\
             boot || goto wait\n\
             :wait\n\
             echo That failed; trying again in 10 seconds.\n\
             imgfree\n\
             sleep 10\n\
             goto again\n"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::Hardware;

    fn machine(state: State) -> Machine {
        let address = "192.0.2.9".parse().unwrap();
        let mut machine = Machine::discovered(Hardware::default(), address, SystemTime::UNIX_EPOCH);
        machine.state = state;
        machine.name =
            (state != State::Discovered && state != State::Retired).then(|| "node02".into());
        machine
    }

    #[tokio::test]
    async fn each_state_boots_what_it_should() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("cmdline"),
            "init=/nix/store/x/init loglevel=4\n",
        )
        .unwrap();
        let netboot = Netboot {
            files: dir.path().into(),
            url: "http://192.0.2.1:8089".into(),
            ssh_public_key: Some("ssh-ed25519 AAAA".into()),
        };
        let image = "kernel http://192.0.2.1:8089/boot/bzImage init=/nix/store/x/init loglevel=4 initrd=initrd \
                     photon.provisioner=http://192.0.2.1:8089 photon.ssh_key=ssh-ed25519%20AAAA ||";
        let unknown = netboot.script(None).await.unwrap();
        assert!(
            unknown.starts_with("#!ipxe\n") && unknown.contains(image),
            "{unknown}"
        );
        for state in State::ALL {
            let script = netboot.script(Some(&machine(state))).await.unwrap();
            assert!(script.starts_with("#!ipxe\n"), "{script}");
            let netboots = matches!(
                state,
                State::Discovered | State::Approved | State::Installing | State::Failed
            );
            assert_eq!(script.contains(image), netboots, "{state}: {script}");
            assert_eq!(script.ends_with("exit\n"), !netboots, "{state}: {script}");
        }
        let mut installed = machine(State::Installing);
        installed.installed_at = Some(SystemTime::UNIX_EPOCH);
        let script = netboot.script(Some(&installed)).await.unwrap();
        assert!(script.contains("from its disk"), "{script}");
    }

    #[tokio::test]
    async fn a_command_line_can_not_add_commands() {
        let dir = tempfile::tempdir().unwrap();
        let netboot = Netboot {
            files: dir.path().into(),
            url: "http://192.0.2.1:8089".into(),
            ssh_public_key: None,
        };
        assert!(netboot.script(None).await.is_err(), "there is none");
        for line in ["init=/x\nshell", "init=${mac}"] {
            std::fs::write(dir.path().join("cmdline"), line).unwrap();
            assert!(netboot.script(None).await.is_err(), "{line}");
        }
    }
}
