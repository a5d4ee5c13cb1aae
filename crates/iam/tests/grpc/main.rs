//! IAM over gRPC: a real server on a free port, with a real SQLite file.

mod bad_input;
mod bootstrap;
mod brute_force;
mod changes;
mod credentials;
mod fixture;
mod roles;
mod tenants;
mod tokens;
