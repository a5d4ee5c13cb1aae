//! Random sequences of operations, against a model that is too simple to be wrong.

use std::collections::BTreeMap;

use flaredb::{Change, Committed, Compare, Db, Error, KeyValue, LeaseId, Op, Revision};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{Factory, next, told_since};

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Comparison>, Vec<Write>),
    Get(u8),
    Scan(&'static str, Option<u8>, usize),
    /// Watch from so many revisions ago.
    Watch(&'static str, u64),
    Grant,
    Revoke(u8),
}

#[derive(Debug, Clone)]
enum Comparison {
    Absent(u8),
    Present(u8),
    /// The key's revision, off by this much.
    Modified(u8, u64),
}

#[derive(Debug, Clone)]
enum Write {
    Put(u8, Vec<u8>, Option<u8>),
    Delete(u8),
}

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "ä", "a/1/x"];
const PREFIXES: [&str; 4] = ["", "a", "a/", "b"];

fn key(index: u8) -> &'static str {
    KEYS[index as usize % KEYS.len()]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let comparison = prop_oneof![
        any::<u8>().prop_map(Comparison::Absent),
        any::<u8>().prop_map(Comparison::Present),
        (any::<u8>(), prop_oneof![3 => Just(0), 1 => 1..3u64])
            .prop_map(|(key, off)| Comparison::Modified(key, off)),
    ];
    let write = prop_oneof![
        3 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..4), proptest::option::weighted(0.3, any::<u8>()))
            .prop_map(|(key, value, lease)| Write::Put(key, value, lease)),
        1 => any::<u8>().prop_map(Write::Delete),
    ];
    let commit = (
        proptest::collection::vec(comparison, 0..2),
        proptest::collection::vec(write, 0..4),
    );
    let prefix = proptest::sample::select(PREFIXES.to_vec());
    let step = prop_oneof![
        6 => commit.prop_map(|(compares, ops)| Step::Commit(compares, ops)),
        1 => any::<u8>().prop_map(Step::Get),
        2 => (prefix.clone(), proptest::option::of(any::<u8>()), 0..8usize)
            .prop_map(|(prefix, after, limit)| Step::Scan(prefix, after, limit)),
        1 => (prefix, 0..12u64).prop_map(|(prefix, ago)| Step::Watch(prefix, ago)),
        1 => Just(Step::Grant),
        1 => any::<u8>().prop_map(Step::Revoke),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What becomes of a commit.
#[derive(Debug, PartialEq)]
enum Outcome {
    Changed,
    Nothing,
    Conflict(String),
}

#[derive(Default)]
struct Model {
    items: BTreeMap<String, (KeyValue, Option<LeaseId>)>,
    revision: Revision,
    log: Vec<Change>,
    /// Leases ever granted, and whether they live.
    leases: Vec<(LeaseId, bool)>,
}

impl Model {
    fn lease(&self, index: u8) -> LeaseId {
        match self.leases.len() {
            0 => LeaseId(1000),
            count => self.leases[index as usize % count].0,
        }
    }

    fn lives(&self, lease: LeaseId) -> bool {
        self.leases.contains(&(lease, true))
    }

    fn modified(&self, key: &str) -> Option<Revision> {
        self.items.get(key).map(|(item, _)| item.modified)
    }

    fn compare(&self, comparison: &Comparison) -> Compare {
        match *comparison {
            Comparison::Absent(index) => Compare::Absent(key(index).into()),
            Comparison::Present(index) => Compare::Present(key(index).into()),
            Comparison::Modified(index, off) => {
                let modified = self.modified(key(index)).unwrap_or(0);
                Compare::Modified(key(index).into(), modified + off)
            }
        }
    }

    fn op(&self, write: &Write) -> Op {
        match write {
            Write::Put(index, value, lease) => Op::Put {
                key: key(*index).into(),
                value: value.clone(),
                lease: lease.map(|lease| self.lease(lease)),
            },
            Write::Delete(index) => Op::Delete {
                key: key(*index).into(),
            },
        }
    }

    /// `at` is the revision that the engine gives a commit, which it alone knows; whether that can be is looked at by
    /// whoever calls. `None` of what this answers: a conflict.
    fn commit(
        &mut self,
        compares: &[Compare],
        ops: &[Op],
        at: Revision,
    ) -> Result<Outcome, LeaseId> {
        for compare in compares {
            let modified = self.modified(compare.key());
            let holds = match compare {
                Compare::Absent(_) => modified.is_none(),
                Compare::Present(_) => modified.is_some(),
                Compare::Modified(_, revision) => modified == Some(*revision),
            };
            if !holds {
                return Ok(Outcome::Conflict(compare.key().to_owned()));
            }
        }
        // Told in order of key.
        let sorted: BTreeMap<&str, &Op> = ops.iter().map(|op| (op.key(), op)).collect();
        for op in sorted.values() {
            if let Op::Put {
                lease: Some(lease), ..
            } = op
                && !self.lives(*lease)
            {
                return Err(*lease);
            }
        }
        let revision = at;
        let mut outcome = Outcome::Nothing;
        for (key, op) in sorted {
            let value = match op {
                Op::Put { value, lease, .. } => {
                    let before = self.items.get(key);
                    let item = KeyValue {
                        key: key.into(),
                        value: value.clone(),
                        created: before.map_or(revision, |(item, _)| item.created),
                        modified: revision,
                    };
                    self.items.insert(key.into(), (item, *lease));
                    Some(value.clone())
                }
                Op::Delete { .. } => {
                    if self.items.remove(key).is_none() {
                        continue;
                    }
                    None
                }
            };
            self.log.push(Change {
                key: key.into(),
                value,
                revision,
            });
            self.revision = revision;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    fn revoke(&mut self, lease: LeaseId, at: Revision) {
        let keys: Vec<Op> = self
            .items
            .values()
            .filter(|(_, on)| *on == Some(lease))
            .map(|(item, _)| Op::Delete {
                key: item.key.clone(),
            })
            .collect();
        self.commit(&[], &keys, at).unwrap();
        for entry in &mut self.leases {
            entry.1 &= entry.0 != lease;
        }
    }
}

async fn run(db: &Db, steps: &[Step]) {
    let start = db.revision().await.unwrap();
    let mut model = Model {
        revision: start,
        ..Model::default()
    };
    for step in steps {
        match step {
            Step::Commit(compares, writes) => {
                let compares: Vec<_> = compares.iter().map(|it| model.compare(it)).collect();
                let mut ops: Vec<_> = writes.iter().map(|it| model.op(it)).collect();
                // One write for each key.
                let mut keys = std::collections::BTreeSet::new();
                ops.retain(|op| keys.insert(op.key().to_owned()));
                let before = model.revision;
                match db.commit(compares.clone(), ops.clone()).await {
                    Ok(Committed::Done(at)) => match model.commit(&compares, &ops, at).unwrap() {
                        Outcome::Changed => assert!(at > before, "{at} after {before}"),
                        outcome => {
                            assert_eq!(outcome, Outcome::Nothing);
                            assert!(at >= before, "{at} after {before}");
                        }
                    },
                    Ok(Committed::Conflict { key }) => {
                        let expected = model.commit(&compares, &ops, 0);
                        assert_eq!(Ok(Outcome::Conflict(key)), expected);
                    }
                    Err(Error::LeaseNotFound(lease)) => {
                        assert_eq!(Err(lease), model.commit(&compares, &ops, 0));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Get(index) => {
                let expected = model.items.get(key(*index)).map(|(item, _)| item.clone());
                let (read, revision) = db.get_raw(key(*index)).await.unwrap();
                assert_eq!(read, expected);
                assert!(revision >= model.revision, "{revision}");
            }
            Step::Scan(prefix, after, limit) => {
                let after = after.map(key);
                let mut expected: Vec<_> = model
                    .items
                    .values()
                    .map(|(item, _)| item.clone())
                    .filter(|item| item.key.starts_with(prefix))
                    .filter(|item| after.is_none_or(|after| item.key.as_str() > after))
                    .collect();
                let more = expected.len() > *limit;
                expected.truncate(*limit);
                let scan = db.scan_raw(prefix, after, *limit).await.unwrap();
                assert_eq!(scan.items, expected);
                assert_eq!(scan.more, more);
                assert!(scan.revision >= model.revision, "{scan:?}");
            }
            Step::Watch(prefix, ago) => {
                let after = model.revision.saturating_sub(*ago).max(start);
                let mut watch = db.watch(prefix, after).await.unwrap();
                let wanted = |it: &&Change| it.revision > after && it.key.starts_with(prefix);
                let expected: Vec<Change> = model.log.iter().filter(wanted).cloned().collect();
                let mut told = Vec::new();
                while told.len() < expected.len() {
                    told.extend(next(&mut watch).await);
                }
                assert_eq!(told, expected);
            }
            Step::Grant => {
                let ttl = std::time::Duration::from_secs(3600);
                model
                    .leases
                    .push((db.lease_grant(ttl).await.unwrap(), true));
            }
            Step::Revoke(index) => {
                let lease = model.lease(*index);
                let lived = model.lives(lease);
                let revoked = db.lease_revoke(lease).await;
                assert_eq!(revoked.is_ok(), lived, "{revoked:?}");
                if lived {
                    // When it ended is told with the keys that it took, if there were any.
                    let ended = told_since(db, model.revision).await;
                    assert!(ended.len() <= 1, "{ended:?}");
                    let at = ended.first().map_or(0, |changes| changes[0].revision);
                    model.revoke(lease, at);
                }
            }
        }
        assert!(db.revision().await.unwrap() >= model.revision);
        assert_eq!(told_since(db, model.revision).await, [[]; 0]);
    }
}

pub(crate) async fn an_engine_behaves_like_the_model(factory: impl Factory) {
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config {
        cases: 64,
        source_file: Some(file!()),
        ..Config::default()
    });
    let result = tokio::task::block_in_place(|| {
        runner.run(&steps(), |steps| {
            runtime.block_on(async {
                let fresh = factory.fresh().await;
                run(&fresh.db, &steps).await;
            });
            Ok(())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
