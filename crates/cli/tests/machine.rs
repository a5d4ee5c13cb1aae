//! `photon machine` against a real provisioner, whose systemd alone is a fake: it starts no installer.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use photon_api::provisioner::v1::enrolment_service_client::EnrolmentServiceClient;
use photon_api::provisioner::v1::{EnrolRequest, MachineIdentity};
use photon_testcloud::TestCloud;
use photon_testcloud::provisioner::{csr, http, join_token};
use rcgen::KeyPair;
use serde_json::{Value, json};

const MAC: &str = "52:54:00:12:34:56";

struct Operator<'a> {
    cloud: &'a TestCloud,
    folder: &'a Path,
}

/// How a command ended.
#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Operator<'_> {
    async fn photon(&self, arguments: &[&str]) -> Answer {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_photon"))
            .arg("machine")
            .args(arguments)
            .env("PHOTON_CONFIG_DIR", self.folder)
            .env("PHOTON_TOKEN", &self.cloud.operator.token)
            .env("PHOTON_IAM_ENDPOINT", self.cloud.server("iam").url())
            .env(
                "PHOTON_PROVISIONER_ENDPOINT",
                self.cloud.server("provisioner").url(),
            )
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        Answer {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.extend(["--output", "json"]);
        let answer = self.photon(&all).await;
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    }
}

/// A machine that netboots tells of itself.
async fn report(boot: SocketAddr) {
    let body = json!({
        "serial": "S-77",
        "product": "R6525",
        "cpus": 64,
        "memory_mib": 262_144,
        "interfaces": [{"name": "enp1s0", "mac": MAC, "up": true}],
        "disks": [{"device": "/dev/nvme0n1", "size_bytes": 1_920_383_410_176_u64, "model": "PM9A3"}],
    })
    .to_string();
    let (status, answer) = http(boot, "POST", "/inventory", &[], body.as_bytes()).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_listed_approved_watched_and_retired() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator {
        cloud: &cloud,
        folder: folder.path(),
    };
    report(cloud.boot).await;

    let answer = operator.photon(&["list"]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.contains(MAC), "{answer:?}");
    assert!(answer.stdout.contains("S-77"), "{answer:?}");
    assert!(answer.stdout.contains("discovered"), "{answer:?}");
    let ready = operator.json(&["list", "--state", "ready"]).await;
    assert_eq!(ready, json!([]));
    let shown = operator.json(&["show", "S-77"]).await;
    assert_eq!(shown["state"], "MACHINE_STATE_DISCOVERED");

    // No terminal to ask on, and no name given back: what would be wiped is shown, nothing is changed.
    let answer = operator.photon(&["approve", MAC, "--name", "node02"]).await;
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stderr.contains("disk /dev/nvme0n1: 1.92 TB PM9A3"),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("--yes-wipe node02"), "{answer:?}");
    let wrong = ["approve", MAC, "--name", "node02", "--yes-wipe", "node03"];
    let answer = operator.photon(&wrong).await;
    assert!(
        answer.stderr.contains("'node03' is not 'node02'"),
        "{answer:?}"
    );
    let shown = operator.json(&["show", MAC]).await;
    assert_eq!(shown["state"], "MACHINE_STATE_DISCOVERED");

    let right = [
        "approve",
        MAC,
        "--name",
        "node02",
        "--address",
        "192.0.2.2",
        "--yes-wipe",
        "node02",
    ];
    let approved = operator.json(&right).await;
    assert_eq!(approved["state"], "MACHINE_STATE_APPROVED");
    assert_eq!(approved["name"], "node02");

    let answer = operator
        .photon(&["watch", "node02", "--timeout", "2"])
        .await;
    assert_eq!(answer.code, Some(6), "{answer:?}");
    assert!(answer.stdout.contains("node02  approved"), "{answer:?}");
    assert!(answer.stderr.contains("not ready after 2 s"), "{answer:?}");

    let retired = operator
        .json(&["retire", "node02", "--yes-retire", "node02"])
        .await;
    assert_eq!(retired["state"], "MACHINE_STATE_RETIRED");
    let answer = operator.photon(&["watch", MAC]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("is retired"), "{answer:?}");
    let answer = operator.photon(&["show", "node99"]).await;
    assert_eq!(answer.code, Some(3), "{answer:?}");
}

