//! What makes the agent look again.

use std::sync::Arc;
use std::time::Duration;

use photon_host::systemd::ServiceManager;
use photon_reconcile::{Backoff, Signal};

use super::unit;

/// Gives the signal whenever a VM's unit changes, for as long as it is polled.
pub async fn units(systemd: Arc<dyn ServiceManager>, signal: Signal) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        match systemd.changes(unit::PREFIX).await {
            Ok(mut changes) => {
                backoff.succeeded();
                // What happened before the connection stood.
                signal.notify();
                while changes.changed().await {
                    signal.notify();
                }
            }
            Err(error) => tracing::warn!(%error, "systemd's signals can't be had"),
        }
        tokio::time::sleep(backoff.failed()).await;
    }
}
