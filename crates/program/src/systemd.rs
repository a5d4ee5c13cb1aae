//! What systemd is told about this program (sd_notify(3)). Without `$NOTIFY_SOCKET` nothing is.

use std::time::Duration;

use sd_notify::NotifyState;

/// The program does its work now: units that are ordered after it are started.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What `systemctl status` shows.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The program is stopping.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Feeds the watchdog, if the unit has one (`WatchdogSec=`), at half of its time, from a task: a runtime that
/// schedules nothing any more starves it, and systemd restarts the program.
pub(crate) async fn feed_watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        // The socket's queue is short, and systemd may be busy: that must not hold a worker up.
        let told = tokio::task::spawn_blocking(|| tell(&[NotifyState::Watchdog]));
        if told.await.is_err() {
            return;
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be notified");
    }
}
