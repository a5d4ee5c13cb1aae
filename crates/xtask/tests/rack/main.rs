//! The rack itself, and PhotonCloud on it: real hosts, real guests, real packets.
//! Run by `cargo xtask test`; alone: `cargo test -p xtask --test rack`.

mod addresses;
mod cloud;
mod debris;
mod egress;
mod fair_use;
mod faults;
mod frames;
mod full_disk;
mod guests;
mod hosts;
mod hot_plug;
mod images;
mod isolation;
mod metadata;
mod names;
mod netboot;
mod onboarding;
mod operations;
mod peerings;
mod pings;
mod port_lifecycle;
mod rendered_units;
mod routes;
mod scale;
mod scenario;
mod security;
mod security_groups;
mod spanning;
mod tenant_network;
mod two_commands;
mod upgrade;

use std::time::Duration;

use tokio::sync::OnceCell;
use xtask::rack::{Host, Rack};

/// One host for all tests that leave it as it was. It ends with the process.
async fn shared() -> Host {
    static RACK: OnceCell<Rack> = OnceCell::const_new();
    let rack = RACK
        .get_or_init(async || Rack::start(1).await.expect("the shared rack boots"))
        .await;
    rack.host(1)
}

const SECOND: Duration = Duration::from_secs(1);
