//! A whole program: this test program starts itself as a server, with the hidden test at the end as its `main`.

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use photon_service::ServerArgs;
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
        .args(["--exact", "program::as_program", "--nocapture"])
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

/// No test, but the program that the others start: on its own it does nothing.
#[test]
fn as_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
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
