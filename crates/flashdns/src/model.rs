//! The domain's types: zones and record sets, and what others keep, as far as names come of it. Nothing here knows of wire
//! or store.

mod domain;
mod record_set;
mod value;
mod zone;

use std::net::IpAddr;

use ipnet::IpNet;
use photon_resource::{OrgId, PortId, ProjectId, RecordSetId, SubnetId, VmId, VpcId, ZoneId};

pub use domain::is_zone_name;
pub use record_set::{NewRecordSet, RecordSet, RecordSetChanges, carried};
pub use value::RecordType;
pub use zone::{NewZone, Zone, ZoneChanges, validate_vpc_count};

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub id: SubnetId,
    pub vpc_id: VpcId,
    /// IPv4, and IPv6 if it has that.
    pub networks: Vec<IpNet>,
    /// Where guests ask: one for each network.
    pub gateways: Vec<IpAddr>,
}

/// A port that a VM has on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub id: PortId,
    pub vpc_id: VpcId,
    pub vm_id: VmId,
    pub node: String,
    pub addresses: Vec<IpAddr>,
}

/// A VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    pub id: VmId,
    pub org_id: OrgId,
    pub project_id: ProjectId,
    pub name: String,
    /// Of its interfaces, in their order.
    pub ports: Vec<PortId>,
}

/// One thing that names come of, as it is now; `None`: there is none, or no name comes of it.
#[derive(Clone, Debug)]
pub enum Changed {
    Subnet(SubnetId, Option<Subnet>),
    Port(PortId, Option<Port>),
    Vm(VmId, Option<Vm>),
    Zone(ZoneId, Option<Zone>),
    RecordSet(RecordSetId, Option<RecordSet>),
}

/// The types of resources.
pub mod kind {
    use photon_resource::{Kind, RecordSetId, ZoneId};

    const fn of(plural: &'static str, noun: &'static str) -> Kind {
        Kind {
            service: "dns",
            plural,
            noun,
        }
    }

    /// Zones.
    pub const ZONES: Kind = of("zones", ZoneId::KIND);
    /// What names stand for.
    pub const NAMES: Kind = of("names", "name");
    /// Record sets.
    pub const RECORD_SETS: Kind = of("recordSets", RecordSetId::KIND);
    /// Hosts.
    pub const NODES: Kind = of("nodes", "node");
}
