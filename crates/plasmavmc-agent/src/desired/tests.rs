use std::os::unix::fs::PermissionsExt;

use photon_agent::{Cache, Desired as _};
use proptest::prelude::*;
use serde_json::json;

use super::*;

const VM: &str = "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e";

fn wire() -> pb::DesiredVms {
    pb::DesiredVms {
        revision: 7,
        vms: vec![pb::DesiredVm {
            id: VM.to_owned(),
            org_id: "acme".to_owned(),
            project_id: "web".to_owned(),
            name: "a".to_owned(),
            spec: Some(pb::VmSpec {
                vcpus: 1,
                memory_mib: 64,
                user_data: "password: hunter2".to_owned(),
                ..Default::default()
            }),
            power_state: pb::PowerState::On.into(),
            ..Default::default()
        }],
        store_epoch: "one".to_owned(),
        ..Default::default()
    }
}

/// What `plasmavmc-agent apply` takes: a file of an operator's, or of an agent of before there was `wire`.
fn own() -> serde_json::Value {
    json!({"version": 1, "desired": {"revision": 7, "vms": {VM: {
        "org": "acme", "project": "web", "name": "a", "hostname": "a", "vcpus": 1, "memory_mib": 64,
        "power": "on", "user_data": "password: hunter2",
        "kernel": {"kernel": {"sha256": "0".repeat(64), "size_bytes": 1, "source": {"path": "/k"}}},
    }}}})
}

fn read(value: &serde_json::Value) -> anyhow::Result<Desired> {
    Desired::from_file(&serde_json::to_vec(value).unwrap())
}

#[tokio::test]
async fn comes_back_as_it_was_and_is_for_root_alone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::<Desired>::in_directory(directory.path());
    assert!(cache.load().unwrap().is_none());
    let desired = Desired::parse(&wire());
    assert_eq!(desired.vms.len(), 1, "{:?}", desired.refused);
    let contents = desired.to_file(&wire()).unwrap();
    cache.store(contents).await.unwrap();
    assert_eq!(cache.load().unwrap(), Some(desired));
    let path = directory.path().join("desired.json");
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// An agent that was rolled back reads what its successor wrote: it skips what it does not know.
#[test]
fn what_a_newer_agent_wrote_is_read() {
    let desired = Desired::parse(&wire());
    let mut newer: serde_json::Value =
        serde_json::from_slice(&desired.to_file(&wire()).unwrap()).unwrap();
    newer["somethingElse"] = json!([1]);
    newer["wire"]["aFieldOfTheFuture"] = json!({"x": 1});
    newer["wire"]["vms"][0]["anotherOne"] = json!("y");
    assert_eq!(read(&newer).unwrap(), desired);
    // Its own form has changed, the wire's can't.
    newer["version"] = json!(2);
    newer["desired"] = json!("of the future");
    assert_eq!(read(&newer).unwrap(), desired);
    // Fields are added to the own form.
    let mut newer = own();
    newer["desired"]["aFieldOfTheFuture"] = json!(1);
    newer["desired"]["vms"][VM]["anotherOne"] = json!(1);
    newer["desired"]["vms"][VM]["kernel"]["kernel"]["one_more"] = json!(1);
    assert_eq!(read(&newer).unwrap(), read(&own()).unwrap());
}

/// The release before knew `version` and `desired` alone, and refused fields of `desired` that it did not know.
#[test]
fn the_release_before_reads_what_is_written() {
    let desired = Desired::parse(&wire());
    let written: serde_json::Value =
        serde_json::from_slice(&desired.to_file(&wire()).unwrap()).unwrap();
    assert_eq!(written["version"], 1);
    let fields = |value: &serde_json::Value| -> Vec<String> {
        let mut fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort_unstable();
        fields
    };
    assert_eq!(fields(&written["desired"]), ["revision", "vms"]);
    assert_eq!(
        fields(&written["desired"]["vms"][VM]),
        [
            "deleting",
            "disks",
            "force",
            "hostname",
            "interfaces",
            "kernel",
            "memory_mib",
            "name",
            "org",
            "power",
            "project",
            "reboot_generation",
            "restart_policy",
            "spec_revision",
            "ssh_authorized_keys",
            "stop_timeout_seconds",
            "user_data",
            "vcpus",
        ]
    );
}

#[test]
fn a_wire_message_that_can_not_be_read_leaves_the_own_form() {
    let mut broken = own();
    broken["wire"] = json!({"revision": "many"});
    assert_eq!(read(&broken).unwrap(), read(&own()).unwrap());
}

#[test]
fn a_newer_form_is_refused_and_not_taken_for_empty() {
    let newer = json!({"version": 2, "desired": {}});
    let error = format!("{:#}", read(&newer).unwrap_err());
    assert!(error.contains("version is 2"), "{error}");
}

/// To an agent that runs, a file that can't be read is as none: it neither ends nor takes it for "nothing should be".
#[test]
fn an_unreadable_file_is_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::<Desired>::in_directory(directory.path());
    let path = directory.path().join("desired.json");
    for contents in ["", "{", r#"{"version": 2, "desired": {}}"#] {
        std::fs::write(&path, contents).unwrap();
        assert!(cache.load().is_err());
        assert_eq!(cache.last(), None);
    }
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", Desired::parse(&wire()));
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = Desired::from_file(&bytes);
    }
}
