//! What every component shares and none owns: typed ids, scopes and resource names, the error, the traits by which a
//! server knows its caller and asks for permission, and what a disk's file is.

mod access;
pub mod disk_format;
mod error;
mod id;
mod interface_name;
mod kind;
mod mac;
mod meta;
mod name;
mod ssh;
mod text;
mod time;
mod validate;

pub use access::{
    Authorizer, Caller, Claims, Decision, Described, Extent, Impersonator, PrincipalKind,
    TokenVerifier,
};
pub use error::{Error, Result};
pub use id::{
    ApiKeyId, BindingId, ExternalNetworkId, FloatingIpId, ImageId, NatGatewayId, OrgId, PeeringId,
    PortId, PrincipalId, ProjectId, RecordSetId, RoleId, RouteId, RuleId, SecurityGroupId,
    SessionId, SshKeyId, SubnetId, VmId, VpcId, ZoneId,
};
pub use interface_name::{
    bridge_name, external_bridge_name, gateway_namespace, inside_name, outside_name, peering_name,
    tap_name, vrf_name, vxlan_name,
};
pub use kind::Kind;
pub use mac::Mac;
pub use meta::{Changes, Labels, Meta, NewMeta};
pub use name::{Action, ResourceName, Scope};
pub use ssh::is_private_key;
pub use text::is_hidden;
pub use time::Time;
pub use validate::{
    Page, PageRequest, validate_description, validate_labels, validate_resource_name,
};
