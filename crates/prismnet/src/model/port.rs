//! A port: what a device's network interface is plugged into.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use photon_resource::{
    Changes, Error, Mac, Meta, NewMeta, PortId, SecurityGroupId, SubnetId, VmId, VpcId, tap_name,
};

/// As many groups as one port may have: each is a jump in the host's filter.
const MAX_GROUPS: usize = 16;

/// The bounds of a device's MTU in bytes: IPv6's least (RFC 8200 section 5), and what a TAP takes (65521), less VXLAN's 50
/// bytes for good measure.
const MTU: RangeInclusive<u32> = 1280..=65_485;
/// What interfaces carry if nothing else is said: Ethernet's.
const USUAL_MTU: u32 = 1500;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub id: PortId,
    pub vpc_id: VpcId,
    pub subnet_id: SubnetId,
    pub meta: Meta,
    pub address: Ipv4Addr,
    pub ipv6_address: Option<Ipv6Addr>,
    pub mac: Mac,
    /// Never empty.
    pub security_groups: BTreeSet<SecurityGroupId>,
    /// Whether its device may send from its own addresses alone.
    pub source_check: bool,
    pub attachment: Option<Attachment>,
}

/// The device that has a port, and what its host made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub device_id: String,
    pub device_type: DeviceType,
    /// Host on which the device runs.
    pub node: String,
    /// Which of the port's attachments this is: the port's own revision with which it was attached. 0: a program of before
    /// attached it, which did not count them.
    pub generation: u64,
    /// The largest packet of the device, in bytes. 0: not more than 1500.
    pub mtu: u32,
    pub status: PortStatus,
}

/// What a port can be plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    Vm,
    LoadBalancer,
}

/// How far the host is with an attached port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortStatus {
    /// Not reported yet.
    Building,
    /// The interface exists.
    Active,
    /// It could not be made; why.
    Error(String),
}

/// A port to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPort {
    pub meta: NewMeta,
    /// Id or name of the subnet.
    pub subnet: String,
    /// Asked-for address as text, for it means something only inside the subnet; empty: any.
    pub address: String,
    /// As `address`.
    pub ipv6_address: String,
    /// Ids or names of groups; empty: the project's default group.
    pub security_groups: Vec<String>,
    /// As [`Port::source_check`].
    pub source_check: bool,
}

/// What an update changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortChanges {
    pub common: Changes,
    /// Ids or names; empty: back to the default group.
    pub security_groups: Option<Vec<String>>,
    pub source_check: Option<bool>,
}

/// A device's claim on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttachment {
    pub device_id: String,
    pub device_type: DeviceType,
    pub node: String,
    /// As [`Attachment::mtu`].
    pub mtu: u32,
}

impl NewAttachment {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        validate_device_id(&self.device_id)?;
        if self.device_type == DeviceType::Vm && !VmId::looks_like(&self.device_id) {
            // The host derives the VM's user from it, who owns the interface.
            return Err(Error::invalid(
                "device_id",
                &self.device_id,
                "the id of a VM, a UUID",
            ));
        }
        if self.mtu != 0 && !MTU.contains(&self.mtu) {
            let expected = "0, or 1280 to 65485 bytes";
            return Err(Error::invalid("mtu", self.mtu, expected));
        }
        validate_node(&self.node)
    }
}

/// Checks the form of a device's id.
pub fn validate_device_id(id: &str) -> Result<(), Error> {
    let ok = (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if ok {
        Ok(())
    } else {
        Err(Error::invalid(
            "device_id",
            id,
            "1 to 128 letters, digits, '-', '.' or '_'",
        ))
    }
}

/// Checks the form of a host's name (RFC 1123).
pub fn validate_node(node: &str) -> Result<(), Error> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if node.len() <= 253 && node.split('.').all(label) {
        Ok(())
    } else {
        Err(Error::invalid(
            "node",
            node,
            "the name of a host such as node-1",
        ))
    }
}

/// Checks how many groups are asked for.
pub(crate) fn validate_groups(groups: &[String]) -> Result<(), Error> {
    if groups.len() > MAX_GROUPS {
        return Err(Error::invalid(
            "security_group_ids",
            format!("{} groups", groups.len()),
            format!("at most {MAX_GROUPS}"),
        ));
    }
    Ok(())
}

impl NewPort {
    /// What can be said without its subnet. Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.meta.validate()?;
        validate_groups(&self.security_groups)
    }
}

impl PortChanges {
    /// Errors: `InvalidArgument` naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        self.common.validate()?;
        validate_groups(self.security_groups.as_deref().unwrap_or_default())
    }
}

impl Port {
    /// The host's interface, if it is attached.
    pub fn interface_name(&self) -> Option<String> {
        self.attachment.as_ref().map(|_| tap_name(self.id))
    }

    /// The largest packet that its host carries, in bytes.
    pub fn mtu(&self) -> u32 {
        let asked = self.attachment.as_ref().map_or(0, |it| it.mtu);
        asked.max(USUAL_MTU)
    }

