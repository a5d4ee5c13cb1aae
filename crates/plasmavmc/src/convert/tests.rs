use photon_api::plasmavmc::v1 as pb;
use photon_resource::PortId;
use proptest::prelude::*;

use super::*;
use crate::model::phase::Phase;
use crate::model::{Hypervisor, RestartPolicy};

#[test]
fn an_empty_spec_gets_the_documented_defaults() {
    let spec = spec_from_wire(pb::VmSpec::default(), "web-1").unwrap();
    assert_eq!((spec.size.vcpus, spec.size.memory_mib), (1, 512));
    assert_eq!(spec.hostname, "web-1");
    assert_eq!(spec.restart_policy, RestartPolicy::OnFailure);
    assert_eq!(spec.hypervisor, Hypervisor::Qemu);
    let metadata = spec.metadata;
    assert!(metadata.enabled && metadata.tokens_required);
    assert_eq!(metadata.hop_limit, 1);
    spec.validate().unwrap();
}

#[test]
fn what_has_no_form_in_the_domain_is_refused_by_name() {
    let refusal = |spec| spec_from_wire(spec, "x").unwrap_err().to_string();
    let network = vec![pb::NetworkInterface {
        id: "eth0".into(),
        port_id: "port-1".into(),
        ..Default::default()
    }];
    let beside = |given: pb::NetworkInterface| {
        refusal(pb::VmSpec {
            network: vec![pb::NetworkInterface {
                id: "eth0".into(),
                port_id: PortId::generate().to_string(),
                ..given
            }],
            ..Default::default()
        })
    };
    let cases = [
        (
            refusal(pb::VmSpec {
                network,
                ..Default::default()
            }),
            "spec.network[0].port_id 'port-1' is not valid: expected the id of a port (a UUID)",
        ),
        (
            beside(pb::NetworkInterface {
                subnet_id: "front".into(),
                ..Default::default()
            }),
            "spec.network[0].subnet_id 'front' is not valid: expected nothing beside port_id",
        ),
        (
            beside(pb::NetworkInterface {
                security_group_ids: vec!["web".into()],
                ..Default::default()
            }),
            "spec.network[0].security_group_ids 'web' is not valid: expected nothing beside port_id",
        ),
        (
            beside(pb::NetworkInterface {
                delete_with_vm: true,
                ..Default::default()
            }),
            "spec.network[0].delete_with_vm 'true' is not valid: expected false beside port_id",
        ),
        (
            refusal(pb::VmSpec {
                restart_policy: 9,
                ..Default::default()
            }),
            "spec.restart_policy '9' is not valid: expected one of RESTART_POLICY_ON_FAILURE",
        ),
        (
            refusal(pb::VmSpec {
                hypervisor: 9,
                ..Default::default()
            }),
            "spec.hypervisor '9' is not valid: expected one of HYPERVISOR_KIND_QEMU",
        ),
    ];
    for (message, expected) in cases {
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_hosts_text_becomes_one_bounded_line() {
    let (_, report) = report_from_wire(pb::VmReport {
        id: "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".into(),
        phase: pb::VmPhase::Failed.into(),
        message: format!("a\nb{}", "x".repeat(5000)),
        ..Default::default()
    })
    .unwrap();
    assert_eq!(report.phase, Some(Phase::Failed));
    assert!(report.message.starts_with("a b") && report.message.len() == 1024);
}

proptest! {
    #[test]
    fn no_spec_panics(
        vcpus in any::<u32>(), memory_mib in any::<u64>(), policy in any::<i32>(), kind in any::<i32>(),
        text in "\\PC{0,40}", port in any::<bool>(),
    ) {
        let port_id = if port { PortId::generate().to_string() } else { text.clone() };
        let spec = pb::VmSpec {
            vcpus,
            memory_mib,
            disks: vec![pb::Disk { id: text.clone(), image_id: text.clone(), size_bytes: memory_mib }],
            kernel_image_id: text.clone(),
            kernel_command_line: text.clone(),
            network: vec![pb::NetworkInterface { id: text.clone(), port_id, subnet_id: text.clone(), ..Default::default() }],
            user_data: text.clone(),
            user_data_binary: Vec::new(),
            ssh_authorized_keys: vec![text.clone()],
            hostname: text.clone(),
            restart_policy: policy,
            hypervisor: kind,
            metadata_options: Some(pb::MetadataOptions { endpoint: kind, http_tokens: policy, hop_limit: vcpus }),
        };
        if let Ok(spec) = spec_from_wire(spec, &text) {
            let _ = spec.validate();
        }
    }
}
