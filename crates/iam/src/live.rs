//! What IAM keeps in memory of its store, so that a decision needs no disk: signing keys, revoked tokens, the
//! compiled rights of principals, and which organizations and projects there are.
//!
//! One task watches the store and drops what a commit changed; it is the only one that does. A change is
//! answered after the watch has passed it ([`Live::settled`]), so that whoever was told that a binding is gone
//! meets no decision from before. When the watch is lost nothing that is cached is used until it is back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use flaredb::{Change, Db, Followed, WatchItem};
use photon_resource::{ApiKeyId, Error, PrincipalId, Scope, SessionId};
use photon_service::claims::Rejection;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::model::{Binding, Principal};
use crate::policy::{Grant, Rights, built_in};
use crate::store;
use crate::token::{Keyring, ServerKey, Verified};

/// Verified tokens, principals and scopes that are remembered, each; beyond that all are forgotten and read anew.
const REMEMBERED: usize = 5_000;
/// How long a change waits for the watch. It has happened then in any case.
const SETTLE: Duration = Duration::from_secs(5);
/// Why a token is refused whose end has come, as [`photon_service::claims`] has it too.
pub const EXPIRED: &str = "the token has expired";
/// The pause before a lost watch is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// A principal as decisions need it.
pub struct Known {
    pub principal: Principal,
    pub rights: Rights,
    /// Its API keys: a token that was issued for another one is for a deleted one.
    pub api_keys: HashSet<ApiKeyId>,
    /// Its sessions, and when each ends however it is used.
    pub sessions: HashMap<SessionId, SystemTime>,
}

#[derive(Default)]
struct Cache {
    /// Whether the watch is there. If not, nothing here is used.
    following: bool,
    /// Grows whenever something is dropped: what was read before must not be remembered after.
    generation: u64,
    principals: HashMap<PrincipalId, Option<Arc<Known>>>,
    scopes: HashMap<Scope, bool>,
    revoked: HashSet<String>,
    keyring: Option<Arc<Keyring>>,
    verified: HashMap<[u8; 32], Arc<Verified>>,
}

/// See the module.
pub struct Live {
    db: Db,
    server_key: ServerKey,
    cache: RwLock<Cache>,
    followed: Followed,
}

