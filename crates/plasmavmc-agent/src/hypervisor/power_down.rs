//! What a VM's unit runs when it is stopped: asks the guest to power down and waits for it.
//!
//! systemd runs it as the VM's own user in the VM's own sandbox, whoever asks for the stop: the agent, an
//! operator, or the host when it shuts down. So a stop goes on when the agent is dead.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::hypervisor::qmp::Qmp;
use crate::hypervisor::{Control, ControlError};

/// What a guest has when nobody said otherwise, as when the host shuts down.
const DEFAULT: Duration = Duration::from_secs(30);
/// The button is pressed again after this: a guest that is still booting does not see the first time.
const AGAIN: Duration = Duration::from_secs(3);

/// How long a guest has, from the file that the agent writes before a stop. A file that is not there or not
/// a number of seconds means 30 s.
pub fn allowance(file: &Path) -> Duration {
    std::fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map_or(DEFAULT, Duration::from_secs)
}

/// Asks the guest behind this monitor socket to power down, and returns when its process has ended or the
/// allowance is over; what comes after that is systemd's.
///
/// Errors: the process can't be talked to.
pub async fn power_down(socket: &Path, allowance: Duration) -> Result<(), ControlError> {
    if allowance.is_zero() {
        return Ok(());
    }
    let deadline = Instant::now() + allowance;
    let own = nix::unistd::getuid().as_raw();
    let monitor = Qmp::connect(socket, own).await?;
    loop {
        match monitor.power_button().await {
            Err(ControlError::Closed) => return Ok(()),
            other => other?,
        }
        let again = (Instant::now() + AGAIN).min(deadline);
        let ended = async { while monitor.event().await.is_some() {} };
        if timeout_at(again, ended).await.is_ok() || again == deadline {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_what_the_agent_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("stop-timeout");
        assert_eq!(allowance(&file), DEFAULT);
        std::fs::write(&file, "90\n").unwrap();
        assert_eq!(allowance(&file), Duration::from_secs(90));
        std::fs::write(&file, "soon").unwrap();
        assert_eq!(allowance(&file), DEFAULT);
    }
}
