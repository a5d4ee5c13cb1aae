//! PlasmaVMC's server as its callers see it: over gRPC, with real servers of IAM and PrismNET beside it.

mod cloud;
mod host;
mod lifecycle;
mod saga;