impl Live {
    /// Reads what must be in memory, and follows the store until `shutdown`.
    pub async fn start(
        db: Db,
        server_key: ServerKey,
        shutdown: CancellationToken,
    ) -> Result<Arc<Self>, Error> {
        let live = Arc::new(Self {
            db,
            server_key,
            cache: RwLock::default(),
            followed: Followed::default(),
        });
        let changes = live.resync().await?;
        tokio::spawn({
            let live = live.clone();
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = live.follow(changes) => {}
                }
            }
        });
        Ok(live)
    }

    /// Under which secrets are sealed.
    pub fn server_key(&self) -> &ServerKey {
        &self.server_key
    }

    async fn follow(&self, mut changes: flaredb::Watch) {
        loop {
            match changes.next_item().await {
                Some(Ok(item)) => match self.take(&item).await {
                    Ok(()) => {
                        self.followed.reached(item.revision());
                        continue;
                    }
                    Err(error) => {
                        tracing::error!(%error, "a change of the store can't be followed");
                    }
                },
                Some(Err(error)) => tracing::warn!(%error, "the watch of the store ended"),
                None => tracing::warn!("the store was closed"),
            }
            self.write().following = false;
            changes = loop {
                tokio::time::sleep(RETRY).await;
                match self.resync().await {
                    Ok(changes) => break changes,
                    Err(error) => tracing::error!(%error, "the store can't be read"),
                }
            };
        }
    }

    /// Forgets everything, watches from now on, and reads what must be in memory as it is from then on.
    async fn resync(&self) -> Result<flaredb::Watch, Error> {
        let revision = self.db.revision().await?;
        let changes = self.db.watch("", revision).await?;
        let revoked = store::revoked_token::revoked_token_list(&self.db).await?;
        let keyring = self.load_keyring().await?;
        let mut cache = self.write();
        *cache = Cache {
            following: true,
            generation: cache.generation + 1,
            revoked: revoked.into_iter().collect(),
            keyring: Some(Arc::new(keyring)),
            ..Cache::default()
        };
        drop(cache);
        self.followed.reached(revision);
        Ok(changes)
    }

    async fn load_keyring(&self) -> Result<Keyring, Error> {
        let keys = store::signing_key::signing_key_list(&self.db).await?;
        Keyring::new(&keys, &self.server_key, SystemTime::now()).map_err(Error::internal)
    }

    async fn take(&self, item: &WatchItem) -> Result<(), Error> {
        match item {
            WatchItem::Commit(changes) => self.apply(changes).await,
            WatchItem::Progress(_) => Ok(()),
        }
    }

    /// Drops what a commit changed.
    async fn apply(&self, commit: &[Change]) -> Result<(), Error> {
        let keys_changed = commit
            .iter()
            .any(|change| change.key.starts_with(store::signing_key::PREFIX));
        let keyring = match keys_changed {
            true => Some(Arc::new(self.load_keyring().await?)),
            false => None,
        };
        let mut cache = self.write();
        if let Some(keyring) = keyring {
            cache.keyring = Some(keyring);
            cache.verified.clear();
        }
        for change in commit {
            cache.drop_changed(change);
        }
        Ok(())
    }

    /// Waits until everything that is committed now has been followed.
    pub async fn settled(&self) -> Result<(), Error> {
        match tokio::time::timeout(SETTLE, self.followed.settled(&self.db)).await {
            Ok(settled) => settled.map(drop),
            Err(_) => Err(Error::Unavailable(
                "the change is stored, but IAM can't follow its store: it takes effect later"
                    .into(),
            )),
        }
    }

    /// The signing keys.
    pub fn keyring(&self) -> Result<Arc<Keyring>, Error> {
        let cache = self.read();
        match &cache.keyring {
            Some(keyring) if cache.following => Ok(keyring.clone()),
            _ => Err(Error::Unavailable(
                "IAM can't follow its store: try again".into(),
            )),
        }
    }

    /// What a token says, if its signature, times, issuer and audience are right and it has not been revoked by
    /// itself.
    pub fn verified(&self, token: &str) -> Result<Arc<Verified>, Error> {
        let refused = |reason: &str| Error::Unauthenticated(reason.to_owned());
        let keyring = self.keyring()?;
        let digest: [u8; 32] = Sha256::digest(token).into();
        let remembered = self.read().verified.get(&digest).cloned();
        let verified = match remembered {
            Some(verified) => verified,
            None => {
                let verified =
                    Arc::new(keyring.verify(token).map_err(|rejection| match rejection {
                        Rejection::UnknownKey => refused("the token's key is not one of IAM's"),
                        Rejection::Refused(reason) => refused(reason),
                    })?);
                let mut cache = self.write();
                // Not if the keys have changed meanwhile.
                if cache
                    .keyring
                    .as_ref()
                    .is_some_and(|now| Arc::ptr_eq(now, &keyring))
                {
                    if cache.verified.len() >= REMEMBERED {
                        cache.verified.clear();
                    }
                    cache.verified.insert(digest, verified.clone());
                }
                verified
            }
        };
        // A remembered token has aged.
        if verified.claims.expires_at <= SystemTime::now() {
            return Err(refused(EXPIRED));
        }
        if self.read().revoked.contains(&verified.claims.token_id) {
            return Err(refused("the token has been revoked"));
        }
        Ok(verified)
    }

    /// As [`verified`](Self::verified), of a token that may have ended: it proves nothing by itself any more.
    pub fn verified_ended(&self, token: &str) -> Result<Arc<Verified>, Error> {
        let keyring = self.keyring()?;
        let verified = keyring
            .verify_ended(token)
            .map_err(|rejection| Error::Unauthenticated(rejection.to_string()))?;
        if self.read().revoked.contains(&verified.claims.token_id) {
            return Err(Error::Unauthenticated("the token has been revoked".into()));
        }
        Ok(Arc::new(verified))
    }

    /// The principal with its compiled rights; `None`: there is none.
    pub async fn known(&self, id: PrincipalId) -> Result<Option<Arc<Known>>, Error> {
        let generation = {
            let cache = self.read();
            if cache.following
                && let Some(known) = cache.principals.get(&id)
            {
                return Ok(known.clone());
            }
            cache.generation
        };
        let known = self.load(id).await?.map(Arc::new);
        let mut cache = self.write();
        if cache.following && cache.generation == generation {
            if cache.principals.len() >= REMEMBERED {
                cache.principals.clear();
            }
            cache.principals.insert(id, known.clone());
        }
        Ok(known)
    }

    async fn load(&self, id: PrincipalId) -> Result<Option<Known>, Error> {
        let Some(principal) = store::principal::principal_find(&self.db, id).await? else {
            return Ok(None);
        };
        let api_keys = store::api_key::api_key_ids(&self.db, id).await?;
        let sessions = store::session::session_ends(&self.db, id).await?;
        let mut grants = Vec::new();
        for binding in store::binding::binding_list_of(&self.db, id).await? {
            grants.push(self.grant(binding).await?);
        }
        // Long conditions take a while, in which no other call must have to wait.
        let (principal, rights) = tokio::task::spawn_blocking(move || {
            let rights = Rights::compile(&principal, grants);
            (principal, rights)
        })
        .await
        .map_err(Error::internal)?;
        Ok(Some(Known {
            rights,
            principal,
            api_keys: api_keys.into_iter().collect(),
            sessions: sessions.into_iter().collect(),
        }))
    }

    /// A binding with its role's permissions: none if the role can't be read.
    async fn grant(&self, binding: Binding) -> Result<Grant, Error> {
        let role = match built_in(&binding.role_id) {
            Some(role) => Some(Ok(role.clone())),
            None => store::role::role_read(&self.db, &binding.role_id).await?,
        };
        let (role_name, permissions) = match role {
            Some(Ok(role)) => (role.name, role.permissions),
            None => (binding.role_id.clone(), Vec::new()),
            Some(Err(error)) => {
                let cause = std::error::Error::source(&error);
                tracing::error!(
                    role = binding.role_id,
                    cause,
                    "a role can't be read and permits nothing"
                );
                (binding.role_id.clone(), Vec::new())
            }
        };
        Ok(Grant {
            binding,
            role_name,
            permissions,
        })
    }

    /// Whether there is such an organization or project.
    pub async fn exists(&self, scope: &Scope) -> Result<bool, Error> {
        let generation = {
            let cache = self.read();
            if cache.following
                && let Some(exists) = cache.scopes.get(scope)
            {
                return Ok(*exists);
            }
            cache.generation
        };
        let exists = match scope {
            Scope::System => true,
            Scope::Org(org) => store::organization::organization_find(&self.db, org)
                .await?
                .is_some(),
            Scope::Project(org, project) => store::project::project_find(&self.db, org, project)
                .await?
                .is_some(),
        };
        let mut cache = self.write();
        if cache.following && cache.generation == generation {
            if cache.scopes.len() >= REMEMBERED {
                cache.scopes.clear();
            }
            cache.scopes.insert(scope.clone(), exists);
        }
        Ok(exists)
    }

    fn read(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Cache {
    fn drop_changed(&mut self, change: &Change) {
        let key = change.key.as_str();
        if let Some(token) = key.strip_prefix(store::revoked_token::PREFIX) {
            match change.value {
                Some(_) => self.revoked.insert(token.to_owned()),
                None => self.revoked.remove(token),
            };
        } else if let Some(principal) = principal_of(key) {
            self.generation += 1;
            match principal.parse() {
                Ok(id) => drop(self.principals.remove(&id)),
                Err(_) => self.principals.clear(),
            }
        } else if let Some(role) = key.strip_prefix(store::role::PREFIX) {
            self.generation += 1;
            // Of those who have it: what one tenant does to its roles is no work for the others.
            let has = |known: &Arc<Known>| {
                let mut grants = known.rights.grants().iter();
                grants.any(|grant| grant.binding.role_id == role)
            };
            self.principals
                .retain(|_, known| !known.as_ref().is_some_and(has));
        } else if key.starts_with(store::organization::PREFIX)
            || key.starts_with(store::project::PREFIX)
        {
            self.generation += 1;
            self.scopes.clear();
        }
    }
}

/// The principal whose rights depend on a key.
fn principal_of(key: &str) -> Option<&str> {
    if let Some(id) = key.strip_prefix(store::principal::PREFIX) {
        return Some(id);
    }
    [
        store::binding::OF_PREFIX,
        store::api_key::OF_PREFIX,
        store::session::OF_PREFIX,
    ]
    .into_iter()
    .find_map(|prefix| key.strip_prefix(prefix))
    .map(|rest| rest.split('/').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests;
