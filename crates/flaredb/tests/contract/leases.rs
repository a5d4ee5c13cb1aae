use std::time::{Duration, Instant};

use flaredb::{Db, Error, LeaseId, MAX_LEASE_TTL, MIN_LEASE_TTL, Op};

use crate::{Factory, change, next, put, told_since, write};

fn leased(key: &str, lease: LeaseId) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: b"1".to_vec(),
        lease: Some(lease),
    }
}

async fn exists(db: &Db, key: &str) -> bool {
    db.get_raw(key).await.unwrap().0.is_some()
}

const SHORT: Duration = MIN_LEASE_TTL;
const LONG: Duration = Duration::from_secs(3600);

pub(crate) async fn an_expired_lease_takes_its_keys_in_one_commit(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let start = Instant::now();
    let lease = db.lease_grant(SHORT).await.unwrap();
    let other = db.lease_grant(LONG).await.unwrap();
    let written = write(
        db,
        vec![
            leased("a", lease),
            leased("b", other),
            leased("c", lease),
            put("d", "1"),
        ],
    )
    .await;
    let mut watch = db.watch("", written).await.unwrap();
    let ended = next(&mut watch).await;
    let lasted = start.elapsed();
    let revision = ended[0].revision;
    assert_eq!(
        ended,
        [change(revision, "a", None), change(revision, "c", None)]
    );
    assert!((SHORT..SHORT * 10).contains(&lasted), "{lasted:?}");
    assert!(exists(db, "b").await && exists(db, "d").await);
    let over = db.lease_keep_alive(lease).await;
    assert!(matches!(over, Err(Error::LeaseNotFound(it)) if it == lease));
}

pub(crate) async fn a_lease_that_is_kept_alive_stays(factory: impl Factory) {
    const TTL: Duration = MIN_LEASE_TTL;
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let lease = db.lease_grant(TTL).await.unwrap();
    // A witness of the same age that nobody keeps alive.
    let witness = db.lease_grant(TTL).await.unwrap();
    let ops = vec![leased("kept", lease), leased("witness", witness)];
    let mut watch = db.watch("", write(db, ops).await).await.unwrap();
    let mut ticks = tokio::time::interval(TTL / 15);
    loop {
        tokio::select! {
            changes = next(&mut watch) => {
                assert_eq!(changes, [change(changes[0].revision, "witness", None)]);
                break;
            }
            _ = ticks.tick() => db.lease_keep_alive(lease).await.unwrap(),
        }
    }
    assert!(exists(db, "kept").await);
    // And it ends when it is not kept alive any more.
    let changes = next(&mut watch).await;
    assert_eq!(changes, [change(changes[0].revision, "kept", None)]);
}

pub(crate) async fn a_revoked_lease_takes_its_keys_at_once(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let lease = db.lease_grant(LONG).await.unwrap();
    let ops = vec![leased("a", lease), leased("b", lease), put("c", "1")];
    let written = write(db, ops).await;
    db.lease_revoke(lease).await.unwrap();
    assert!(!exists(db, "a").await && !exists(db, "b").await && exists(db, "c").await);
    let told = told_since(db, written).await;
    let revision = told[0][0].revision;
    assert_eq!(
        told,
        [[change(revision, "a", None), change(revision, "b", None)]]
    );
    let again = db.lease_revoke(lease).await;
    assert!(matches!(again, Err(Error::LeaseNotFound(it)) if it == lease));
    // Its number is not given again.
    assert_ne!(db.lease_grant(LONG).await.unwrap(), lease);
}

pub(crate) async fn a_put_without_the_lease_takes_the_key_off(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let first = db.lease_grant(LONG).await.unwrap();
    let second = db.lease_grant(LONG).await.unwrap();
    write(
        db,
        vec![
            leased("off", first),
            leased("moved", first),
            leased("gone", first),
        ],
    )
    .await;
    write(db, vec![put("off", "1"), leased("moved", second)]).await;
    db.lease_revoke(first).await.unwrap();
    assert!(exists(db, "off").await && exists(db, "moved").await && !exists(db, "gone").await);
    db.lease_revoke(second).await.unwrap();
    assert!(exists(db, "off").await && !exists(db, "moved").await);
}

pub(crate) async fn a_put_with_a_lease_that_is_over_is_refused(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let db = &fresh.db;
    let before = db.revision().await.unwrap();
    let lease = db.lease_grant(LONG).await.unwrap();
    db.lease_revoke(lease).await.unwrap();
    for lease in [lease, LeaseId(999)] {
        let refused = db
            .commit(vec![], vec![put("a", "1"), leased("b", lease)])
            .await;
        assert!(matches!(refused, Err(Error::LeaseNotFound(it)) if it == lease));
    }
    assert_eq!(told_since(db, before).await, [[]; 0]);
}

pub(crate) async fn leases_that_cannot_be_kept_are_refused(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let second = Duration::from_secs(1);
    for ttl in [
        Duration::ZERO,
        second,
        MAX_LEASE_TTL + second,
        Duration::MAX,
    ] {
        let refused = fresh.db.lease_grant(ttl).await;
        assert!(
            matches!(refused, Err(Error::InvalidLease { .. })),
            "{ttl:?}"
        );
    }
    fresh.db.lease_grant(MIN_LEASE_TTL).await.unwrap();
    fresh.db.lease_grant(MAX_LEASE_TTL).await.unwrap();
}

pub(crate) async fn a_part_of_a_second_counts_as_a_whole_one(factory: impl Factory) {
    let fresh = factory.fresh().await;
    let start = Instant::now();
    let ttl = MIN_LEASE_TTL - Duration::from_millis(999);
    let lease = fresh.db.lease_grant(ttl).await.unwrap();
    let written = write(&fresh.db, vec![leased("a", lease)]).await;
    let mut watch = fresh.db.watch("a", written).await.unwrap();
    next(&mut watch).await;
    assert!(start.elapsed() >= MIN_LEASE_TTL, "{:?}", start.elapsed());
}
