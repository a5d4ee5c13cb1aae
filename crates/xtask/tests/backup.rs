//! `modules/flaredb/backup.sh`, which `photon-backup.service` runs, with a real server and its real store.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::photoncloud::programs::Programs;
use xtask::photoncloud::tree;

/// A server that runs on a store of its own.
struct Server {
    program: PathBuf,
    state: TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let programs = Programs::ensure().unwrap();
        let program = programs.path("iam-server").unwrap().to_owned();
        let state = tempfile::tempdir().unwrap();
        let process = Command::new(&program)
            .args(["--port", "0", "--metrics-listen", "off", "--state-dir"])
            .arg(state.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server {
            program,
            state,
            process,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !server.verify(&server.state.path().join("flaredb.sqlite")) {
            assert!(Instant::now() < deadline, "iam-server made no store");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn verify(&self, store: &Path) -> bool {
        let mut command = Command::new(&self.program);
        let output = command.args(["verify", "--store"]).arg(store).output();
        output.unwrap().status.success()
    }

    /// As the unit does, with the shell's options of `writeShellApplication`.
    fn back_up(&self, directory: &Path, keep: u32, servers: &[&str]) -> Output {
        Command::new("bash")
            .args(["-o", "errexit", "-o", "nounset", "-o", "pipefail"])
            .arg(tree().join("modules/flaredb/backup.sh"))
            .arg(directory)
            .arg(keep.to_string())
            .args(servers)
            .env("PHOTON_BIN", self.program.parent().unwrap())
            .env("PHOTON_STATE_DIR", self.state.path())
            .output()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails leaves no server behind; one that ended by itself needs no signal.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn copies(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    found
}

#[test]
fn a_running_servers_store_is_copied_and_the_newest_copies_are_kept() {
    let server = Server::start();
    let backup = tempfile::tempdir().unwrap();
    let directory = backup.path().join("iam-server");
    std::fs::create_dir(&directory).unwrap();
    // Two copies of before, and what a power cut has left of a third.
    for name in ["2020-01-01T00-00-00Z.sqlite", "2021-01-01T00-00-00Z.sqlite"] {
        std::fs::write(directory.join(name), "old").unwrap();
    }
    std::fs::write(directory.join("2022-01-01T00-00-00Z.sqlite.partial"), "").unwrap();

    let output = server.back_up(backup.path(), 2, &["iam-server"]);
    assert!(output.status.success(), "{output:?}");
    let left = copies(&directory);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].ends_with("2021-01-01T00-00-00Z.sqlite"), "{left:?}");
    assert!(server.verify(&left[1]), "{left:?}");
}

#[test]
fn one_servers_failure_keeps_no_other_from_its_copy_and_is_told() {
    let server = Server::start();
    let backup = tempfile::tempdir().unwrap();
    let output = server.back_up(backup.path(), 48, &["no-server", "iam-server"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-server: no copy was made"), "{said}");
    assert_eq!(copies(&backup.path().join("no-server")).len(), 0);
    let made = copies(&backup.path().join("iam-server"));
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(server.verify(&made[0]), "{made:?}");
}
