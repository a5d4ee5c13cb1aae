//! PrismNET over gRPC, as its callers see it.

mod concurrency;
mod default_network;
mod egress;
mod events;
mod input;
mod lifecycle;
mod lists;
mod nodes;
mod peerings;
mod routes;
mod tenancy;
mod trace;
mod tunnels;
mod watches;