/// What its host sends with a token.
async fn enrol(cloud: &TestCloud, token: &str) -> Result<(), tonic::Status> {
    let key = KeyPair::generate().unwrap();
    let request = EnrolRequest {
        token: token.into(),
        certificate_request_pem: csr("node02", &key),
        identity: Some(MachineIdentity {
            serial: "S-77".into(),
            macs: vec![MAC.into()],
            ..Default::default()
        }),
    };
    let mut client = EnrolmentServiceClient::new(cloud.channel("provisioner"));
    client.enrol(request).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_gets_a_join_token_that_only_its_operator_sees() {
    let cloud = TestCloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let operator = Operator {
        cloud: &cloud,
        folder: folder.path(),
    };
    report(cloud.boot).await;
    let file = folder.path().join("join-token");
    let out = ["token", "node02", "--out", file.to_str().unwrap()];
    // Nobody is called so yet: no file is left of that.
    let answer = operator.photon(&out).await;
    assert_eq!(answer.code, Some(3), "{answer:?}");
    assert!(!file.exists());

    let approve = ["approve", MAC, "--name", "node02", "--yes-wipe", "node02"];
    let approved = operator.json(&approve).await;
    let answer = operator.photon(&["token", "node02"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(
        answer
            .stderr
            .contains("its installation leaves a join token"),
        "{answer:?}"
    );
    report(cloud.boot).await;
    let id = approved["id"].as_str().unwrap();
    let left = join_token(cloud.place(), id);
    let deadline = Instant::now() + Duration::from_secs(30);
    while operator.json(&["show", "node02"]).await["state"] != "MACHINE_STATE_INSTALLING" {
        assert!(Instant::now() < deadline, "no installation began");
    }
    enrol(&cloud, std::fs::read_to_string(left).unwrap().trim())
        .await
        .unwrap();

    // Only the token is on standard output; what to do with it is said beside.
    let answer = operator.photon(&["token", "node02"]).await;
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let printed = answer.stdout.trim().to_owned();
    assert_eq!(answer.stdout, format!("{printed}\n"));
    assert!(
        printed.len() == 64 && printed.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{printed}"
    );
    for said in [
        "/var/lib/photoncloud/pki/join-token",
        "systemctl restart photon-enrol.service",
        "120 minutes",
    ] {
        assert!(answer.stderr.contains(said), "no '{said}' in {answer:?}");
    }
    assert!(!answer.stderr.contains(&printed), "{answer:?}");
    // By its serial number alone it is not confirmed which host is meant.
    let answer = operator.photon(&["token", "S-77"]).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("not 'S-77'"), "{answer:?}");

    let answer = operator.photon(&out).await;
    assert_eq!(
        (answer.code, answer.stdout.as_str()),
        (Some(0), ""),
        "{answer:?}"
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!answer.stderr.contains(kept.trim()), "{answer:?}");
    // A file that is there is not written over, and what is in it stays good.
    let answer = operator.photon(&out).await;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.stderr.contains("cannot make"), "{answer:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
    let status = enrol(&cloud, &printed).await.unwrap_err();
    assert!(status.message().contains("not known"), "{status}");
    enrol(&cloud, kept.trim()).await.unwrap();
    let shown = operator.json(&["show", "node02"]).await;
    assert_eq!(shown["state"], "MACHINE_STATE_JOINED");
    // For scripts, with its end.
    let given = operator.json(&["token", "node02"]).await;
    assert_eq!(given["token"].as_str().unwrap().len(), 64);
    assert!(given["expires_at"].is_string(), "{given}");
}

#[tokio::test]
async fn a_provisioner_that_is_not_there_is_named() {
    // Bound and let go: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_photon"))
        .args(["machine", "list", "--provisioner-endpoint"])
        .arg(format!("http://{address}"))
        .env("PHOTON_CONFIG_DIR", folder.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot reach the machine service"), "{said}");
    assert!(said.contains("photon context set"), "{said}");
}
