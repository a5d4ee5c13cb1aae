//! "Something may have changed": any number of signals before the next pass cause one pass.

use std::sync::Arc;

use tokio::sync::Notify;

/// Asks a driver for a pass. Clones ask the same driver.
#[derive(Clone, Debug, Default)]
pub struct Signal(Arc<Notify>);

impl Signal {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a pass. During a pass it asks for one more; a second call before that pass adds nothing.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Waits until somebody asks, or returns at once when somebody did since the last call.
    pub async fn notified(&self) {
        self.0.notified().await;
    }
}
