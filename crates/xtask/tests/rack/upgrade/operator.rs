//! The operator's machine: `photon host` for real, over SSH, with nixos-rebuild's stand-in on its PATH.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xtask::photoncloud;
use xtask::photoncloud::programs::Programs;
use xtask::rack::{Host, Rack};

use super::generation::{self, Closure, running};
use crate::cloud::{Cloud, Tenant};
use crate::faults::incarnations;

const NIXOS_REBUILD: &str = include_str!("nixos-rebuild");

/// Shorter than for a rack of real hosts, whose units may crash less soon.
const SETTLE: &[&str] = &["--settle=2"];

/// A folder of the run that holds what the operator has: a key, a PATH, a flake.
struct Operator {
    rack: Arc<Rack>,
    folder: PathBuf,
    photon: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Operator {
    fn new(rack: Arc<Rack>, photon: &Path) -> Self {
        let folder = rack.dir().join("operator");
        std::fs::create_dir_all(folder.join("bin")).unwrap();
        std::fs::create_dir_all(folder.join("flake")).unwrap();
        let program = folder.join("bin/nixos-rebuild");
        std::fs::write(&program, NIXOS_REBUILD).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.join("key"))
            .status()
            .unwrap();
        assert!(made.success());
        Operator {
            rack,
            folder,
            photon: photon.to_owned(),
        }
    }

    /// Lets the operator in.
    async fn authorized_by(&self, host: &Host) {
        let key = std::fs::read_to_string(self.folder.join("key.pub")).unwrap();
        host.check(&format!(
            "set -e\n\
             install -d -m 700 /root/.ssh\n\
             echo '{}' >/root/.ssh/authorized_keys\n\
             systemctl unmask --quiet ssh.service\n\
             systemctl start ssh.service",
            key.trim()
        ))
        .await
        .unwrap();
    }

    /// Makes the closure what the flake says of the host.
    fn wants(&self, host: &Host, closure: &Closure) {
        let link = self.folder.join("flake").join(host.name());
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&closure.path, link).unwrap();
    }

    /// `photon host VERB` about these hosts.
    async fn photon(&self, verb: &str, hosts: &[&Host], more: &[&str]) -> Answer {
        let mut command = self.rack.command(&self.photon);
        command.args(["host", verb, "--output", "json"]);
        for host in hosts {
            command.arg(host.name());
            command.arg(format!("--target={}=root@{}", host.name(), host.address()));
        }
        command
            .arg(format!(
                "--ssh-option=IdentityFile={}",
                self.folder.join("key").display()
            ))
            .arg(format!(
                "--ssh-option=UserKnownHostsFile={}",
                self.folder.join("known").display()
            ))
            .arg("--ssh-option=StrictHostKeyChecking=accept-new")
            .args(more)
            .env("PHOTON_FLAKE", self.folder.join("flake"))
            .env(
                "PATH",
                format!(
                    "{}:{}",
                    self.folder.join("bin").display(),
                    std::env::var("PATH").unwrap()
                ),
            )
            .env("HOME", &self.folder);
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .unwrap();
        let answer = Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        eprintln!(
            "photon host {verb}: {:?}\n{}{}",
            answer.code, answer.stderr, answer.stdout
        );
        answer
    }
}

impl Answer {
    /// What it says of this host.
    fn of(&self, host: &Host) -> serde_json::Value {
        let rows: serde_json::Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let rows = rows.as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == host.name());
        row.unwrap_or_else(|| panic!("no {}: {self:?}", host.name()))
            .clone()
    }
}

/// A unit file of which systemd takes everything and the program nothing: off loopback there is TLS or no start.
fn broken(unit: &str, text: String) -> String {
    if unit == "plasmavmc-server.service" {
        text.replace(
            "bin/plasmavmc-server\n",
            "bin/plasmavmc-server --listen 192.0.2.1\n",
        )
    } else {
        text
    }
}

async fn with_guest(cloud: &Cloud) -> Tenant {
    let tenant = cloud.tenant("acme").await;
    let machine = tenant.machine("vm1", "10.0.1.10").await;
    tenant.guest(&machine).await;
    tenant
}

