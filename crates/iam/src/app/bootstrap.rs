//! The first operator, and the identities of the cloud's own programs. Never with a default password.
//!
//! ```text
//!  iam-server bootstrap --credentials-dir DIR      makes the secrets, once, mode 0600
//!  systemd LoadCredential=                         gives iam-server all of them, each daemon its own
//!  iam-server at start                             makes the principals that they are of
//!  no operator-password there?                     a one-time token in the state directory, for Bootstrap
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flaredb::Transaction;
use photon_catalog::{Actor, Effect, commit_own, work};
use photon_program::components::{self, ProgramKind};
use photon_resource::{
    ApiKeyId, BindingId, Error, PrincipalId, PrincipalKind, ResourceName, Scope,
};

use super::issue::Stranger;
use super::{Core, now};
use crate::credential::{ApiSecret, validate_password};
use crate::model::{ApiKey, Binding, Principal, validate_principal_name};
use crate::store::{api_key, binding, bootstrap as store, principal};
use crate::token::{create_durably, random_bytes};

/// The operator that a credential makes.
const OPERATOR: &str = "operator";
const OPERATOR_PASSWORD: &str = "operator-password";
const ONE_TIME_TOKEN: &str = "bootstrap-token";
/// Where the changes of the program itself come from.
pub(super) const SERVER: &str = "iam-server";
/// Marks the keys that come from files, so that a new file replaces an old one's key.
const FROM_FILE: &str = "from the credentials directory";

/// A program of the cloud's own with an identity.
struct Program {
    name: &'static str,
    /// Whether there is one on each host.
    agent: bool,
    role: &'static str,
}

/// Those of the table that have one.
fn programs() -> impl Iterator<Item = Program> {
    components::programs().filter_map(|program| {
        Some(Program {
            name: program.name,
            agent: program.kind == ProgramKind::Agent,
            role: program.identity?,
        })
    })
}

impl Program {
    fn file(&self) -> String {
        format!("{}.key", self.name)
    }

    fn principal_name(&self, node: &str) -> String {
        match self.agent {
            true => format!("{}@{node}", self.name),
            false => self.name.to_owned(),
        }
    }
}

/// Makes the secrets that are not there yet: `operator-password` and `<program>.key`, of mode 0600. Answers the names
/// of those that it made.
pub fn make_credentials(dir: &Path) -> io::Result<Vec<String>> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let no_randomness = || io::Error::other("the system gives no random numbers");
    let mut made = Vec::new();
    let mut make = |name: String, secret: String| -> io::Result<()> {
        match create_durably(&dir.join(&name), secret.as_bytes()) {
            Ok(()) => made.push(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(())
    };
    let password = random_bytes::<24>().ok_or_else(no_randomness)?;
    make(
        OPERATOR_PASSWORD.to_owned(),
        URL_SAFE_NO_PAD.encode(password),
    )?;
    for program in programs() {
        let secret = ApiSecret::generate(ApiKeyId::generate()).ok_or_else(no_randomness)?;
        make(program.file(), secret.reveal())?;
    }
    Ok(made)
}

/// The content of a credential; `None`: it is not there, or empty.
fn read(dir: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        // A unit has a credential that is not on the host as an empty line (systemd.exec(5), SetCredential=).
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(anyhow::anyhow!(
            "the credential {}: {error}",
            path.display()
        )),
    }
}

