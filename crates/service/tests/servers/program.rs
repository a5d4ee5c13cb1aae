//! A whole program: this test program starts itself, and one of the tests here is then its `main`.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use photon_program::ServerArgs;
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::desk::{DESK, Desk};

/// The arguments of the program, one a line.
const ARGUMENTS: &str = "PHOTON_TEST_PROGRAM_ARGUMENTS";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "program::a_port_that_is_taken_ends_the_program_with_an_error",
            "--nocapture",
        ])
        .env_clear()
        .env(ARGUMENTS, arguments.join("\n"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What systemd is on the other side of sd_notify(3).
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self { socket, dir }
    }

    /// Starts the program as systemd would.
    fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Started {
        let child = program(arguments)
            .env("NOTIFY_SOCKET", self.dir.path().join("notify"))
            .env("WATCHDOG_USEC", "200000")
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        Started(Some(child))
    }

    /// The next message with `part`, and how many others came before it.
    fn message(&self, part: &str) -> (String, usize) {
        let mut others = 0;
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).expect(part);
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.contains(part) {
                return (text, others);
            }
            others += 1;
        }
    }

    /// Where a started program serves.
    fn ready(&self) -> String {
        let (text, _) = self.message("READY=1");
        let status = text
            .lines()
            .find_map(|line| line.strip_prefix("STATUS=serving "));
        status
            .unwrap_or_else(|| panic!("no address in {text}"))
            .to_owned()
    }
}

struct Started(Option<Child>);

