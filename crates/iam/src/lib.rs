//! Identities, credentials, tokens, authorization.
//!
//! `server` converts and delegates, `app` holds the rules, `store` the records, `policy` the engine; `live` is what
//! decisions need in memory. See `docs/decisions/` for why it is so.

pub mod app;
pub mod convert;
mod credential;
mod holders;
mod live;
pub mod model;
pub mod policy;
mod server;
mod settings;
mod store;
mod token;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chainfire::Ledger;
use flaredb::Db;
use photon_api::components;
use photon_api::iam::v1::directory_service_server::DirectoryServiceServer;
use photon_api::iam::v1::iam_admin_service_server::IamAdminServiceServer;
use photon_api::iam::v1::iam_authz_service_server::IamAuthzServiceServer;
use photon_api::iam::v1::iam_token_service_server::IamTokenServiceServer;
use photon_api::iam::v1::session_service_server::SessionServiceServer;
use photon_api::quota::v1::quota_service_server::QuotaServiceServer;
use photon_catalog::Access;
use photon_catalog::quota::Quotas;
use photon_program::Component;
use photon_service::{Guard, Mutations, Services};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use settings::{Settings, TokenSettings};

/// IAM among the components.
pub const COMPONENT: Component = Component::server_of(&components::IAM);

/// How often the age of the signing key is looked at.
const KEY_CHECK: Duration = Duration::from_secs(3600);

/// Opens IAM's store, and what decisions need of it in memory, which follows the store until `shutdown`. What this
/// answers verifies tokens and authorizes, in process.
///
/// Errors: the store or the server key can't be opened; a setting can't be used.
pub async fn open(
    settings: &photon_program::Settings<Settings>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<app::Core>> {
    let (server, own) = (&settings.server, &settings.component);
    let dir = &server.state_dir;
    std::fs::create_dir_all(dir)
        .with_context(|| format!("the state directory {}", dir.display()))?;
    let db = Db::sqlite(&dir.join("flaredb.sqlite")).await?;
    let ledger = Ledger::new(db.clone(), COMPONENT.name);
    store::usage::recount(&db, &own.quantities()?).await?;

    // Secrets in the store are good for nothing without the key that they are sealed under.
    let sealed = !store::signing_key::signing_key_list(&db).await?.is_empty();
    let server_key = token::ServerKey::open(&dir.join("server-key"), !sealed)?;
    app::signing_key::ensure(&db, &server_key, own.signing_key_age()).await?;

    let live = live::Live::start(db.clone(), server_key, shutdown.clone()).await?;
    Ok(Arc::new(app::Core {
        mutations: Mutations::new(db.clone(), ledger.clone(), &server.limits),
        ledger,
        live,
        passwords: credential::Passwords::default(),
        password_attempts: credential::Slowdown::default(),
        key_attempts: credential::Slowdown::default(),
        failures: app::failures(),
        tokens: own.tokens(),
        lasting: own.sessions(),
        holders: holders::Holders::new(&own.holders()?, &server.endpoints)?,
        cluster: own.cluster.clone(),
        db,
    }))
}

/// Serves IAM at `listener` until `shutdown`.
///
/// Errors: the store or the server key can't be opened; a credential is not one.
pub async fn run(
    settings: photon_program::Settings<Settings>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let core = open(&settings, &shutdown).await?;
    let (server, own) = (&settings.server, &settings.component);
    let dir = &server.state_dir;
    let ledger = core.ledger.clone();
    let db = core.db.clone();
    let credentials = match &own.credentials_dir {
        Some(credentials) => Some((credentials.as_path(), own.node()?)),
        None => None,
    };
    app::bootstrap::ensure(&core, credentials, dir).await?;
    tokio::spawn(renew_signing_key(
        core.clone(),
        own.signing_key_age(),
        shutdown.clone(),
    ));

    tokio::spawn(app::session::sweep(core.clone(), shutdown.clone()));

    let guard = Guard::new(core.clone(), core.clone(), ledger.clone());
    let directory = server::directory::Directory::new(own);
    let access = Access::new(db.clone(), guard.clone(), core.mutations.clone());
    let quotas = Quotas::new(access, "iam", own.quantities()?);
    let iam = server::Server::new(guard.clone(), core, dir.clone());
    let services = Services::new(guard.verifier())
        .add(IamTokenServiceServer::new(iam.clone()))
        .add(IamAuthzServiceServer::new(iam.clone()))
        .add(SessionServiceServer::new(iam.clone()))
        .add(IamAdminServiceServer::new(iam))
        .add(DirectoryServiceServer::new(directory))
        .add(QuotaServiceServer::new(quotas))
        .events(guard, ledger);
    tokio::select! {
        served = photon_service::serve(server, COMPONENT, services, listener, shutdown) => served,
        // Every change would fail from now on: systemd starts the server anew.
        () = db.closed() => Err(anyhow::anyhow!("the store has failed")),
    }
}

/// Rotates the signing key when it is old.
async fn renew_signing_key(core: Arc<app::Core>, longest: Duration, shutdown: CancellationToken) {
    let mut timer = tokio::time::interval(KEY_CHECK);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = timer.tick() => {}
        }
        let renewed = app::signing_key::ensure(&core.db, core.live.server_key(), longest).await;
        if let Err(error) = renewed {
            tracing::error!(%error, "the age of the signing key can't be looked at");
        }
    }
}
