//! IAM over gRPC: a real server on a free port, with a real SQLite file.

mod bad_input;
mod bootstrap;
mod brute_force;
mod certificates;
mod changes;
mod credentials;
mod directory;
mod many;
mod provisioner;
mod quotas;
mod roles;
mod sessions;
mod tenants;
mod tokens;
