use photon_api::prismnet::v1 as pb;
use photon_catalog::Tenant;
use photon_catalog::wire::{changes, id, timestamp};
use photon_resource::Error;

use crate::model::{
    Direction, NewRule, NewSecurityGroup, PortRange, Remote, Rule, SecurityGroup,
    SecurityGroupChanges, Traffic,
};

/// Errors: `InvalidArgument`.
pub fn new_security_group(
    tenant: Tenant,
    request: pb::CreateSecurityGroupRequest,
) -> Result<NewSecurityGroup, Error> {
    Ok(NewSecurityGroup {
        rules: request
            .rules
            .into_iter()
            .map(new_rule)
            .collect::<Result<_, _>>()?,
        meta: tenant.meta(request.name, request.description, request.labels),
    })
}

/// Errors: `InvalidArgument`.
pub fn new_rule(rule: pb::SecurityGroupRule) -> Result<NewRule, Error> {
    if !rule.id.is_empty() {
        return Err(Error::invalid(
            "rule.id",
            rule.id,
            "empty: the server gives it",
        ));
    }
    let direction = match pb::Direction::try_from(rule.direction) {
        Ok(pb::Direction::Ingress) => Direction::Ingress,
        Ok(pb::Direction::Egress) => Direction::Egress,
        Ok(pb::Direction::Unspecified) | Err(_) => {
            return Err(Error::invalid(
                "direction",
                rule.direction,
                "DIRECTION_INGRESS or DIRECTION_EGRESS",
            ));
        }
    };
    let traffic = match pb::Protocol::try_from(rule.protocol) {
        Ok(pb::Protocol::Tcp) => Traffic::Tcp(PortRange::parse(rule.port_min, rule.port_max)?),
        Ok(pb::Protocol::Udp) => Traffic::Udp(PortRange::parse(rule.port_min, rule.port_max)?),
        Ok(protocol @ (pb::Protocol::Any | pb::Protocol::Icmp)) => {
            for (field, port) in [("port_min", rule.port_min), ("port_max", rule.port_max)] {
                if port != 0 {
                    return Err(Error::invalid(
                        field,
                        port,
                        format!(
                            "0: {} has no ports, only PROTOCOL_TCP and PROTOCOL_UDP have",
                            protocol.as_str_name()
                        ),
                    ));
                }
            }
            if protocol == pb::Protocol::Any {
                Traffic::Any
            } else {
                Traffic::Icmp
            }
        }
        Ok(pb::Protocol::Unspecified) | Err(_) => {
            return Err(Error::invalid(
                "protocol",
                rule.protocol,
                "PROTOCOL_ANY, PROTOCOL_TCP, PROTOCOL_UDP or PROTOCOL_ICMP",
            ));
        }
    };
    let remote = match (rule.remote_cidr.as_str(), rule.remote_group_id.as_str()) {
        ("", "") => Remote::Anybody,
        (cidr, "") => Remote::parse_cidr(cidr)?,
        ("", group) => Remote::Group(id("remote_group_id", group)?),
        (_, group) => {
            return Err(Error::invalid(
                "remote_group_id",
                group,
                "empty when remote_cidr is given: make two rules",
            ));
        }
    };
    Ok(NewRule {
        direction,
        traffic,
        remote,
        description: rule.description,
    })
}

/// What an update changes.
///
/// Errors: `InvalidArgument`.
pub fn security_group_changes(
    request: pb::UpdateSecurityGroupRequest,
) -> Result<SecurityGroupChanges, Error> {
    // As they were read, perhaps.
    let without_id = |rule: pb::SecurityGroupRule| pb::SecurityGroupRule {
        id: String::new(),
        ..rule
    };
    let rules = request.rules.map(|set| {
        let rules = set.rules.into_iter().map(without_id).map(new_rule);
        rules.collect::<Result<_, _>>()
    });
    Ok(SecurityGroupChanges {
        meta: changes(
            request.name,
            request.description,
            request.labels.map(|labels| labels.labels),
            request.expected_revision,
        ),
        rules: rules.transpose()?,
    })
}

/// A group as clients see it.
pub fn security_group(group: &SecurityGroup) -> pb::SecurityGroup {
    let meta = group.meta.clone();
    pb::SecurityGroup {
        id: group.id.to_string(),
        org_id: meta.org_id.to_string(),
        project_id: meta.project_id.to_string(),
        name: meta.name,
        description: meta.description,
        rules: group.rules.iter().map(security_group_rule).collect(),
        is_default: group.is_default,
        labels: meta.labels,
        created_at: Some(timestamp(meta.created_at)),
        updated_at: Some(timestamp(meta.updated_at)),
        revision: meta.revision,
    }
}

/// A rule as clients and hosts see it.
pub fn security_group_rule(rule: &Rule) -> pb::SecurityGroupRule {
    let mut wire = pb::SecurityGroupRule {
        id: rule.id.to_string(),
        description: rule.description.clone(),
        ..pb::SecurityGroupRule::default()
    };
    wire.set_direction(match rule.direction {
        Direction::Ingress => pb::Direction::Ingress,
        Direction::Egress => pb::Direction::Egress,
    });
    let (protocol, ports) = match rule.traffic {
        Traffic::Any => (pb::Protocol::Any, None),
        Traffic::Tcp(ports) => (pb::Protocol::Tcp, Some(ports)),
        Traffic::Udp(ports) => (pb::Protocol::Udp, Some(ports)),
        Traffic::Icmp => (pb::Protocol::Icmp, None),
    };
    wire.set_protocol(protocol);
    // All ports read as they are written.
    if let Some(ports) = ports.filter(|ports| *ports != PortRange::ALL) {
        wire.port_min = ports.first.into();
        wire.port_max = ports.last.into();
    }
    match rule.remote {
        Remote::Anybody => {}
        Remote::Cidr(net) => wire.remote_cidr = net.to_string(),
        Remote::Group(group) => wire.remote_group_id = group.to_string(),
    }
    wire
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> pb::SecurityGroupRule {
        pb::SecurityGroupRule {
            direction: pb::Direction::Ingress.into(),
            protocol: pb::Protocol::Tcp.into(),
            port_min: 22,
            port_max: 22,
            ..pb::SecurityGroupRule::default()
        }
    }

    proptest! {
        /// What is accepted is shown as it was given, but for the id.
        #[test]
        fn an_accepted_rule_reads_as_it_was_written(
            direction in 0i32..4,
            protocol in 0i32..6,
            port_min in prop_oneof![Just(0u32), 1u32..70000],
            port_max in prop_oneof![Just(0u32), 1u32..70000],
            remote_cidr in prop_oneof![Just(String::new()), Just("10.0.0.0/8".to_owned()), "\\PC{0,8}"],
        ) {
            let given = pb::SecurityGroupRule {
                direction, protocol, port_min, port_max, remote_cidr, ..rule()
            };
            if let Ok(new) = new_rule(given.clone()) {
                let shown = security_group_rule(&new.into_rule());
                if (port_min, port_max) != (1, 65535) {
                    prop_assert_eq!(pb::SecurityGroupRule { id: String::new(), ..shown }, given);
                }
            }
        }
    }

    #[test]
    fn a_rule_has_one_remote() {
        let both = pb::SecurityGroupRule {
            remote_cidr: "10.0.0.0/8".into(),
            remote_group_id: "6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e".into(),
            ..rule()
        };
        let error = new_rule(both).unwrap_err().to_string();
        assert!(error.contains("remote_group_id"), "{error}");
    }
}