    /// Gives it to a device. `true` if that changed anything, which the caller notes in [`Meta::touch`]: a second call by
    /// the same device for the same host does not. Errors: `FailedPrecondition` naming the device or host that has it.
    pub fn attach(&mut self, new: NewAttachment) -> Result<bool, Error> {
        if let Some(current) = &self.attachment {
            if current.device_id != new.device_id || current.device_type != new.device_type {
                return Err(Error::FailedPrecondition(format!(
                    "port '{}' is attached to device {} on {}: detach it first",
                    self.meta.name, current.device_id, current.node
                )));
            }
            if current.node != new.node {
                return Err(Error::FailedPrecondition(format!(
                    "port '{}' is attached to device {} on {}, not on {}: detach it first",
                    self.meta.name, current.device_id, current.node, new.node
                )));
            }
            return Ok(false);
        }
        self.attachment = Some(Attachment {
            device_id: new.device_id,
            device_type: new.device_type,
            node: new.node,
            generation: self.meta.revision + 1,
            mtu: new.mtu,
            status: PortStatus::Building,
        });
        Ok(true)
    }

    /// Takes it from its device, or from `device` alone if that is given. `None`: it was detached already.
    /// Errors: `FailedPrecondition` when another device has it.
    pub fn detach(&mut self, device: Option<&str>) -> Result<Option<Attachment>, Error> {
        match (&self.attachment, device) {
            (Some(current), Some(device)) if current.device_id != device => {
                Err(Error::FailedPrecondition(format!(
                    "port '{}' is attached to device {}, not to {device}",
                    self.meta.name, current.device_id
                )))
            }
            _ => Ok(self.attachment.take()),
        }
    }

    /// What `node` reports of the attachment of this `generation`. `true` if that is news. What is not about the present one
    /// (detached meanwhile, moved, attached anew) is none.
    pub fn report(&mut self, node: &str, generation: u64, status: PortStatus) -> bool {
        match &mut self.attachment {
            Some(current)
                if current.node == node
                    && current.generation == generation
                    && current.status != status =>
            {
                current.status = status;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use photon_resource::{Labels, Time};

    use super::*;

    fn port() -> Port {
        Port {
            id: PortId::generate(),
            vpc_id: VpcId::generate(),
            subnet_id: SubnetId::generate(),
            meta: NewMeta {
                org_id: "acme".parse().unwrap(),
                project_id: "web".parse().unwrap(),
                owner: photon_resource::PrincipalId::generate(),
                name: "eth0".into(),
                description: String::new(),
                labels: Labels::new(),
            }
            .into_meta(Time::EPOCH),
            address: Ipv4Addr::new(10, 0, 0, 2),
            ipv6_address: None,
            mac: Mac::generated(1),
            security_groups: BTreeSet::from([SecurityGroupId::generate()]),
            source_check: true,
            attachment: None,
        }
    }

    fn claim(device: &str, node: &str) -> NewAttachment {
        NewAttachment {
            device_id: device.into(),
            device_type: DeviceType::LoadBalancer,
            node: node.into(),
            mtu: 0,
        }
    }

    #[test]
    fn one_device_at_a_time() {
        let mut port = port();
        assert_eq!(port.interface_name(), None);
        assert!(port.attach(claim("a", "n1")).unwrap());
        assert!(!port.attach(claim("a", "n1")).unwrap());
        assert!(port.interface_name().unwrap().starts_with("pt"));
        assert_eq!(port.mtu(), 1500);
        for (other, text) in [
            (claim("b", "n1"), "attached to device a on n1"),
            (claim("a", "n2"), "not on n2"),
        ] {
            let error = port.attach(other).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let error = port.detach(Some("b")).unwrap_err().to_string();
        assert!(error.contains("attached to device a, not to b"), "{error}");
        assert_eq!(port.detach(Some("a")).unwrap().unwrap().generation, 2);
        assert_eq!(port.detach(Some("b")).unwrap(), None);
    }

    #[test]
    fn a_report_of_an_earlier_attachment_is_no_news() {
        let mut port = port();
        assert!(!port.report("n1", 2, PortStatus::Active));
        port.attach(claim("a", "n1")).unwrap();
        port.meta.touch(Time::EPOCH);
        assert!(!port.report("n1", 1, PortStatus::Active));
        assert!(!port.report("n1", 3, PortStatus::Active));
        assert!(!port.report("n2", 2, PortStatus::Active));
        assert!(port.report("n1", 2, PortStatus::Active));
        assert!(!port.report("n1", 2, PortStatus::Active));
        assert!(port.report("n1", 2, PortStatus::Error("no TAP".into())));
        // The same device on the same host once more: what was said of the first time counts no more.
        port.detach(None).unwrap();
        port.meta.touch(Time::EPOCH);
        port.attach(claim("a", "n1")).unwrap();
        assert!(!port.report("n1", 2, PortStatus::Active));
        assert!(port.report("n1", 4, PortStatus::Active));
    }

    #[test]
    fn claims_are_checked() {
        let vm = |id: &str, node: &str| NewAttachment {
            device_type: DeviceType::Vm,
            ..claim(id, node)
        };
        let id = VmId::generate().to_string();
        vm(&id, "node-1.rack.example").validate().unwrap();
        claim("lb-1", "node-1").validate().unwrap();
        for (wrong, field) in [
            (vm("vm-1", "n"), "device_id 'vm-1'"),
            (vm("", "n"), "device_id ''"),
            (claim("a/b", "n"), "device_id 'a/b'"),
            (vm(&id, ""), "node ''"),
            (vm(&id, "a/b"), "node 'a/b'"),
            (vm(&id, "a..b"), "node 'a..b'"),
            (
                NewAttachment {
                    mtu: 1279,
                    ..vm(&id, "n")
                },
                "mtu '1279'",
            ),
            (
                NewAttachment {
                    mtu: 65_486,
                    ..vm(&id, "n")
                },
                "mtu '65486'",
            ),
        ] {
            let error = wrong.validate().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
