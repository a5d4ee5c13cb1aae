//! Join tokens for hosts that cannot renew: how one comes back whose certificate ended while it was off, without being
//! wiped.

use std::time::Duration;

use async_trait::async_trait;
use flaredb::Transaction;
use photon_api::provisioner::v1;
use photon_catalog::{Change, Effect, commit_secret, get};
use photon_resource::{Caller, Error};
use sha2::{Digest, Sha256};

use super::Machines;
use crate::app::change::{now, put};
use crate::app::install::random_token;
use crate::model::{Event, MACHINES, Machine, MachineId};
use crate::store::{self, Token};

impl Machines {
    /// A join token for the host of a machine that is one. The one before, if there is one that nobody has used, is
    /// good for nothing any more. Only its SHA-256 is kept: not even a repeated call gets the token again.
    ///
    /// Errors: `FailedPrecondition` unless the machine is a host and its name is typed back.
    pub async fn issue_join_token(
        &self,
        caller: &Caller,
        request: &v1::IssueJoinTokenRequest,
    ) -> Result<v1::IssueJoinTokenResponse, Error> {
        let id = self.find(caller, "issueToken", &request.machine).await?.id;
        let action = MACHINES.action("issueToken");
        let mutation = self
            .access
            .mutation(caller, &action, &request.request_id, request)?;
        let secret = random_token()?;
        let mut change = Invite {
            id,
            typed: &request.confirm_name,
            digest: hex::encode(Sha256::digest(secret.as_bytes())),
            life: Duration::from_secs(u64::from(self.settings.token_minutes) * 60),
        };
        let answer = |(_, token): &(Machine, Token)| {
            let kept = v1::IssueJoinTokenResponse {
                token: String::new(),
                expires_at: Some(token.expires_at.into()),
            };
            let response = v1::IssueJoinTokenResponse {
                token: secret.clone(),
                ..kept.clone()
            };
            (response, kept)
        };
        let (answer, changed) =
            commit_secret(self.access.db(), mutation, &mut change, answer).await?;
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
