//! All servers over one directory, as a host has them.

use std::path::Path;

use photon_testcloud::provisioner::{Surroundings, Tls, tls_channel};
use photon_testcloud::{NODE, iam, plasmavmc, prismnet, provisioner};
use photon_testkit::Cloud;
use tonic::transport::Channel;

/// The names of the servers.
pub const SERVERS: [&str; 4] = ["iam", "prismnet", "plasmavmc", "provisioner"];

/// Starts all of them over what `fill` puts into their directory: their states, each in a folder of its name, beside
/// `credentials`, which are of the host [`NODE`].
pub async fn start(fill: impl FnOnce(&Path) + Send + 'static) -> Cloud {
    let iam = iam::blank(NODE, |_, settings| {
        // The stores of this test are as old as they are: the key in them stays.
        settings.component.signing_key_days = Some(36_500);
    });
    let vms = ::plasmavmc::Settings {
        // No host reports itself, and none is lost meanwhile.
        node_timeout_seconds: 3600,
        ..Default::default()
    };
    Cloud::start([
        iam.prepared(move |place| fill(place.dir())),
        prismnet::part(),
        plasmavmc::part(vms),
        provisioner::part(NODE, Tls::On, &Surroundings::new(), |_| ()),
    ])
    .await
}

/// A channel to one of [`SERVERS`].
pub fn channel(cloud: &Cloud, server: &str) -> Channel {
    match server {
        "provisioner" => tls_channel(cloud.place(), None),
        server => cloud.channel(server),
    }
}
