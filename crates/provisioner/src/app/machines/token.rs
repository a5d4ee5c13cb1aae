//! Join tokens for hosts that cannot renew: how one comes back whose certificate ended while it was off, without being
//! wiped.

use std::time::Duration;

use async_trait::async_trait;
use flaredb::Transaction;
use photon_catalog::{Change, Effect, commit_secret, get};
use photon_resource::Error;
use photon_service::Mutation;
use sha2::{Digest, Sha256};

use super::Machines;
use crate::app::change::{now, put};
use crate::app::install::random_token;
use crate::model::{Event, Machine, MachineId};
use crate::store::{self, Token};

impl Machines {
    /// A join token for the host of a machine that is one. The one before, if there is one that nobody has used, is
    /// good for nothing any more. Only its SHA-256 is kept: not even a repeated call gets the token again, so that
    /// `answer` gets none for that.
    ///
    /// Errors: `FailedPrecondition` unless the machine is a host and its name is typed back.
    pub async fn issue_join_token<A: prost::Message + Default>(
        &self,
        mutation: Mutation,
        id: MachineId,
        typed: &str,
        answer: impl Fn(&Token, String) -> A,
    ) -> Result<A, Error> {
        let secret = random_token()?;
        let mut change = Invite {
            id,
            typed,
            digest: hex::encode(Sha256::digest(secret.as_bytes())),
            life: Duration::from_secs(u64::from(self.settings.token_minutes) * 60),
        };
        let both = |(_, token): &(Machine, Token)| {
            (answer(token, secret.clone()), answer(token, String::new()))
        };
        let (answer, changed) =
            commit_secret(self.access.db(), mutation, &mut change, both).await?;
        if let Some((machine, _)) = changed {
            tracing::info!(machine = %machine.id, name = machine.called(), "a join token was issued");
        }
        Ok(answer)
    }
}

struct Invite<'a> {
    id: MachineId,
    /// The machine's name, as the operator typed it back.
    typed: &'a str,
    /// SHA-256 of the token, in hex.
    digest: String,
    /// How long the token is good for.
    life: Duration,
}

#[async_trait]
impl Change for Invite<'_> {
    type Value = (Machine, Token);

    async fn apply(&mut self, tx: &mut Transaction) -> Result<Effect<(Machine, Token)>, Error> {
        let before: Machine = get(tx, &self.id).await?;
        let mut after = before.clone();
        let now = now();
        // Whether it could be done at all is told before how to confirm it.
        after.apply(Event::Invite, now)?;
        let (called, typed) = (before.called(), self.typed);
        if typed != called {
            return Err(Error::FailedPrecondition(format!(
                "whoever has the token can become the host '{called}': confirm it with the machine's name, '{called}', \
                 not '{typed}'"
            )));
        }
        if let Some(earlier) = &before.token {
            store::token_delete(tx, earlier);
        }
        let token = Token {
            machine: self.id,
            expires_at: now + self.life,
            used: None,
        };
        store::token_put(tx, &self.digest, &token)?;
        after.token = Some(self.digest.clone());
        after.updated_at = now;
        let effect = put(tx, Some(&before), after).await?;
        Ok(effect.map(|machine| (machine, token)))
    }
}
