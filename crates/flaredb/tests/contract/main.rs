//! What every engine must do, run over all of them.
//!
//! Each case is a function of a [`Db`] that is fresh; a new engine is one more line in `engines!`.

mod basics;

use flaredb::{Committed, Db, Revision};

/// Keeps what a store needs on disk for as long as the test runs.
pub struct Fresh {
    pub db: Db,
    _directory: Option<tempfile::TempDir>,
}

async fn memory() -> Fresh {
    Fresh {
        db: Db::memory(),
        _directory: None,
    }
}

async fn sqlite() -> Fresh {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flaredb.sqlite");
    Fresh {
        db: Db::sqlite(&path).await.unwrap(),
        _directory: Some(directory),
    }
}

/// The revision of a commit that must have happened.
pub fn done(committed: Committed) -> Revision {
    match committed {
        Committed::Done(revision) => revision,
        Committed::Conflict { key } => panic!("a conflict on {key}"),
    }
}

macro_rules! cases {
    ($engine:ident: $($module:ident :: $case:ident),* $(,)?) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let fresh = super::$engine().await;
                    super::$module::$case(fresh.db.clone()).await;
                }
            )*
        }
    };
}

macro_rules! engines {
    ($($engine:ident),*) => { $( cases! { $engine:
        basics::a_fresh_store_is_empty_at_revision_0,
        basics::a_put_is_read_back_with_its_revisions,
    } )* };
}

engines!(memory, sqlite);