/// Makes sure that the principals exist whose secrets are in `credentials` (a directory, and the name of the host
/// whose agents they are for), and that there is a way to the first
/// operator. Running it again changes nothing.
pub async fn ensure(
    core: &Core,
    credentials: Option<(&Path, String)>,
    state_dir: &Path,
) -> anyhow::Result<()> {
    let mut password = None;
    if let Some((dir, node)) = &credentials {
        password = read(dir, OPERATOR_PASSWORD)?;
        for program in programs() {
            if let Some(secret) = read(dir, &program.file())? {
                let secret: ApiSecret = secret.parse().map_err(|error| {
                    anyhow::anyhow!("the credential {}: {error}", program.file())
                })?;
                program_ensure(core, &program, node, &secret).await?;
            }
        }
    }
    let token_file = state_dir.join(ONE_TIME_TOKEN);
    if !store::bootstrap_done(&core.db).await?
        && let Some(password) = &password
    {
        validate_password(OPERATOR_PASSWORD, password)?;
        let from = Stranger {
            source: "credential".into(),
            request_id: String::new(),
            certificate: None,
        };
        operator_create(core, &from, OPERATOR, password).await?;
        tracing::info!(
            operator = OPERATOR,
            "made the first operator from its credential"
        );
    }
    if store::bootstrap_done(&core.db).await? {
        match fs::remove_file(&token_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => return Ok(()),
        }
    }
    if !token_file.exists() {
        let token = random_bytes::<32>()
            .ok_or_else(|| anyhow::anyhow!("the system gives no random numbers"))?;
        create_durably(&token_file, URL_SAFE_NO_PAD.encode(token).as_bytes())?;
    }
    tracing::warn!(
        file = %token_file.display(),
        "there is no operator yet: give the one-time token in this file to Bootstrap"
    );
    Ok(())
}

/// The principal of one of the cloud's programs, with its role and the key that is in its file.
async fn program_ensure(
    core: &Core,
    program: &Program,
    node: &str,
    secret: &ApiSecret,
) -> anyhow::Result<()> {
    let name = program.principal_name(node);
    validate_principal_name(&name)?;
    let state = (core, program, node, secret, name.as_str());
    let mut change = work(state, |(core, program, node, secret, name), tx| {
        Box::pin(program_ensured(core, program, node, secret, name, tx))
    });
    let actor = Actor {
        source: SERVER.to_owned(),
        ..Actor::server(&name)
    };
    let action = "iam:apiKeys:create";
    if commit_own(&core.db, &core.ledger, &actor, action, &mut change).await? {
        core.live.settled().await?;
        tracing::info!(
            principal = name,
            "took its API key from the credentials directory"
        );
    }
    Ok(())
}

/// Whether anything had to be done.
async fn program_ensured(
    core: &Core,
    program: &Program,
    node: &str,
    secret: &ApiSecret,
    name: &str,
    tx: &mut Transaction,
) -> Result<Effect<bool>, Error> {
    let id = match principal::principal_named(tx, None, name).await? {
        Some(id) => id,
        None => {
            let kind = match program.agent {
                true => PrincipalKind::Node,
                false => PrincipalKind::Service,
            };
            let made = new_principal(name, kind, program.agent.then(|| node.to_owned()));
            principal::principal_create(tx, &made)?;
            bind(tx, made.id, program.role)?;
            made.id
        }
    };
    tx.touch(&principal::credentials_guard(id)).await?;
    if let Some(stored) = api_key::api_key_get(tx, secret.key_id()).await?
        && stored.principal_id == id
        && secret.matches(&stored.secret_sha256)
    {
        return Ok(Effect::nothing(false));
    }
    for old in api_key::api_key_ids(&core.db, id).await? {
        if let Some(old) = api_key::api_key_get(tx, old).await?
            && old.description == FROM_FILE
        {
            api_key::api_key_delete(tx, &old, &Scope::System);
        }
    }
    let key = ApiKey {
        id: secret.key_id(),
        principal_id: id,
        description: FROM_FILE.to_owned(),
        secret_sha256: secret.sha256(),
        created_at: now(),
        expires_at: None,
        confined: None,
    };
    api_key::api_key_create(tx, &key, &Scope::System)?;
    let resource = ResourceName::new(Scope::System, "apiKeys", key.id);
    Ok(Effect::at(resource, api_key::key(key.id), true).by(id))
}

pub(super) fn new_principal(name: &str, kind: PrincipalKind, node: Option<String>) -> Principal {
    let created_at = now();
    Principal {
        id: PrincipalId::generate(),
        org_id: None,
        name: name.to_owned(),
        kind,
        description: String::new(),
        disabled: false,
        node,
        password_hash: None,
        token_generation: 0,
        created_at,
        updated_at: created_at,
        revision: 1,
    }
}

pub(super) fn bind(tx: &mut Transaction, principal: PrincipalId, role: &str) -> Result<(), Error> {
    let binding = Binding {
        id: BindingId::generate(),
        principal_id: principal,
        role_id: role.to_owned(),
        scope: Scope::System,
        created_at: now(),
        expires_at: None,
        revision: 1,
    };
    binding::binding_create(tx, &binding)
}

