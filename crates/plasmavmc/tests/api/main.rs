//! PlasmaVMC's server as its callers see it: over gRPC, with real servers of IAM and PrismNET beside it.

mod changes;
mod downloads;
mod host;
mod images;
mod imports_underway;
mod input;
mod interfaces;
mod lifecycle;
mod lost_host;
mod metadata;
mod new_ports;
mod nodes;
mod saga;
mod ssh_keys;
mod streams;
mod tunnels;
mod user_data;
