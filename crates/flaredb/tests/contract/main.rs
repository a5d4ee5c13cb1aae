//! What every engine must do, run over all of them.
//!
//! Each case gets a [`Factory`] of empty stores; a new engine is one more factory and one more line of
//! `engines!` at the end. No case knows at which revision a store begins or by how much a commit raises it: one engine is
//! in the midst of others' commits.

mod commits;
mod concurrency;
mod leases;
mod model;
mod reads;
mod schemas;
mod transactions;
mod watches;

use std::time::Duration;

use flaredb::crowded::crowded;
use flaredb::{Change, Committed, Db, Op, Options, Record, Revision, Watch, WatchItem};
use serde::{Deserialize, Serialize};

/// How long something may take that happens at once on an idle machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A store, and what it needs for as long as the test runs.
pub struct Fresh {
    pub db: Db,
    _directory: Option<tempfile::TempDir>,
}

/// Makes empty stores of one engine.
pub(crate) trait Factory: Copy {
    async fn make(self, options: Options) -> Fresh;

    async fn fresh(self) -> Fresh {
        self.make(Options::default()).await
    }
}

#[derive(Clone, Copy)]
struct Memory;

impl Factory for Memory {
    async fn make(self, options: Options) -> Fresh {
        Fresh {
            db: Db::memory_with(&options),
            _directory: None,
        }
    }
}

#[derive(Clone, Copy)]
struct Sqlite;

impl Factory for Sqlite {
    async fn make(self, options: Options) -> Fresh {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("flaredb.sqlite");
        Fresh {
            db: Db::sqlite_with(&path, &options).await.unwrap(),
            _directory: Some(directory),
        }
    }
}

#[derive(Clone, Copy)]
struct Crowded;

impl Factory for Crowded {
    async fn make(self, options: Options) -> Fresh {
        Fresh {
            db: crowded(&options).await.unwrap(),
            _directory: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Number {
    pub value: u64,
}

impl Record for Number {
    const KIND: &'static str = "number";
    const VERSION: u32 = 1;
}

pub fn number(value: u64) -> Number {
    Number { value }
}

pub fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        lease: None,
    }
}

pub fn delete(key: &str) -> Op {
    Op::Delete {
        key: key.to_owned(),
    }
}

/// Commits what cannot conflict.
pub async fn write(db: &Db, ops: Vec<Op>) -> Revision {
    done(db.commit(vec![], ops).await.unwrap())
}

/// The revision of a commit that must have happened.
#[track_caller]
pub fn done(committed: Committed) -> Revision {
    match committed {
        Committed::Done(revision) => revision,
        Committed::Conflict { key } => panic!("a conflict on {key}"),
    }
}

pub fn conflict(key: &str) -> Committed {
    Committed::Conflict {
        key: key.to_owned(),
    }
}

pub fn change(revision: Revision, key: &str, value: Option<&str>) -> Change {
    Change {
        key: key.to_owned(),
        value: value.map(|value| value.as_bytes().to_vec()),
        revision,
    }
}

/// Every commit after a revision until now, as a watch tells them.
pub async fn told_since(db: &Db, after: Revision) -> Vec<Vec<Change>> {
    let now = db.barrier().await.unwrap();
    let mut watch = db.watch("", after).await.unwrap();
    let mut told = Vec::new();
    let mut reached = after;
    while reached < now {
        let item = next_item(&mut watch).await;
        assert!(item.revision() > reached, "{item:?} after {reached}");
        reached = item.revision();
        if let WatchItem::Commit(changes) = item {
            told.push(changes);
        }
    }
    told
}

/// The watch's next item, commit or progress, which must come.
pub async fn next_item(watch: &mut Watch) -> WatchItem {
    let next = tokio::time::timeout(DEADLINE, watch.next_item()).await;
    next.expect("an item").expect("an open watch").unwrap()
}

/// The watch's next commit, which must come.
pub async fn next(watch: &mut Watch) -> Vec<Change> {
    let next = tokio::time::timeout(DEADLINE, watch.next()).await;
    next.expect("a change").expect("an open watch").unwrap()
}

macro_rules! cases {
    ($engine:ident, $factory:expr, $($module:ident :: $case:ident),* $(,)?) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$module::$case($factory).await;
                }
            )*
        }
    };
}

