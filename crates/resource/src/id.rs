//! Ids with a type each, so that a port's id can't be given where a subnet's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Error;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// What the resource is called in messages.
            pub const KIND: &'static str = $kind;

            /// A new random id (UUID version 4, RFC 9562).
            pub fn generate() -> Self {
                Self(Uuid::new_v4())
            }

            /// The UUID itself.
            pub fn uuid(&self) -> Uuid {
                self.0
            }

            /// Whether `text` has the form of an id; what has not may be a name.
            pub fn looks_like(text: &str) -> bool {
                Uuid::try_parse(text).is_ok()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Errors: `InvalidArgument` naming the value, unless it is a UUID.
            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    Error::invalid(concat!($kind, " id"), text, "a UUID such as 6f1e6b0a-5a0e-4c0f-9d0b-3f6a2f0c1d2e")
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

uuid_id!(
    /// A user, service account, node or service.
    PrincipalId,
    "principal"
);
uuid_id!(
    /// A custom role.
    RoleId,
    "role"
);
uuid_id!(
    /// A role given to a principal at a scope.
    BindingId,
    "binding"
);
uuid_id!(
    /// An API key.
    ApiKeyId,
    "API key"
);
uuid_id!(
    /// A sign-in that goes on.
    SessionId,
    "session"
);
uuid_id!(
    /// A virtual private cloud.
    VpcId,
    "VPC"
);
uuid_id!(
    /// A subnet of a VPC.
    SubnetId,
    "subnet"
);
uuid_id!(
    /// A port of a subnet.
    PortId,
    "port"
);
uuid_id!(
    /// A security group.
    SecurityGroupId,
    "security group"
);
uuid_id!(
    /// A network beside the cloud.
    ExternalNetworkId,
    "external network"
);
uuid_id!(
    /// A VPC's way out to an external network.
    NatGatewayId,
    "NAT gateway"
);
uuid_id!(
    /// An address of an external network for one port.
    FloatingIpId,
    "floating IP"
);
uuid_id!(
    /// One side of a peering of two VPCs.
    PeeringId,
    "peering"
);
uuid_id!(
    /// A route of a VPC.
    RouteId,
    "route"
);
uuid_id!(
    /// A rule of a security group.
    RuleId,
    "security group rule"
);
uuid_id!(
    /// An image.
    ImageId,
    "image"
);
uuid_id!(
    /// A virtual machine.
    VmId,
    "VM"
);
uuid_id!(
    /// An SSH key that a project keeps.
    SshKeyId,
    "SSH key"
);
uuid_id!(
    /// A zone: a domain of a project's own.
    ZoneId,
    "zone"
);
uuid_id!(
    /// The records of one name and type in a zone.
    RecordSetId,
    "record set"
);

/// First of the unix uids that VMs run as; the range has 2^28 of them and lies above those that
/// distributions, systemd (`systemd.users-groups(7)`) and container managers use.
const VM_UID_BASE: u32 = 0x6000_0000;

impl VmId {
    /// The unix uid (and gid) that this VM's process runs as on any host: derived from the id, so that the
    /// agents which make its TAP and its unit agree without asking each other. Two ids may share a uid;
    /// whoever makes an id tries again when its uid is taken.
    pub fn unix_uid(&self) -> u32 {
        let bytes = self.uuid().into_bytes();
        // The last four bytes of a version 4 UUID are all random.
        let tail = u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        VM_UID_BASE | (tail & 0x0fff_ffff)
    }

    /// The name of that user: `pvm-` and the uid in hex.
    pub fn unix_user(&self) -> String {
        format!("pvm-{:08x}", self.unix_uid())
    }

    /// The systemd unit that the VM is.
    pub fn unit_name(&self) -> String {
        format!("photon-vm-{self}.service")
    }
}

macro_rules! slug_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What the resource is called in messages.
            pub const KIND: &'static str = $kind;

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Errors: `InvalidArgument` unless `[a-z][a-z0-9-]{1,38}` without a dash at the end.
            fn from_str(text: &str) -> Result<Self, Error> {
                if is_slug(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(
                        concat!($kind, " id"),
                        text,
                        "2 to 39 of a-z, 0-9 and '-', beginning with a letter, not ending with '-', and not 'system'",
                    ))
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

slug_id!(
    /// An organization: a tenant.
    OrgId,
    "organization"
);
slug_id!(
    /// A project of an organization.
    ProjectId,
    "project"
);

fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (2..=39).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes[bytes.len() - 1] != b'-'
        // Scopes and event chains call what belongs to no tenant so.
        && text != "system"
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vm_uid_lies_in_its_range_and_follows_from_the_id() {
        let id: VmId = "6f1e6b0a-5a0e-4c0f-9d0b-3f6affffffff".parse().unwrap();
        assert_eq!(id.unix_uid(), 0x6fff_ffff);
        assert_eq!(id.unix_user(), "pvm-6fffffff");
    }

    #[test]
    fn a_bad_id_is_named_in_the_error() {
        let error = "vpc-1".parse::<VpcId>().unwrap_err().to_string();
        assert!(error.contains("vpc-1") && error.contains("UUID"), "{error}");
        assert!("Acme".parse::<OrgId>().is_err());
        assert!("a".parse::<OrgId>().is_err());
        assert!("acme-".parse::<OrgId>().is_err());
        assert!("system".parse::<OrgId>().is_err());
        assert!("acme-2".parse::<OrgId>().is_ok());
    }

    proptest! {
        #[test]
        fn slugs_never_hold_a_separator(text in "\\PC*") {
            if let Ok(id) = text.parse::<OrgId>() {
                prop_assert!(!id.as_str().contains(['/', ':', '*', ' ']));
            }
        }
    }
}
