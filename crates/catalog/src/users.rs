//! Who uses a resource, so that it is not deleted under them.
//!
//! A user is added without reading the set, so that a thousand ports can be made at once; whoever judges the
//! set touches the key that every adder writes, and so loses to any of them.

use flaredb::{Record, Transaction};
use photon_resource::Error;
use serde::{Deserialize, Serialize};

use crate::record::Reference;
use crate::stored::Stored;

/// As many users as an error names.
const NAMED: usize = 3;

#[derive(Serialize, Deserialize)]
struct Added {}

impl Record for Added {
    const KIND: &'static str = "addition";
    const VERSION: u32 = 1;
}

/// The set of those who use one resource in one way.
pub struct Users {
    prefix: String,
    guard: String,
}

impl Users {
    /// Those whose references lie under `prefix`, which ends with `/`; `guard` is written with every addition.
    pub fn new(prefix: String, guard: String) -> Self {
        Self { prefix, guard }
    }

    /// Where the references lie.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Adds a user.
    pub fn add(&self, tx: &mut Transaction, id: impl std::fmt::Display) -> Result<(), Error> {
        tx.put(&format!("{}{id}", self.prefix), &Reference::to(id))?;
        tx.put(&self.guard, &Added {})?;
        Ok(())
    }

    /// Removes a user; nothing happens if it is none.
    pub fn remove(&self, tx: &mut Transaction, id: impl std::fmt::Display) {
        tx.delete(&format!("{}{id}", self.prefix));
    }

    /// Forgets the set with the resource itself.
    pub fn forget(&self, tx: &mut Transaction) {
        tx.delete(&self.guard);
    }

    /// All users, as their ids print, of which there may be any number; if the transaction commits, none was added
    /// meanwhile. That one was taken out is not noticed.
    pub async fn ids(&self, tx: &mut Transaction) -> Result<Vec<String>, Error> {
        tx.touch(&self.guard).await?;
        let entries: Vec<(String, Reference)> = tx.db().scan(&self.prefix).await?;
        Ok(entries.into_iter().map(|(_, entry)| entry.id).collect())
    }

    /// Whether nothing uses `used`, so that it may go.
    ///
    /// Errors: `InUse` naming the first users, which are of type `U`.
    pub async fn expect_none<U: Stored>(
        &self,
        tx: &mut Transaction,
        used: &impl Stored,
        plural: &str,
        remedy: &str,
    ) -> Result<(), Error> {
        let ids = self.ids(tx).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let mut names = Vec::new();
        for id in ids.iter().take(NAMED) {
            let user = U::read(tx, &id.parse()?).await?;
            // Deleted since the set was read, it has no name.
            let name = user.as_ref().and_then(|user| user.common().name);
            names.push(format!("'{}'", name.unwrap_or(id)));
        }
        let mut list = names.join(", ");
        if ids.len() > NAMED {
            list.push_str(&format!(" and {} more", ids.len() - NAMED));
        }
        Err(in_use(
            used,
            &format!("is in use by {plural} {list}: {remedy}"),
        ))
    }
}

/// That a resource is in use: `how` says by what, and what to do.
fn in_use<R: Stored>(used: &R, how: &str) -> Error {
    let (noun, id) = (R::KIND.noun, used.id().to_string());
    let name = used.common().name.unwrap_or(&id).to_owned();
    Error::in_use(noun, &id, format!("{noun} '{name}' {how}"))
}
