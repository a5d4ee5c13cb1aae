use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;

use super::read::SqliteReader;
use super::{connect, schema};
use crate::local::Reader;
use crate::{
    Committed, Compare, Derive, Engine, Error, KeyValue, LeaseId, Op, Revision, SCHEMA_VERSION,
    Scan, Watch,
};

/// A store that is only looked at.
pub(crate) struct ReadOnly {
    path: PathBuf,
    reader: SqliteReader,
    schema: u32,
}

impl ReadOnly {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let schema = schema::found(path, &connect(path)?)?;
        crate::schema::check(path, schema, SCHEMA_VERSION)?;
        Ok(Self {
            path: path.to_owned(),
            reader: SqliteReader::new(path),
            schema,
        })
    }

    fn refuse<T>(&self) -> Result<T, Error> {
        Err(Error::ReadOnly {
            path: self.path.clone(),
        })
    }
}

#[async_trait]
impl Engine for ReadOnly {
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), Error> {
        self.reader.get(key).await
    }

    async fn get_many(&self, keys: &[String]) -> Result<(Vec<Option<KeyValue>>, Revision), Error> {
        self.reader.get_many(keys).await
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Scan, Error> {
        self.reader.scan(prefix, after, limit).await
    }

    async fn commit_derived(
        &self,
        _: Vec<Compare>,
        _: Vec<Op>,
        _: Vec<Derive>,
    ) -> Result<Committed, Error> {
        self.refuse()
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.reader.revision().await
    }

    async fn watch(&self, _: &str, _: Revision) -> Result<Watch, Error> {
        self.refuse()
    }

    async fn lease_grant(&self, _: Duration) -> Result<LeaseId, Error> {
        self.refuse()
    }

    async fn lease_keep_alive(&self, _: LeaseId) -> Result<(), Error> {
        self.refuse()
    }

    async fn lease_revoke(&self, _: LeaseId) -> Result<(), Error> {
        self.refuse()
    }

    async fn compact_for_test(&self, _: Revision) -> Result<(), Error> {
        self.refuse()
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    /// There is nothing that could fail for good.
    async fn closed(&self) {
        std::future::pending().await
    }
}