impl Started {
    fn terminate(&self) {
        let pid = i32::try_from(self.0.as_ref().unwrap().id()).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    fn wait(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_learns_of_start_life_and_stop_and_sigterm_ends_streams() {
    let manager = Manager::new();
    let started = manager.start(&["--port=0", "--metrics-listen=off"], &[]);
    let url = manager.ready();
    manager.message("WATCHDOG=1");
    manager.message("WATCHDOG=1");
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let mut watch = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap();

    let began = Instant::now();
    started.terminate();
    manager.message("STOPPING=1");
    let status = loop {
        match watch.message().await {
            Ok(answer) => assert!(answer.is_some(), "the stream ended as if all were well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let output = started.wait();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("stopped"), "{}", text(&output));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("desk.toml");
    // Loopback has 127.0.0.0/8: an address for each place that settings come from.
    std::fs::write(
        &file,
        "listen = \"127.0.0.4\"\nport = 0\nmetrics_listen = \"off\"\n",
    )
    .unwrap();
    let file = format!("--config={}", file.display());
    let environment = [("PHOTON_LISTEN", "127.0.0.3")];
    for (arguments, environment, expected) in [
        (vec![file.as_str()], &[][..], "127.0.0.4"),
        (vec![file.as_str()], &environment[..], "127.0.0.3"),
        (
            vec![file.as_str(), "--listen=127.0.0.2"],
            &environment[..],
            "127.0.0.2",
        ),
    ] {
        let manager = Manager::new();
        let _started = manager.start(&arguments, environment);
        let url = manager.ready();
        assert!(url.starts_with(&format!("http://{expected}:")), "{url}");
    }
}

#[test]
fn check_config_says_what_is_wrong_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("desk.toml");
    let check = |file: &str, more: &[&str]| -> (ExitStatus, String) {
        std::fs::write(&path, file).unwrap();
        let config = format!("--config={}", path.display());
        let arguments = [&[config.as_str(), "--check-config"], more].concat();
        let output = program(&arguments).output().unwrap();
        (output.status, text(&output))
    };
    let (status, said) = check("port = 1234\n", &[]);
    assert!(
        status.success() && said.contains("the configuration is valid"),
        "{said}"
    );
    for (file, more, expected) in [
        ("prot = 1234\n", &[][..], "unknown field `prot`"),
        ("port = \"many\"\n", &[], "desk.toml"),
        ("listen = \"0.0.0.0\"\n", &[], "must speak TLS"),
        (
            "",
            &["--iam-endpoint=http://192.0.2.1:50080"],
            "endpoints.iam",
        ),
    ] {
        let (status, said) = check(file, more);
        assert_eq!(status.code(), Some(1), "{file}: {said}");
        assert!(said.contains(expected), "{file}: {said}");
    }
}

#[test]
fn a_port_that_is_taken_ends_the_program_with_an_error() {
    if let Ok(arguments) = std::env::var(ARGUMENTS) {
        run_program(&arguments);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = program(&[&format!("--port={port}"), "--metrics-listen=off"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains(&format!("can't listen on 127.0.0.1:{port}")),
        "{said}"
    );
}

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    server: ServerArgs,
}

/// The program that the tests here start.
fn run_program(arguments: &str) -> ! {
    let arguments = Arguments::parse_from(std::iter::once("desk").chain(arguments.lines()));
    let code = photon_service::main::<(), _, _>(
        DESK,
        &arguments.server,
        async |settings, listener, shutdown| {
            let services = Desk::new().services();
            photon_service::serve(&settings.server, DESK, services, listener, shutdown).await
        },
    );
    // Not through the test harness, whose exit code is its own.
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// A store with two chains of events.
async fn store(dir: &std::path::Path) -> flaredb::Db {
    let db = flaredb::Db::sqlite(&dir.join("flaredb.sqlite"))
        .await
        .unwrap();
    let ledger = chainfire::Ledger::new(db.clone(), "desk");
    for org in [None, Some("acme"), Some("acme")] {
        let event = chainfire::NewEvent {
            org_id: org.map(|org| org.parse().unwrap()),
            project_id: None,
            principal_id: None,
            principal_name: "alice".into(),
            impersonator: None,
            source: "192.0.2.7".into(),
            action: "compute:instances:delete".into(),
            resource: "org/acme/project/web/instances/i".into(),
            outcome: chainfire::Outcome::Denied,
            reason: "no role".into(),
            request_id: "r".into(),
            before_digest: None,
            after_digest: None,
        };
        ledger.record(event).await.unwrap();
    }
    db
}

/// Runs a command about the store in `dir`: whether it worked, and what it said.
fn about(dir: &std::path::Path, command: &[&str]) -> (bool, String) {
    let state_dir = format!("--state-dir={}", dir.display());
    let arguments = [command, &[state_dir.as_str()]].concat();
    let output = program(&arguments).output().unwrap();
    (output.status.success(), text(&output))
}

#[tokio::test]
async fn a_store_is_backed_up_verified_and_restored_by_the_servers_own_program() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let db = store(dir).await;
    std::fs::create_dir(dir.join("images")).unwrap();
    let copy = dir.join("copy").display().to_string();
    let (to, from, of) = (
        format!("--to={copy}"),
        format!("--from={copy}"),
        format!("--store={copy}"),
    );
    // While the store is open, as a server has it.
    let (done, said) = about(dir, &["backup", &to]);
    assert!(done && said.contains("(schema 1, revision 3)"), "{said}");
    let images = dir.join("images").display().to_string();
    assert!(
        said.contains("not in it") && said.contains(&images),
        "{said}"
    );
    let (done, said) = about(dir, &["backup", &to]);
    assert!(!done && said.contains("is there already"), "{said}");
    for command in [&["verify"][..], &["verify", &of]] {
        let (done, said) = about(dir, command);
        assert!(done && said.contains("2 chains with 3 events"), "{said}");
    }
    let (done, said) = about(dir, &["restore", &from]);
    assert!(!done && said.contains("stop the server first"), "{said}");
    let (done, said) = about(dir, &["finalize-schema"]);
    assert!(!done && said.contains("stop the server first"), "{said}");

    // Somebody alters an event.
    let key = "chain/acme/00000000000000000001";
    let (item, _) = db.get_raw(key).await.unwrap();
    let altered = String::from_utf8(item.unwrap().value).unwrap();
    let altered = altered.replace("alice", "mallory");
    let op = flaredb::Op::Put {
        key: key.into(),
        value: altered.into_bytes(),
        lease: None,
    };
    let _ = db.commit(vec![], vec![op]).await.unwrap();
    let (done, said) = about(dir, &["verify"]);
    let problem = "the event chain of 'acme'";
    assert!(!done && said.contains(problem), "{said}");
    assert!(said.contains("event 1 was altered"), "{said}");
    let broken = dir.join("broken").display().to_string();
    let (done, said) = about(dir, &["backup", &format!("--to={broken}")]);
    assert!(done, "{said}");
    drop(db);

    let (done, said) = about(dir, &["restore", &format!("--from={broken}")]);
    assert!(!done && said.contains(problem), "{said}");
    assert!(said.contains("was not restored"), "{said}");
    let (done, said) = about(dir, &["restore", &from]);
    assert!(done && said.contains("the store before is"), "{said}");
    let (done, said) = about(dir, &["verify"]);
    assert!(done, "{said}");
    let (done, said) = about(dir, &["finalize-schema"]);
    assert!(done && said.contains("has schema 1 already"), "{said}");
}

#[tokio::test]
async fn commands_about_the_store_need_none_of_a_servers_other_files() {
    let dir = tempfile::tempdir().unwrap();
    drop(store(dir.path()).await);
    let config = dir.path().join("desk.toml");
    let text_of = format!(
        "state_dir = '{}'\nlisten = '192.0.2.1'\n[tls]\ncertificate = '/run/credentials/absent'\nkey = '/no'\n",
        dir.path().display()
    );
    std::fs::write(&config, text_of).unwrap();
    let config = format!("--config={}", config.display());
    for arguments in [["verify", &config], [&config, "verify"]] {
        let output = program(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    let output = program(&["verify", "--state-dir=/no/such/dir"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("/no/such/dir/flaredb.sqlite"), "{said}");
}
