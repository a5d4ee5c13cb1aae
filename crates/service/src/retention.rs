//! Old events are cut off: a round a day over all chains of a server's store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainfire::{CutError, Keep, Ledger};
use photon_program::KeptEvents;
use photon_program::metrics::{EVENTS_CUT, EVENTS_KEPT, EVENTS_UNCUT};
use tokio_util::sync::CancellationToken;

/// From the server's start to the first round: whoever starts one with a wrong clock has some time to see it.
const FIRST: Duration = Duration::from_secs(600);
/// From one round to the next.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// Between two commits that delete: some thousand events a second at most, and others' changes are soon among them.
const PAUSE: Duration = Duration::from_millis(50);

/// Cuts the store's chains until `shutdown`, as the settings say.
pub(crate) async fn run(
    ledger: Ledger,
    kept: KeptEvents,
    name: &'static str,
    shutdown: CancellationToken,
) {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3600);
    let keep = Keep {
        age: kept.days.map(days),
        most: kept.most,
    };
    let mut next = FIRST;
    loop {
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = shutdown.cancelled() => return,
        }
        tokio::select! {
            done = round(&ledger, &keep, name, now_us()) => match done {
                Ok(_) => {}
                Err(error) => tracing::error!("old events were not cut off: {error:#}"),
            },
            // What is cut off and not deleted yet goes with the next round.
            () = shutdown.cancelled() => return,
        }
        next = AGAIN;
    }
}

/// What a round found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    cut: u64,
    kept: u64,
    /// Chains that were left as they are because what is old in them is not as it was written.
    broken: u64,
}

async fn round(
    ledger: &Ledger,
    keep: &Keep,
    name: &'static str,
    now_us: u64,
) -> Result<Round, chainfire::StoreError> {
    let mut round = Round::default();
    for chain in ledger.chains().await? {
        match ledger.cut(&chain, keep, now_us, name).await {
            Ok(cut) => {
                round.cut += cut.events;
                round.kept += cut.kept;
                if cut.events > 0 {
                    tracing::info!(chain, events = cut.events, "old events were cut off");
                    metrics::counter!(EVENTS_CUT).increment(cut.events);
                }
            }
            Err(CutError::Store(error)) => return Err(error),
            Err(error @ (CutError::Broken(..) | CutError::NoChain(_))) => {
                tracing::error!("{error}");
                round.broken += 1;
            }
        }
        while ledger.sweep(&chain).await? > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }
    metrics::gauge!(EVENTS_KEPT).set(round.kept as f64);
    metrics::gauge!(EVENTS_UNCUT).set(round.broken as f64);
    Ok(round)
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 makes nothing old.
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use chainfire::{NewEvent, Outcome};
    use flaredb::{Db, KeyValue, Op};

    use super::*;

    fn event(org: Option<&str>) -> NewEvent {
        NewEvent {
            org_id: org.map(|org| org.parse().unwrap()),
            project_id: None,
            principal_id: None,
            principal_name: "alice".into(),
            impersonator: None,
            source: "127.0.0.1".into(),
            action: "test:things:make".into(),
            resource: "system/things/1".into(),
            outcome: Outcome::Success,
            reason: String::new(),
            request_id: String::new(),
            before_digest: None,
            after_digest: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_cuts_every_chain_and_leaves_the_broken_one() {
        let db = Db::memory();
        let ledger = Ledger::new(db.clone(), "test");
        for org in [None, Some("orchid"), Some("acme")] {
            for _ in 0..200 {
                ledger.record(event(org)).await.unwrap();
            }
        }
        // What somebody altered in the store of one of them is evidence.
        let key = "chain/acme/00000000000000000007".to_owned();
        let KeyValue { mut value, .. } = db.get_raw(&key).await.unwrap().0.unwrap();
        let at = value.windows(5).position(|it| it == b"alice").unwrap();
        value[at] = b'A';
        let forged = Op::Put {
            key,
            value,
            lease: None,
        };
        let done = db.commit(vec![], vec![forged]).await.unwrap();
        assert!(matches!(done, flaredb::Committed::Done(_)));

        let keep = Keep {
            age: Some(Duration::from_secs(400 * 24 * 3600)),
            most: None,
        };
        let later = now_us() + 500 * 24 * 3600 * 1_000_000;
        let first = round(&ledger, &keep, "test", later).await.unwrap();
        let (cut, kept, broken) = (2 * 199, 2 * 2, 1);
        assert_eq!(first, Round { cut, kept, broken });
        let stored = db.scan_raw("chain/", None, usize::MAX).await.unwrap();
        assert_eq!(stored.items.len(), 200 + 4);
        for chain in ["system", "orchid"] {
            let report = ledger.verify_chain(chain, None).await.unwrap();
            assert_eq!((report.problem, report.first), (None, 200));
        }
        let again = round(&ledger, &keep, "test", now_us()).await.unwrap();
        assert_eq!((again.cut, again.kept), (0, 4 + 200));
    }
}
