//! However a rack ends, nothing of it remains: no process, no network namespace, no file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xtask::rack::network::Namespace;
use xtask::rack::{Rack, run};

use crate::SECOND;

/// Processes that have `word` in their command line.
fn processes_with(word: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(word) {
            found.push(pid);
        }
    }
    found
}

fn assert_gone(id: &str, dir: &Path) {
    assert!(!Namespace::of_run(id).path().exists(), "namespace of {id}");
    assert!(!dir.exists(), "{}", dir.display());
    assert_eq!(processes_with(id), Vec::<i32>::new());
}

/// A rack in a process of its own, which tells its id when it is up.
fn rack_elsewhere() -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["rack", "hold"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut id)
        .unwrap();
    assert_eq!(id.trim().len(), 6, "an id, not {id:?}");
    (child, id.trim().to_owned())
}

fn dir_of(rack: &Rack, id: &str) -> std::path::PathBuf {
    rack.dir().parent().unwrap().join(id)
}

#[tokio::test]
async fn a_dropped_rack_leaves_nothing() {
    let rack = Rack::start(1).await.unwrap();
    let (id, dir) = (rack.id().to_owned(), rack.dir().to_owned());
    assert!(!processes_with(&id).is_empty() && dir.exists());
    drop(rack);
    assert_gone(&id, &dir);
}

#[tokio::test]
async fn an_interrupted_rack_leaves_nothing() {
    let here = Rack::start(1).await.unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (mut child, id) = rack_elsewhere();
        let dir = dir_of(&here, &id);
        assert!(dir.exists());
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal as i32));
        assert_gone(&id, &dir);
    }
}

/// The id of the run whose lock a process holds, once it has begun one.
///
/// That it has the file open is no sign: it opens those of all runs, to see whose owner is dead. What it has locked is
/// in `fdinfo` (proc_pid_fdinfo(5)), as a line for each lock of that very descriptor.
fn run_of(child: &Child) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    let proc = Path::new("/proc").join(child.id().to_string());
    loop {
        let held = std::fs::read_dir(proc.join("fd")).unwrap();
        let mut owners = held.filter_map(|fd| {
            let fd = fd.ok()?;
            let link = std::fs::read_link(fd.path()).ok()?;
            let info = std::fs::read_to_string(proc.join("fdinfo").join(fd.file_name())).ok()?;
            (link.ends_with("owner") && info.contains("\nlock:")).then_some(link)
        });
        if let Some(owner) = owners.next() {
            let run = owner.parent().and_then(Path::file_name).unwrap();
            return run.to_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "the rack began no run");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_rack_that_is_interrupted_while_it_boots_leaves_nothing() {
    let here = Rack::start(1).await.unwrap();
    // From the first file of a run to well into the boot.
    for pause in [0, 10, 30, 60, 100, 200, 400, 800] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["rack", "hold"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let id = run_of(&child);
        let dir = dir_of(&here, &id);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "after {pause} ms");
        assert_gone(&id, &dir);
    }
}

#[tokio::test]
async fn a_killed_rack_dies_at_once_and_the_next_run_removes_the_rest() {
    let here = Rack::start(1).await.unwrap();
    // As somebody's `cargo xtask up` is: not this process's, and alive.
    let (mut alive, another) = rack_elsewhere();
    let (mut child, id) = rack_elsewhere();
    let dir = dir_of(&here, &id);
    assert!(!processes_with(&id).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = std::time::Instant::now() + 10 * SECOND;
    while !processes_with(&id).is_empty() {
        assert!(std::time::Instant::now() < deadline, "hosts live on");
        std::thread::yield_now();
    }
    let cache = xtask::cache::Cache::open().unwrap();
    run::remove_stale(&cache).unwrap();
    // Another test's rack may have found it first, and be at it now; the directory goes last.
    while dir.exists() {
        assert!(std::time::Instant::now() < deadline, "nobody cleans");
        std::thread::yield_now();
    }
    assert_gone(&id, &dir);
    assert_eq!(here.host(1).check("hostname").await.unwrap(), "h1\n");
    // What is alive is nobody's debris.
    assert!(Namespace::of_run(&another).path().exists());
    assert!(dir_of(&here, &another).exists() && !processes_with(&another).is_empty());
    kill(Pid::from_raw(alive.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(
        alive.wait().unwrap().code(),
        Some(128 + Signal::SIGTERM as i32)
    );
    assert_gone(&another, &dir_of(&here, &another));
}
