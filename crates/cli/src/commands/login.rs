//! Signing in and out.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use photon_api::iam::v1::{
    BootstrapRequest, EndSessionRequest, RevokeTokenRequest, RotateSigningKeyRequest, WhoAmIRequest,
};
use photon_client::{Credential, Kept, SignIn};

use super::size::parse_seconds;
use super::{present, read_secret};
use crate::context::{self, Config};
use crate::error::Failure;
use crate::noun::Desk;
use crate::output::tell;
use crate::session::{Connection, Session, channels};

/// How to sign in.
#[derive(Args)]
pub struct LoginArgs {
    /// Your name. Default: who signed in last in this context.
    name: Option<String>,
    /// File with your password, instead of asking for it; `-` is standard input.
    #[arg(long, conflicts_with = "api_key_file")]
    password_file: Option<PathBuf>,
    /// File with an API key, instead of a password; `-` is standard input.
    #[arg(long)]
    api_key_file: Option<PathBuf>,
    /// How long the token shall last, in seconds or with a unit: 1h. Default: as the server has it.
    #[arg(long, value_parser = parse_seconds, default_value = "0", hide_default_value = true, value_name = "TIME")]
    ttl: u32,
    /// Keep the token alone, which ends by itself, and nothing that renews it.
    #[arg(long)]
    no_session: bool,
    /// First sign-in of a new cloud: makes the operator NAME in exchange for the one-time token in this file.
    #[arg(long, conflicts_with = "api_key_file")]
    bootstrap_token_file: Option<PathBuf>,
}

/// Keys that sign tokens.
#[derive(Subcommand)]
pub enum SigningKeyCommand {
    /// Make a new key; the older ones verify until their tokens have expired.
    Rotate {
        /// Make all tokens of older keys useless at once. Everybody signs in anew.
        #[arg(long)]
        revoke_old: bool,
    },
}

/// `photon login`
pub async fn login(connection: &Connection, args: LoginArgs) -> Result<(), Failure> {
    let (name, mut context) = connection.resolve()?;
    let principal = args.name.or(context.principal.clone()).ok_or_else(|| {
        Failure::Local("who signs in? Give your name: `photon login NAME`".into())
    })?;
    let credential = match &args.api_key_file {
        Some(path) => Credential::ApiKey(read_secret(Some(path), "")?),
        None => Credential::Password(read_secret(
            args.password_file.as_deref(),
            &format!("Password of {principal}: "),
        )?),
    };
    context.learn().await?;
    let channels = channels(&context)?;
    if let Some(path) = &args.bootstrap_token_file {
        let Credential::Password(password) = &credential else {
            return Err(Failure::Local(
                "the first operator signs in with a password".into(),
            ));
        };
        let request = BootstrapRequest {
            one_time_token: read_secret(Some(path), "")?,
            name: principal.clone(),
            password: password.clone(),
        };
        photon_client::Session::anonymous(&channels)
            .call(request)
            .await?;
    }
    let who = SignIn {
        principal: principal.clone(),
        org: context.org.clone().unwrap_or_default(),
        project: context.project.clone().unwrap_or_default(),
        credential,
        ttl_seconds: args.ttl,
        session: !args.no_session,
    };
    let signed_in = photon_client::Session::sign_in(&channels, who).await;
    let (_, answer) = signed_in.map_err(|error| match Failure::from(error) {
        Failure::Service(refusal) => Failure::SignIn(refusal),
        other => other,
    })?;
    let file = context::token_file(&name)?;
    if let Some(before) = photon_client::Session::kept_in(&channels, &file)?
        && before.is_renewable()
    {
        // Nobody would know of it any more. If it can't be ended now, it ends when it is not used for a while.
        let hurried = photon_client::Policy {
            deadline: std::time::Duration::from_secs(5),
            ..photon_client::Policy::ONCE
        };
        let _ = before
            .with_policy(hurried)
            .call(EndSessionRequest::default())
            .await;
        before.settled().await;
    }
    file.lock().await?.write(&Kept::from(&answer))?;
    context.principal = Some(principal.clone());
    let mut config = Config::load()?;
    config.contexts.insert(name.clone(), context);
    if connection.context.is_none() {
        config.current.clone_from(&name);
    }
    config.save()?;
    let scope = match (answer.org_id.as_str(), answer.project_id.as_str()) {
        ("", _) => "the system".to_owned(),
        (org, "") => format!("organization {org}"),
        (org, project) => format!("project {project} of organization {org}"),
    };
    tell!("Signed in as {principal} for {scope} (context {name}).");
    Ok(())
}

/// `photon logout`
pub async fn logout(connection: &Connection) -> Result<(), Failure> {
    let session = Session::open(connection).await?;
    // What ends a session ends its tokens too.
    let ended = match session.is_renewable() {
        true => session.call(EndSessionRequest::default()).await.map(drop),
        false => session.call(RevokeTokenRequest::default()).await.map(drop),
    };
    session.settled().await;
    // Forgotten here in any case: that is what whoever leaves the desk wants.
    let file = context::token_file(&session.context_name)?;
    file.lock().await?.remove()?;
    match ended.map_err(Failure::from) {
        Err(failure) if failure.code() == Some(tonic::Code::Unauthenticated) => Ok(()),
        Err(Failure::Unreachable { .. }) => {
            tell!(
                "The token is forgotten here, but IAM can't be reached: it stays valid until it expires, and a session \
                 until it is not used for a while (`photon session end` ends it)."
            );
            Ok(())
        }
        other => other,
    }
}

/// `photon whoami`
pub async fn whoami(desk: &Desk<'_>) -> Result<(), Failure> {
    let answer = desk.call(WhoAmIRequest {}).await?;
    present(answer.principal.as_ref(), "principal")?;
    desk.output.message("iam.v1.WhoAmIResponse", &answer)
}

/// `photon signing-key`
pub async fn run_signing_key(command: SigningKeyCommand, desk: &Desk<'_>) -> Result<(), Failure> {
    let SigningKeyCommand::Rotate { revoke_old } = command;
    let request = RotateSigningKeyRequest { revoke_old };
    let answer = desk.call(request).await?;
    desk.output
        .message("iam.v1.RotateSigningKeyResponse", &answer)
}