/// Makes the first operator. Errors: `FailedPrecondition` when there has been one.
async fn operator_create(
    core: &Core,
    from: &Stranger,
    name: &str,
    password: &str,
) -> Result<Principal, Error> {
    let operator = Principal {
        password_hash: Some(core.passwords.hash(password, &from.source).await?),
        ..new_principal(name, PrincipalKind::User, None)
    };
    let mut change = work(&operator, |operator, tx| {
        Box::pin(async move {
            if store::bootstrap_seen(tx).await? {
                return Err(done_before());
            }
            let name = operator.name.as_str();
            if principal::principal_named(tx, None, name).await?.is_some() {
                return Err(Error::already_exists("principal", name));
            }
            principal::principal_create(tx, operator)?;
            bind(tx, operator.id, "SystemAdmin")?;
            store::bootstrap_put(tx, operator.id)?;
            let resource = super::principal::name(operator);
            Ok(Effect::at(resource, principal::key(operator.id), ()).by(operator.id))
        })
    });
    let actor = Actor {
        name: name.to_owned(),
        source: from.source.clone(),
        request_id: from.request_id.clone(),
    };
    let action = "iam:principals:bootstrap";
    commit_own(&core.db, &core.ledger, &actor, action, &mut change).await?;
    core.live.settled().await?;
    Ok(operator)
}

fn done_before() -> Error {
    Error::FailedPrecondition("there is an operator already: sign in as one".into())
}

/// The first operator, as somebody with the one-time token asks for it.
pub struct FirstOperator {
    pub one_time_token: String,
    pub name: String,
    pub password: String,
}

/// The first operator in exchange for the one-time token.
pub async fn with_token(
    core: &Core,
    from: &Stranger,
    state_dir: &Path,
    asked: &FirstOperator,
) -> Result<Principal, Error> {
    if store::bootstrap_done(&core.db).await? {
        return Err(done_before());
    }
    let counted = format!("bootstrap/{}", from.source);
    let admitted = core.key_attempts.admit(&counted, "", Instant::now());
    let attempt = admitted.map_err(super::sign_in::slowed)?;
    let file: PathBuf = state_dir.join(ONE_TIME_TOKEN);
    let expected = tokio::fs::read_to_string(&file).await;
    let right = expected.is_ok_and(|expected| same(expected.trim(), asked.one_time_token.trim()));
    if !right {
        attempt.failed(Instant::now());
        return Err(Error::Unauthenticated(
            "the one-time token is not the one in iam-server's state directory".into(),
        ));
    }
    attempt.succeeded();
    validate_principal_name(&asked.name)?;
    validate_password("password", &asked.password)?;
    let operator = operator_create(core, from, &asked.name, &asked.password).await?;
    if let Err(error) = tokio::fs::remove_file(&file).await {
        // It is good for nothing any more, and the next start removes it.
        tracing::warn!(%error, file = %file.display(), "the used one-time token could not be removed");
    }
    Ok(operator)
}

/// Whether both are the same and not empty, by their digests, whose comparison tells nothing of the texts.
fn same(expected: &str, given: &str) -> bool {
    use sha2::{Digest, Sha256};
    !expected.is_empty() && Sha256::digest(expected) == Sha256::digest(given)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn credentials_are_made_once_and_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("credentials");
        let made = make_credentials(&dir).unwrap();
        assert_eq!(made.len(), 8);
        let content = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        let before: Vec<String> = made.iter().map(|name| content(name)).collect();
        for name in &made {
            assert_eq!(
                fs::metadata(dir.join(name)).unwrap().mode() & 0o7777,
                0o600,
                "{name}"
            );
        }
        fs::remove_file(dir.join("prismnet-agent.key")).unwrap();
        assert_eq!(make_credentials(&dir).unwrap(), ["prismnet-agent.key"]);
        assert_eq!(content(OPERATOR_PASSWORD), before[0]);
        validate_password("password", &before[0]).unwrap();
        before[1].parse::<ApiSecret>().unwrap();
    }

    #[test]
    fn an_empty_one_time_token_opens_nothing() {
        assert!(same("a", "a"));
        assert!(!same("", ""));
        assert!(!same("a", "b"));
    }
}
