use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use photon_program::metrics::REFUSED;
use tokio_util::sync::CancellationToken;

/// How often the log is told.
const INTERVAL: Duration = Duration::from_secs(60);
/// How many are told of by name in one interval.
const NAMED: usize = 32;

/// Who is refused, summed up: a flood costs neither disk nor log.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: Mutex<HashMap<(String, &'static str), u64>>,
}

impl Refusals {
    /// Counts one refusal of `who`, for the reason `why`.
    pub fn count(&self, who: &str, why: &'static str) {
        metrics::counter!(REFUSED, "why" => why).increment(1);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (who.to_owned(), why);
        if counts.len() >= NAMED && !counts.contains_key(&key) {
            "others".clone_into(&mut key.0);
        }
        *counts.entry(key).or_default() += 1;
    }

    /// Tells the log once a minute, until `shutdown` and then once more.
    pub async fn tell(&self, shutdown: CancellationToken) {
        loop {
            let last = tokio::select! {
                () = tokio::time::sleep(INTERVAL) => false,
                () = shutdown.cancelled() => true,
            };
            for ((who, why), count) in self.drain() {
                tracing::warn!(who, why, count, "refused since this was last told");
            }
            if last {
                return;
            }
        }
    }

    /// What was counted, most first.
    fn drain(&self) -> Vec<((String, &'static str), u64)> {
        let counts =
            std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_names_is_summed_up() {
        let refusals = Refusals::default();
        for n in 0..1000 {
            refusals.count(&format!("2001:db8:0:{n:x}::"), "it asks too fast");
        }
        let told = refusals.drain();
        assert_eq!(told.len(), NAMED + 1);
        assert_eq!(told[0], (("others".to_owned(), "it asks too fast"), 968));
        assert_eq!(refusals.drain(), []);
    }
}
