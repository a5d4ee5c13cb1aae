//! Running `photon` as a user would, against real servers in this process.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use photon_api::plasmavmc::v1::node_service_client::NodeServiceClient;
use photon_api::plasmavmc::v1::{HypervisorKind, Node, RegisterNodeRequest};
use photon_testcloud::{NODE, TestCloud};
use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Somebody at a terminal that is none.
pub struct Photon {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

#[allow(dead_code)] // Each test program uses its part.
impl Photon {
    /// Who has a folder of their own and knows no cloud yet.
    pub fn new(folder: &std::path::Path) -> Self {
        Self {
            folder: folder.to_owned(),
            environment: Vec::new(),
        }
    }

    /// With this token, and every server's endpoint in the environment.
    pub fn of(cloud: &TestCloud, folder: &std::path::Path, token: &str) -> Self {
        Self::new(folder)
            .with("PHOTON_TOKEN", token)
            .with("PHOTON_IAM_ENDPOINT", cloud.server("iam").url())
            .with("PHOTON_PRISMNET_ENDPOINT", cloud.server("prismnet").url())
            .with("PHOTON_PLASMAVMC_ENDPOINT", cloud.server("plasmavmc").url())
            .with("PHOTON_FLASHDNS_ENDPOINT", cloud.server("flashdns").url())
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// The command, with nothing of this process's environment but where programs are.
    pub fn command(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_photon"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PHOTON_CONFIG_DIR", &self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    pub async fn run(&self, arguments: &[&str]) -> Answer {
        let output = self.command(arguments).output().await.unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a command that succeeds prints.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let answer = self.run(&all).await;
        assert_eq!(answer.code, Some(0), "{arguments:?}: {answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

/// A host that takes VMs, for as long as the test runs; nothing runs on it.
#[allow(dead_code)]
pub async fn register_host(cloud: &TestCloud) {
    let agent = cloud.program("plasmavmc-agent").await;
    let node = Node {
        name: NODE.into(),
        vcpus: 16,
        memory_mib: 32_768,
        hypervisors: vec![HypervisorKind::Qemu.into()],
        accelerator: "tcg".into(),
        ..Default::default()
    };
    let mut nodes = NodeServiceClient::new(cloud.channel("plasmavmc"));
    let again = RegisterNodeRequest { node: Some(node) };
    let first = nodes.register_node(agent.request(again.clone())).await;
    first.unwrap();
    tokio::spawn(async move {
        // A host that is not heard of takes no VMs.
        let mut beat = tokio::time::interval(Duration::from_secs(5));
        loop {
            beat.tick().await;
            // The servers may be gone before the test is.
            let _ = nodes.register_node(agent.request(again.clone())).await;
        }
    });
}