/// Two Debian hosts, each a cloud by itself: their closures are stand-ins, and so are nixos-rebuild and nix-env.
/// photon, ssh, sshd, systemd, the services and the guests are real.
#[tokio::test]
async fn photon_host_upgrades_and_rolls_back_debian_stand_ins_over_ssh() {
    let programs = tokio::task::spawn_blocking(Programs::ensure);
    let programs = programs.await.unwrap().unwrap();
    let rack = Arc::new(Rack::start(2).await.unwrap());
    let operator = Operator::new(rack.clone(), programs.path("photon").unwrap());
    let [first, second] = [rack.host(1), rack.host(2)];
    let mut clouds = Vec::new();
    let mut old = Vec::new();
    for host in [&first, &second] {
        clouds.push(Cloud::on(rack.clone(), host.clone()).await);
        let closure = Closure::build(host, &programs, "1", |_, text| text);
        generation::prepare(host).await;
        generation::switch(host, &closure).await;
        photoncloud::wait_until_active(host).await.unwrap();
        old.push(closure);
        operator.authorized_by(host).await;
    }
    for cloud in &clouds {
        with_guest(cloud).await;
    }
    let guests = [incarnations(&first).await, incarnations(&second).await];
    assert!(
        guests.iter().all(|guest| guest.lines().count() == 1),
        "{guests:?}"
    );
    let before = [running(&first).await, running(&second).await];

    // Everything is well, and said so.
    let answer = operator.photon("status", &[&first, &second], &[]).await;
    assert_eq!(answer.code, Some(0));
    let row = answer.of(&second);
    assert_eq!(row["healthy"], true);
    assert_eq!(row["generation"], 1);
    assert_eq!(row["vms"], 1);
    assert_eq!(row["closure"], old[1].store_path());
    assert_eq!(row["apis"].as_array().unwrap().len(), 4, "{row:#}");

    // The second host's new version does not come up: it goes back, the first one stays.
    let new = Closure::build(&first, &programs, "2", super::with_more_files);
    let bad = Closure::build(&second, &programs, "2", broken);
    operator.wants(&first, &new);
    operator.wants(&second, &bad);
    let answer = operator.photon("upgrade", &[&first, &second], SETTLE).await;
    assert_eq!(answer.code, Some(1));
    assert_eq!(answer.of(&first)["outcome"], "done");
    assert_eq!(answer.of(&second)["outcome"], "rolled back");
    assert!(
        answer.stderr.contains("the upgrade stopped at h2"),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stderr.contains("it was rolled back and is healthy"),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stderr.contains("upgrade done: h1"),
        "{}",
        answer.stderr
    );
    super::runs(&first, &new, &before[0]).await;
    assert_eq!(running(&second).await.len(), before[1].len());
    for (now, then) in running(&second).await.iter().zip(&before[1]) {
        assert_eq!(now, then, "the second host is not back at what it ran");
    }
    let answer = operator.photon("status", &[&first, &second], &[]).await;
    assert_eq!(answer.code, Some(0));
    assert_eq!(answer.of(&first)["generation"], 2);
    assert_eq!(answer.of(&second)["generation"], 1);
    assert_eq!(answer.of(&second)["closure"], old[1].store_path());

    // What cannot even be built changes nothing.
    std::fs::remove_file(operator.folder.join("flake/h2")).unwrap();
    let answer = operator.photon("upgrade", &[&second], SETTLE).await;
    assert_eq!(answer.code, Some(1));
    assert_eq!(answer.of(&second)["outcome"], "not switched");
    assert!(
        answer.stderr.contains("does not provide attribute"),
        "{}",
        answer.stderr
    );

    // Back, by hand: the first host, too, is at its first version again.
    let answer = operator.photon("rollback", &[&first], SETTLE).await;
    assert_eq!(answer.code, Some(0));
    assert_eq!(answer.of(&first)["outcome"], "done");
    for (now, then) in running(&first).await.iter().zip(&before[0]) {
        assert_eq!(now, then, "the first host is not back at what it ran");
    }
    assert_eq!(
        [incarnations(&first).await, incarnations(&second).await],
        guests,
        "a VM was restarted"
    );

    // A host that is not there ends it before anything is begun.
    second.power_off().await.unwrap();
    operator.wants(&second, &bad);
    let answer = operator.photon("upgrade", &[&first, &second], SETTLE).await;
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.contains("nothing was begun"),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stderr.contains("h2: ssh to root@192.0.2.2 failed"),
        "{}",
        answer.stderr
    );
}
