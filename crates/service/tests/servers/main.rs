//! photon-service as its users see it: real gRPC servers on loopback, real stores, real certificates.

mod admission;
mod desk;
mod details;
mod guard;
mod iam_client;
mod identity;
mod mutations;
mod program;
mod scripted_iam;
mod server;
mod tls;
