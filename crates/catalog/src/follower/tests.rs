use std::time::Duration;

use async_trait::async_trait;
use flaredb::{Record, Transaction};
use photon_resource::{Kind, OrgId, ProjectId, VmId};
use serde::{Deserialize, Serialize};

use super::*;
use crate::feed::News;
use crate::quota::Uses;
use crate::record::Reference;
use crate::stored::{Common, put};

#[derive(Clone, Debug, PartialEq)]
struct Note {
    id: VmId,
    org: OrgId,
    project: ProjectId,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct NoteRecord {
    org: OrgId,
    project: ProjectId,
    text: String,
}

impl Record for NoteRecord {
    const KIND: &'static str = "note";
    const VERSION: u32 = 1;
}

impl From<&Note> for NoteRecord {
    fn from(note: &Note) -> Self {
        Self {
            org: note.org.clone(),
            project: note.project.clone(),
            text: note.text.clone(),
        }
    }
}

#[async_trait]
impl Stored for Note {
    type Id = VmId;
    type Record = NoteRecord;
    const TABLE: &'static str = "note";
    const KIND: Kind = Kind {
        service: "test",
        plural: "notes",
        noun: "note",
    };

    fn id(&self) -> VmId {
        self.id
    }

    fn scope(&self) -> Scope {
        Scope::Project(self.org.clone(), self.project.clone())
    }

    fn common(&self) -> Common<'_> {
        Common {
            name: None,
            owner: None,
            labels: None,
            revision: 1,
        }
    }

    fn uses(&self) -> Uses {
        Uses::new()
    }

    fn restore(id: VmId, record: NoteRecord) -> Result<Self, Error> {
        Ok(Self {
            id,
            org: record.org,
            project: record.project,
            text: record.text,
        })
    }
}

fn note(org: &str, text: &str) -> Note {
    Note {
        id: VmId::generate(),
        org: org.parse().unwrap(),
        project: "web".parse().unwrap(),
        text: text.to_owned(),
    }
}

async fn write(db: &Db, note: &Note) -> Revision {
    let mut tx = db.begin();
    put(&mut tx, note).unwrap();
    tx.put(&note.list_key(), &Reference::to(note.id)).unwrap();
    done(tx).await
}

async fn erase(db: &Db, note: &Note) -> Revision {
    let mut tx = db.begin();
    tx.delete(&Note::key(&note.id));
    tx.delete(&note.list_key());
    done(tx).await
}

async fn done(tx: Transaction) -> Revision {
    match tx.commit().await.unwrap() {
        flaredb::Committed::Done(revision) => revision,
        flaredb::Committed::Conflict { key } => panic!("a conflict about {key}"),
    }
}

fn acme() -> Scope {
    Scope::Org("acme".parse().unwrap())
}

async fn next(feed: &mut Feed<Note>) -> News<Note> {
    let next = tokio::time::timeout(Duration::from_secs(10), feed.next());
    next.await.expect("in time").unwrap().0
}

/// Nothing more is told, for all that has been written.
async fn expect_quiet(db: &Db, feed: &mut Feed<Note>) {
    let last = note("acme", "last");
    write(db, &last).await;
    assert_eq!(next(feed).await, News::Now(last));
}

#[tokio::test]
async fn all_feeds_of_a_table_hear_of_one_reader_and_each_what_is_its_own() {
    let db = Db::memory();
    let follower = Follower::<Note>::new(db.clone());
    let old = note("acme", "old");
    let since = write(&db, &old).await;
    let mut all = follower.feed(acme(), None).await.unwrap();
    let mut one = follower
        .feed(acme(), Some(since))
        .await
        .unwrap()
        .only(old.id);
    let mut others = follower
        .feed(Scope::Org("globex".parse().unwrap()), None)
        .await
        .unwrap();
    assert_eq!(next(&mut all).await, News::Now(old.clone()));
    assert_eq!(next(&mut all).await, News::Synced);
    assert_eq!(next(&mut others).await, News::Synced);

    let new = note("acme", "new");
    write(&db, &new).await;
    let changed = Note {
        text: "changed".into(),
        ..old.clone()
    };
    write(&db, &changed).await;
    let theirs = note("globex", "theirs");
    write(&db, &theirs).await;
    erase(&db, &old).await;
    for expected in [
        News::Now(new),
        News::Now(changed.clone()),
        News::Gone(old.id),
    ] {
        assert_eq!(next(&mut all).await, expected);
    }
    for expected in [News::Now(changed), News::Gone(old.id)] {
        assert_eq!(next(&mut one).await, expected);
    }
    assert_eq!(next(&mut others).await, News::Now(theirs));
    expect_quiet(&db, &mut all).await;
    let listeners = lock(&follower.running)
        .as_ref()
        .map(|it| it.told.receiver_count());
    assert_eq!(listeners, Some(3));
}

#[tokio::test]
async fn one_that_is_read_slowly_misses_nothing_and_keeps_nothing() {
    let db = Db::memory();
    let follower = Follower::<Note>::new(db.clone());
    let mut slow = follower.feed(acme(), None).await.unwrap();
    let mut quick = follower.feed(acme(), None).await.unwrap();
    assert_eq!(next(&mut slow).await, News::Synced);
    assert_eq!(next(&mut quick).await, News::Synced);
    let written: Vec<Note> = (0..4 * BEHIND)
        .map(|at| note("acme", &at.to_string()))
        .collect();
    for note in &written {
        write(&db, note).await;
        assert_eq!(next(&mut quick).await, News::Now(note.clone()));
    }
    for note in &written {
        assert_eq!(next(&mut slow).await, News::Now(note.clone()));
    }
    expect_quiet(&db, &mut slow).await;
}

#[tokio::test]
async fn one_that_begins_earlier_catches_up_and_hears_of_nothing_twice() {
    let db = Db::memory();
    let follower = Follower::<Note>::new(db.clone());
    let mut first = follower.feed(acme(), None).await.unwrap();
    assert_eq!(next(&mut first).await, News::Synced);
    let since = db.revision().await.unwrap();
    let missed = [note("acme", "one"), note("acme", "two")];
    for note in &missed {
        write(&db, note).await;
    }
    let mut late = follower.feed(acme(), Some(since)).await.unwrap();
    for note in &missed {
        assert_eq!(next(&mut late).await, News::Now(note.clone()));
    }
    expect_quiet(&db, &mut late).await;
    let refused = follower.feed(acme(), Some(since + 1_000)).await;
    assert!(matches!(refused.err(), Some(Error::FailedPrecondition(_))));
}

#[tokio::test]
async fn the_reader_ends_with_the_last_who_listens_and_begins_anew() {
    let db = Db::memory();
    let follower = Follower::<Note>::new(db.clone());
    drop(follower.feed(acme(), None).await.unwrap());
    let ended = async {
        while lock(&follower.running).is_some() {
            write(&db, &note("acme", "something")).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("in time");
    let since = db.revision().await.unwrap();
    let mut again = follower.feed(acme(), Some(since)).await.unwrap();
    expect_quiet(&db, &mut again).await;
}
