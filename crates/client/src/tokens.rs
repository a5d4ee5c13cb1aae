//! The token of somebody who signed in, and how it is renewed.

use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use photon_api::iam::v1::{IssueTokenResponse, RefreshTokenRequest, RefreshTokenResponse};
use tokio::sync::Mutex;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use crate::channels::Channels;
use crate::error::Error;
use crate::policy::Policy;
use crate::session::Session;
use crate::token_file::{Kept, TokenFile};

/// A refresh token gets the same answer again for a minute, so that one that was lost is asked for again within half of it.
const RENEWAL: Policy = Policy {
    deadline: Duration::from_secs(10),
    tries: 1,
    pause: Duration::from_millis(150),
};
const TRIES: u32 = 3;

/// What a session has. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Arc<Shared>);

#[derive(Default)]
struct Shared {
    current: RwLock<Current>,
    keeping: Keeping,
    /// Of those who share this, one renews at a time.
    renewing: Mutex<()>,
}

#[derive(Clone, Default)]
struct Current {
    kept: Kept,
    /// As calls carry it.
    header: Option<MetadataValue<Ascii>>,
}

/// Who else renews it.
#[derive(Default)]
enum Keeping {
    /// Nobody, and neither does this.
    #[default]
    Never,
    /// Those who share this.
    Here,
    /// Those who share the file.
    File(TokenFile),
}

/// Puts the token, as it is then, into every call.
#[derive(Clone, Default)]
pub struct Bearer(Tokens);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = self.0.current().header {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

impl Kept {
    fn new(token: String, expires_at: i64, refresh_token: String) -> Self {
        let now = now();
        Self {
            token,
            expires_at,
            // While there is time to try again.
            renew_at: now + (expires_at - now).max(0) * 2 / 3,
            refresh_token,
        }
    }
}

impl From<&IssueTokenResponse> for Kept {
    fn from(answer: &IssueTokenResponse) -> Self {
        let expires_at = answer.expires_at.map_or(0, |time| time.seconds);
        Self::new(
            answer.token.clone(),
            expires_at,
            answer.refresh_token.clone(),
        )
    }
}

impl From<RefreshTokenResponse> for Kept {
    fn from(answer: RefreshTokenResponse) -> Self {
        let expires_at = answer.expires_at.map_or(0, |time| time.seconds);
        Self::new(answer.token, expires_at, answer.refresh_token)
    }
}

impl Current {
    fn of(kept: Kept) -> Result<Self, Error> {
        let mut header =
            MetadataValue::from_str(&format!("Bearer {}", kept.token)).map_err(|_| {
                Error::Settings("the token has characters that no token has: sign in anew".into())
            })?;
        header.set_sensitive(true);
        Ok(Self {
            kept,
            header: Some(header),
        })
    }
}

impl Tokens {
    /// What nobody renews beside those who share it; if it is of no session, nobody at all.
    pub fn here(kept: Kept) -> Result<Self, Error> {
        let keeping = match kept.refresh_token.is_empty() {
            true => Keeping::Never,
            false => Keeping::Here,
        };
        Self::with(kept, keeping)
    }

    /// What is kept in a file, where other programs may renew it too.
    pub fn in_file(kept: Kept, file: TokenFile) -> Result<Self, Error> {
        let keeping = match kept.refresh_token.is_empty() {
            true => Keeping::Never,
            false => Keeping::File(file),
        };
        Self::with(kept, keeping)
    }

    fn with(kept: Kept, keeping: Keeping) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            current: RwLock::new(Current::of(kept)?),
            keeping,
            renewing: Mutex::new(()),
        })))
    }

    pub fn bearer(&self) -> Bearer {
        Bearer(self.clone())
    }

    fn current(&self) -> Current {
        let current = self.0.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, kept: Kept) -> Result<(), Error> {
        let new = Current::of(kept)?;
        let mut current = self
            .0
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = new;
        Ok(())
    }

    pub fn token(&self) -> String {
        self.current().kept.token
    }

    /// In seconds since the epoch; 0: not known.
    pub fn expires_at(&self) -> i64 {
        self.current().kept.expires_at
    }

    /// Whether it is of a session.
    pub fn is_renewable(&self) -> bool {
        !matches!(self.0.keeping, Keeping::Never)
    }

    /// In how long it is to be renewed; none: never.
    pub fn due_in(&self) -> Option<Duration> {
        let left = self.current().kept.renew_at - now();
        let left = Duration::from_secs(u64::try_from(left).unwrap_or_default());
        self.is_renewable().then_some(left)
    }

    /// Gets a new token in the place of `old`, unless somebody has done so already. What has begun is finished even if nobody
    /// waits for it: an answer that is lost is a refresh token less.
    ///
    /// # Errors
    /// When the session has ended, or IAM cannot be reached.
    pub async fn renew(&self, channels: &Channels, old: &str) -> Result<(), Error> {
        let (tokens, channels, old) = (self.clone(), channels.clone(), old.to_owned());
        let renewing = tokio::spawn(async move { tokens.renew_now(&channels, &old).await });
        let stopped = |_| Err(Error::Settings("the program stops: try again".into()));
        renewing.await.unwrap_or_else(stopped)
    }

    /// Waits for a renewal that has begun.
    pub async fn settled(&self) {
        drop(self.0.renewing.lock().await);
    }

    async fn renew_now(&self, channels: &Channels, old: &str) -> Result<(), Error> {
        let _one = self.0.renewing.lock().await;
        match &self.0.keeping {
            Keeping::Never => Ok(()),
            Keeping::Here => {
                let current = self.current().kept;
                if current.token != old {
                    return Ok(());
                }
                self.set(refreshed(channels, &current.refresh_token).await?)
            }
            Keeping::File(file) => {
                let locked = file.lock().await?;
                let Some(kept) = locked.read()?.filter(|it| !it.refresh_token.is_empty()) else {
                    return Err(Error::Settings("signed out meanwhile: sign in anew".into()));
                };
                if kept.token != old {
                    return self.set(kept);
                }
                let new = refreshed(channels, &kept.refresh_token).await?;
                // It is good for this program even if it can't be kept for the next one.
                self.set(new.clone())?;
                locked.write(&new)
            }
        }
    }
}

async fn refreshed(channels: &Channels, refresh_token: &str) -> Result<Kept, Error> {
    let asking = Session::anonymous(channels).with_policy(RENEWAL);
    let mut number = 1;
    loop {
        let request = RefreshTokenRequest {
            refresh_token: refresh_token.to_owned(),
        };
        let error = match asking.once("iam", request).await {
            Ok(answer) => return Ok(answer.into()),
            Err(error) => error,
        };
        number += 1;
        let lost = error.is_passing() || error.code() == Some(Code::DeadlineExceeded);
        if !lost || number > TRIES {
            return Err(error);
        }
        tokio::time::sleep(RENEWAL.pause_before(number, error.retry_after())).await;
    }
}
