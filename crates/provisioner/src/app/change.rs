//! How a machine's changes are stored.

use std::time::SystemTime;

use flaredb::Transaction;
use photon_catalog::{Actor, Effect};
use photon_resource::{Error, Time};

use crate::model::Machine;
use crate::store;

/// The provisioner itself, as whoever makes a change.
pub(super) fn provisioner() -> Actor {
    Actor::server("photon-provisioner")
}

/// Stores `after`, a revision newer than `before`, together with whatever `tx` has already. The event says why the
/// machine is as it is.
pub(super) async fn put(
    tx: &mut Transaction,
    before: Option<&Machine>,
    mut after: Machine,
) -> Result<Effect<Machine>, Error> {
    if let Some(before) = before {
        after.revision = before.revision + 1;
    }
    store::machine_put(tx, before, &after).await?;
    let reason = after.reason.clone();
    Ok(Effect::on(after).because(reason))
}

/// Now, as it is stored.
pub(super) fn now() -> SystemTime {
    Time::now().into()
}
