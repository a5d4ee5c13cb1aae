//! The servers that the cloud is made of, as parts of a test's [`Cloud`](photon_testkit::Cloud), and clients of each with
//! what its tests say again and again.
//!
//! A feature per component lets a component's own tests build no more than they start; by default there is all of it, and
//! [`TestCloud`]: the whole with an operator and two tenants.

use photon_api::components::COMPONENTS;
use photon_program::{Component, ComponentSettings, Settings, Urls};
use photon_testkit::Place;

#[cfg(feature = "plasmavmc")]
pub mod downloads;
#[cfg(feature = "flashdns")]
pub mod flashdns;
pub mod iam;
#[cfg(feature = "plasmavmc")]
pub mod plasmavmc;
#[cfg(feature = "prismnet")]
pub mod prismnet;
#[cfg(feature = "provisioner")]
pub mod provisioner;
#[cfg(feature = "whole")]
mod whole;

#[cfg(feature = "whole")]
pub use whole::{NODE, Tenant, TestCloud};

/// What every server is told in tests: where its state is, where the others are, and who it is (if it calls any).
fn settings<S: ComponentSettings>(
    component: Component,
    place: &Place,
    program: Option<&str>,
) -> Settings<S> {
    let mut settings = Settings::<S>::new(component);
    // Tests ask faster than anybody does who has to leave something to others; what admission does has tests of its own.
    let limits = &mut settings.server.limits;
    for share in [
        &mut limits.stranger,
        &mut limits.principal,
        &mut limits.organization,
    ] {
        share.calls = 100_000;
        share.per_second = 1_000_000;
        share.burst = 1_000_000;
    }
    limits.calls = 100_000;
    (limits.written_kib, limits.written_kib_per_second) = (1 << 20, 1 << 20);
    limits.connections_per_source = limits.connections;
    settings.server.state_dir = place.state_dir(component.name);
    settings.server.metrics_listen = None;
    let mut urls = Urls::default();
    for other in &COMPONENTS {
        if let Some(url) = place.url(other.name) {
            urls = urls.with(other, url);
        }
    }
    settings.server.endpoints.urls = urls;
    settings.server.credential_file =
        program.map(|name| place.credentials().join(format!("{name}.key")));
    settings
}
