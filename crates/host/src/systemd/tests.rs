use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn service() -> TransientService {
    TransientService {
        name: "photon-vm-1.service".to_owned(),
        description: "VM web".to_owned(),
        slice: "photon-tenants-acme.slice".to_owned(),
        user: "pvm-60000001".to_owned(),
        exec_start: vec!["/usr/bin/qemu".to_owned(), "-m".to_owned(), "64".to_owned()],
        exec_stop: Some(vec!["/usr/bin/agent".to_owned(), "powerdown".to_owned()]),
        environment: vec![("A".to_owned(), "1".to_owned())],
        after: vec!["systemd-networkd.service".to_owned()],
        restart: Restart::OnFailure,
        remain_after_exit: true,
        stop_timeout: Duration::from_secs(620),
        limits: Limits {
            memory_bytes: 1 << 28,
            cpus: 2,
            cpu_weight: 200,
            io_weight: 100,
            tasks: 64,
            oom_score_adjust: 100,
        },
        sandbox: Sandbox {
            devices: vec![PathBuf::from("/dev/net/tun")],
            writable: vec![PathBuf::from("/var/lib/vm")],
            readable: vec![],
            runtime_directory: "photoncloud/vm/1".to_owned(),
            deny_write_execute: false,
        },
    }
}

/// The types that systemd's `StartTransientUnit` takes, from `org.freedesktop.systemd1(5)`.
#[test]
fn properties_have_the_types_that_systemd_takes() {
    let types: BTreeMap<&str, &str> = [
        ("Description", "s"),
        ("ExecStartEx", "a(sasas)"),
        ("ExecStopEx", "a(sasas)"),
        ("Environment", "as"),
        ("TimeoutStopUSec", "t"),
        ("StartLimitBurst", "u"),
        ("RemainAfterExit", "b"),
        ("MemoryMax", "t"),
        ("CPUQuotaPerSecUSec", "t"),
        ("OOMScoreAdjust", "i"),
        ("RuntimeDirectory", "as"),
        ("RuntimeDirectoryMode", "u"),
        ("TemporaryFileSystem", "a(ss)"),
        ("BindPaths", "a(ssbt)"),
        ("DeviceAllow", "a(ss)"),
        ("CapabilityBoundingSet", "t"),
        ("RestrictNamespaces", "t"),
        ("SystemCallFilter", "(bas)"),
        ("SystemCallErrorNumber", "i"),
        ("RestrictAddressFamilies", "(bas)"),
        ("IPAddressDeny", "a(iayu)"),
    ]
    .into();
    let properties = service().properties();
    for (name, expected) in &types {
        let (_, value) = properties
            .iter()
            .find(|(property, _)| property == name)
            .unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(value.value_signature().to_string(), *expected, "{name}");
    }
}

#[test]
fn a_tasks_properties_have_the_types_that_systemd_takes() {
    let task = Task {
        name: "photon-install-1.service".to_owned(),
        description: "install".to_owned(),
        exec_start: vec!["/bin/true".to_owned()],
        environment: vec![("HOME".to_owned(), "/root".to_owned())],
        output: PathBuf::from("/var/log/install"),
        limit: Duration::from_secs(60),
    };
    let properties = task.properties();
    for (name, expected) in [
        ("ExecStartEx", "a(sasas)"),
        ("Environment", "as"),
        ("RuntimeMaxUSec", "t"),
        ("StandardOutputFileToTruncate", "s"),
        ("StandardError", "s"),
        ("RemainAfterExit", "b"),
        ("UMask", "u"),
    ] {
        let (_, value) = properties.iter().find(|(it, _)| *it == name).unwrap();
        assert_eq!(value.value_signature().to_string(), expected, "{name}");
    }
}

#[test]
fn a_tenants_text_is_no_variable_of_systemds() {
    let properties = service().properties();
    for name in ["ExecStartEx", "ExecStopEx"] {
        let (_, value) = properties.iter().find(|(it, _)| *it == name).unwrap();
        let value = format!("{value:?}");
        assert!(value.contains("no-env-expand"), "{value}");
    }
}

#[test]
fn the_sandbox_binds_only_what_it_names() {
    let properties = service().properties();
    let value = |name: &str| {
        let (_, value) = properties.iter().find(|(p, _)| *p == name).unwrap();
        format!("{value:?}")
    };
    let binds = value("BindPaths");
    for path in ["/var/lib/vm", "/run/photoncloud/vm/1", "/dev/net/tun"] {
        assert!(binds.contains(path), "{path} in {binds}");
    }
    assert!(
        !properties
            .iter()
            .any(|(name, _)| *name == "BindReadOnlyPaths"),
        "an empty list would clear nothing and say nothing"
    );
}

#[cfg(feature = "fake")]
#[tokio::test]
async fn the_fake_refuses_a_second_unit_of_one_name() {
    let systemd = FakeSystemd::new();
    systemd.start_transient(&service()).await.unwrap();
    let error = systemd.start_transient(&service()).await.unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    let units = systemd.services("photon-vm-").await.unwrap();
    assert_eq!(units[0].variable("A"), Some("1"));
    systemd.stop("photon-vm-1.service").await.unwrap();
    systemd.kill_main("photon-vm-1.service", 9).await.unwrap();
    assert!(systemd.services("photon-vm-").await.unwrap().is_empty());
}
