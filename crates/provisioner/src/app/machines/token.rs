//! Join tokens for hosts that cannot renew: how one comes back whose certificate ended while it was off, without being
//! wiped.

use std::time::Duration;

use flaredb::Transaction;
use photon_api::provisioner::v1;
use photon_resource::{Caller, Error};
use sha2::{Digest, Sha256};

use super::Machines;
use crate::app::change::{ATTEMPTS, now};
use crate::app::install::random_token;
use crate::model::{Event, Machine, MachineId};
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
        const ACTION: &str = "provision:machines:issueToken";
        let id = self.find(caller, ACTION, &request.machine).await?.id;
        let mut mutation = self
            .mutations
            .start(caller, ACTION, &request.request_id, request)?;
        let secret = random_token()?;
        let digest = hex::encode(Sha256::digest(secret.as_bytes()));
        let mut doubts = ATTEMPTS;
        loop {
            let mut tx = self.db.begin();
            if let Some(earlier) = mutation.replay(&mut tx).await? {
                return Ok(earlier);
            }
            let invited = self
                .invite(&mut tx, id, &request.confirm_name, &digest)
                .await;
            let (before, after, token) = match invited {
                Ok(invited) => invited,
                // Refused, but only because of what it saw half of: another commit came between its reads.
                Err(_) if doubts > 0 && !tx.holds().await? => {
                    doubts -= 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let answer = |token_text: &str| v1::IssueJoinTokenResponse {
                token: token_text.to_owned(),
                expires_at: Some(token.expires_at.into()),
            };
            let bytes = (
                store::machine_bytes(&before)?,
                store::machine_bytes(&after)?,
            );
            let (name, kept) = (after.resource_name(), answer(""));
            let done = mutation.commit(
                tx,
                &name,
                Some(&bytes.0),
                Some(&bytes.1),
                "",
                answer(&secret),
                Some(&kept),
            );
            if let Some(response) = done.await? {
                tracing::info!(machine = %after.id, name = after.called(), "a join token was issued");
                return Ok(response);
            }
        }
    }

    /// Puts the token into `tx`; gives the machine before and after, and what is kept of the token.
    async fn invite(
        &self,
        tx: &mut Transaction,
        id: MachineId,
        typed: &str,
        digest: &str,
    ) -> Result<(Machine, Machine, Token), Error> {
        let before = store::machine_read(tx, id)
            .await?
            .ok_or_else(|| Error::not_found(Machine::NOUN, id))?;
        let mut after = before.clone();
        let now = now();
        // Whether it could be done at all is told before how to confirm it.
        after.apply(Event::Invite, now)?;
        let called = before.called();
        if typed != called {
            return Err(Error::FailedPrecondition(format!(
                "whoever has the token can become the host '{called}': confirm it with the machine's name, '{called}', \
                 not '{typed}'"
            )));
        }
        if let Some(earlier) = &before.token {
            store::token_delete(tx, earlier);
        }
        let life = Duration::from_secs(u64::from(self.settings.token_minutes) * 60);
        let token = Token {
            machine: id,
            expires_at: now + life,
            used: None,
        };
        store::token_put(tx, digest, &token)?;
        after.token = Some(digest.to_owned());
        after.updated_at = now;
        after.revision += 1;
        store::machine_put(tx, Some(&before), &after).await?;
        Ok((before, after, token))
    }
}
