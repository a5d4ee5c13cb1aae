//! Passwords: argon2id, off the threads that serve calls.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use photon_resource::Error;
use photon_service::only_waits;
use photon_service::turns::Turns;

const MIN_CHARACTERS: usize = 12;
/// Longer ones would let a caller have us hash megabytes.
const MAX_BYTES: usize = 1024;
/// How many hashes are computed at once, in all and for one [`Queue`]: each takes 19 MiB and a core for some ten
/// milliseconds. Others wait for one of those who guess, not for all of them.
const AT_ONCE: usize = 2;
const AT_ONCE_OF_QUEUE: usize = 1;
/// How long one may wait for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who waits for a hash together: one at a time of each of these, round about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Those of one address.
    Source(String),
    /// Those of all addresses where passwords were wrong lately: whoever guesses from many is no more than one.
    Failed,
}

/// What an unknown principal's password is checked against, so that it takes as long as a known one's.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    let hash = Argon2::default().hash_password(b"nobody has this password");
    hash.map(|hash| hash.to_string()).unwrap_or_default()
});

/// Checks a new password: at least 12 characters. No rules of composition (NIST SP 800-63B, section 5.1.1.2).
pub fn validate_password(field: &str, password: &str) -> Result<(), Error> {
    let characters = password.chars().count();
    if characters < MIN_CHARACTERS || password.len() > MAX_BYTES {
        return Err(Error::invalid(
            field,
            format!("(hidden, {characters} characters)"),
            format!("at least {MIN_CHARACTERS} characters and at most {MAX_BYTES} bytes"),
        ));
    }
    Ok(())
}

/// Hashes and verifies passwords with argon2id (RFC 9106) and the parameters that OWASP's cheat sheet on password
/// storage names first: 19 MiB, two passes, one lane.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Turns<Queue>>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            turns: Turns::new(AT_ONCE, AT_ONCE_OF_QUEUE),
        }
    }
}

impl Passwords {
    /// The PHC string of a password, under a random salt, for somebody at `source`.
    pub async fn hash(&self, password: &str, source: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.run(Queue::Source(source.to_owned()), move || {
            let hash = Argon2::default().hash_password(password.as_bytes());
            hash.map(|hash| hash.to_string())
        })
        .await?
        .map_err(|error| Error::internal(error.to_string()))
    }

    /// Whether it is the password of `hash`; `None` (an unknown principal, or one without a password) takes as
    /// long and is never right.
    pub async fn verify(
        &self,
        password: &str,
        hash: Option<&str>,
        queue: Queue,
    ) -> Result<bool, Error> {
        if password.len() > MAX_BYTES {
            return Ok(false);
        }
        let known = hash.is_some();
        let hash = hash.unwrap_or(&NOBODY).to_owned();
        let password = password.to_owned();
        let right = self
            .run(queue, move || {
                PasswordHash::new(&hash).is_ok_and(|hash| {
                    Argon2::default()
                        .verify_password(password.as_bytes(), &hash)
                        .is_ok()
                })
            })
            .await?;
        Ok(right && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        queue: Queue,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        // Hashes have turns of their own: calls that wait here, such as guesses, would keep others from theirs, else.
        only_waits();
        let turn = Arc::clone(&self.turns).take(queue);
        let Ok(turn) = tokio::time::timeout(PATIENCE, turn).await else {
            return Err(Error::ResourceExhausted(
                "too many sign-ins at the same time: try again in 5 s".into(),
            ));
        };
        tokio::task::spawn_blocking(move || {
            // Held until the work is done, even if the caller has gone.
            let _turn = turn;
            work()
        })
        .await
        .map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_guesses_from_many_addresses_does_not_keep_others_waiting() {
        let passwords = Passwords::default();
        let mut guesses = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let passwords = passwords.clone();
            guesses.spawn(async move { passwords.verify("guess", None, Queue::Failed).await });
            tokio::task::yield_now().await;
        }
        passwords.hash("correct horse", "here").await.unwrap();
        let mut done = 0;
        while guesses.try_join_next().is_some() {
            done += 1;
        }
        assert!(done < 10, "it waited for {done} guesses");
    }

    #[tokio::test]
    async fn the_right_password_only() {
        let passwords = Passwords::default();
        let hash = passwords
            .hash("correct horse battery", "here")
            .await
            .unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            passwords
                .verify("correct horse battery", Some(&hash), Queue::Failed)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horse batter", Some(&hash), Queue::Failed)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horse battery", Some("damaged"), Queue::Failed)
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("nobody has this password", None, Queue::Failed)
                .await
                .unwrap()
        );
        assert_ne!(
            passwords
                .hash("correct horse battery", "here")
                .await
                .unwrap(),
            hash
        );
    }

    #[test]
    fn a_password_is_long_enough_and_never_repeated() {
        validate_password("password", "twelve chars").unwrap();
        let error = validate_password("password", "eleven char")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("at least 12") && !error.contains("eleven"),
            "{error}"
        );
        assert!(validate_password("password", &"x".repeat(1025)).is_err());
    }
}