/// What stores in this process promise beyond the contract.
macro_rules! local_engines {
    ($($engine:ident: $factory:expr),* $(,)?) => { $( cases! { $engine, $factory,
        watches::a_watch_beyond_the_kept_log_is_told_so,
        watches::a_log_of_large_records_keeps_fewer_of_them,
        watches::a_watcher_that_falls_behind_the_kept_log_is_told_so,
        commits::a_store_of_its_own_counts_its_commits,
    } )* };
}

macro_rules! engines {
    ($($engine:ident: $factory:expr),* $(,)?) => { $( cases! { $engine, $factory,
        reads::a_fresh_store_is_empty,
        reads::a_value_is_read_back_with_its_revisions,
        reads::values_are_bytes,
        reads::many_keys_are_read_in_one_go,
        reads::a_scan_is_ordered_and_of_its_prefix_alone,
        reads::a_scan_goes_on_after_a_key,
        reads::keys_sort_by_code_point,
        reads::bad_keys_and_values_are_refused,
        commits::a_commit_is_all_or_nothing,
        commits::each_comparison_decides,
        commits::the_revision_grows_with_what_changes,
        commits::two_writes_to_one_key_are_refused,
        commits::a_commit_has_bounds,
        commits::a_deleted_key_is_new_when_put_again,
        commits::derived_writes_see_the_state_of_the_commit,
        commits::a_refused_derivation_writes_nothing,
        commits::a_derived_comparison_conflicts,
        transactions::what_was_read_must_not_change,
        transactions::what_was_absent_must_stay_so,
        transactions::own_writes_are_seen,
        transactions::a_scan_is_merged_with_own_writes,
        transactions::a_scanned_item_must_not_change,
        transactions::a_scan_takes_no_more_than_asked_for,
        transactions::touch_guards_against_phantoms,
        transactions::touch_keeps_what_is_there,
        transactions::a_read_only_transaction_is_validated,
        transactions::what_was_read_can_be_checked_without_writing,
        watches::a_watch_gets_one_item_per_commit,
        watches::a_watch_begins_after_its_revision,
        watches::a_watch_sees_its_prefix_alone,
        watches::a_scan_and_a_watch_leave_no_gap,
        watches::a_slow_watcher_loses_nothing,
        watches::a_watch_tells_how_far_it_has_come,
        watches::who_follows_a_prefix_is_waited_for,
        watches::a_watch_beyond_the_log_is_told_so,
        watches::a_watcher_that_falls_behind_the_log_is_told_so,
        watches::a_revision_of_another_store_is_refused,
        watches::a_watch_ends_with_its_store,
        leases::an_expired_lease_takes_its_keys_in_one_commit,
        leases::a_lease_that_is_kept_alive_stays,
        leases::a_revoked_lease_takes_its_keys_at_once,
        leases::a_put_without_the_lease_takes_the_key_off,
        leases::a_put_with_a_lease_that_is_over_is_refused,
        leases::leases_that_cannot_be_kept_are_refused,
        leases::a_part_of_a_second_counts_as_a_whole_one,
        concurrency::no_update_is_lost,
        concurrency::one_of_many_creators_wins,
        concurrency::commits_and_watches_race,
        concurrency::parallel_derivations_make_a_sequence_without_gaps,
        concurrency::readers_never_see_half_a_commit,
        concurrency::a_conflict_does_not_disturb_its_neighbours,
        schemas::records_are_written_in_the_format_of_the_schema,
        model::an_engine_behaves_like_the_model,
    } )* };
}

engines! {
    memory: super::Memory,
    sqlite: super::Sqlite,
    crowded: super::Crowded,
}

local_engines! {
    memory_itself: super::Memory,
    sqlite_itself: super::Sqlite,
}
