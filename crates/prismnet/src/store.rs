//! What FlareDB holds of networks, and under which keys. Every write here is a part of one transaction, which
//! `app` commits together with its event.
//!
//! | key | holds |
//! | --- | --- |
//! | `{table}/{id}`, `{table}-name/…`, `{table}-in/…` | resources, as `photon_catalog::stored` says: tables are `vpc`, `subnet`, `port`, `security-group`, `external-network` (of the scope `-/-`), `nat-gateway`, `floating-ip`, `route`, `peering` |
//! | `vpc-subnet/{vpc}/{subnet}`, `subnet-port/{subnet}/{port}`, `group-port/{group}/{port}`, `group-rule/{group}/{group}` | who uses whom |
//! | `vpc-users/{vpc}`, `subnet-users/{subnet}`, `group-users/{group}` | written by whoever adds a user, compared by whoever must know that there is none |
//! | `table/{number}`, `vni/{number}`, `mac/{vpc}/{mac}`, `address/{subnet}/{ip}` | the id that has the number or address: created only if absent, so nothing is given twice |
//! | `vpc-routes/{vpc}`, `vpc-peerings/{vpc}` | all routes of a VPC, and all peerings, as one record each |
//! | `nat/{vpc}`, `floating-port/{port}` | the gateway of a VPC, the floating IP of a port |
//! | `external-address/{network}/{ip}` | the gateway or floating IP that has the address |
//! | `external-gateway/{network}/{gateway}`, `external-floating/{network}/{floating}`, `vpc-floating/{vpc}/{floating}` | who uses whom |
//! | `external-users/{network}`, `vpc-floating-users/{vpc}`, `external-networks` | as `vpc-users` |
//! | `address-cursor/{subnet}` | the address that was given last |
//! | `address-released/{subnet}/{ip}` | when a port let go of it; on a lease of some minutes |
//! | `node/{name}` | a host's end of the tunnels between hosts; gone when another host has its address |
//! | `gateway-host/{name}` | the external networks that a host has interfaces in; of none: no record |
//! | `default-group/{org}/{project}` | the project's default security group |
//! | `network-settings/{org}` | what an organization says of networks in its projects |

mod external_network;
mod feed;
mod floating_ip;
mod nat_gateway;
mod network_settings;
mod node;
mod peering;
mod port;
mod route;
mod security_group;
mod subnet;
mod users;
mod vpc;

pub use external_network::{
    external_address_is_taken, external_addresses, external_addresses_now, external_network_create,
    external_network_delete, external_network_update, external_networks, external_networks_now,
};
pub use feed::{Changed, changed, everything};
pub use floating_ip::{floating_ip_create, floating_ip_delete, floating_ip_of, floating_ip_update};
pub use nat_gateway::{
    has_nat_gateway, nat_gateway_create, nat_gateway_delete, nat_gateway_of, nat_gateway_update,
};
pub use network_settings::{
    network_settings_key, network_settings_load, network_settings_put, network_settings_read,
};
pub use node::{
    gateway_host_key, gateway_host_put, gateway_host_read, node_delete, node_key, node_put,
    node_read,
};
pub use peering::{VpcPeering, peering_create, peering_delete, peering_update, peerings_of};
pub use port::{
    address_holder, addresses, last_given, mac_holder, port_create, port_delete, port_list,
    port_update, released,
};
pub use route::{VpcRoute, route_create, route_delete, route_to, route_update, routes_of};
pub use security_group::{
    default_group, security_group_create, security_group_delete, security_group_update,
};
pub use subnet::{subnet_create, subnet_delete, subnet_update, subnets_of, vni_holder};
pub use vpc::{table_holder, vpc_create, vpc_delete, vpc_update};

#[cfg(test)]
mod tests;
