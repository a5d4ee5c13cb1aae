use photon_api::iam::v1 as api;
use photon_resource::Error;

use crate::app::issue::Issued;
use crate::app::refresh::NewSession;
use crate::app::session::Lasting;
use crate::model::{Session, client_of};

/// A session that a sign-in asks for; `user_agent` is what its client's calls say.
///
/// Errors: `InvalidArgument`.
pub fn new_session(wire: api::NewSession, user_agent: &str) -> Result<NewSession, Error> {
    match wire.client.as_str() {
        "" => NewSession::new(client_of(user_agent)),
        _ => NewSession::new(wire.client),
    }
}

/// As it is told, with when it ends.
pub fn session(session: &Session, lasting: &Lasting) -> api::Session {
    let text = |part: Option<String>| part.unwrap_or_default();
    api::Session {
        id: session.id.to_string(),
        principal_id: session.principal_id.to_string(),
        org_id: text(session.org_id.as_ref().map(ToString::to_string)),
        project_id: text(session.project_id.as_ref().map(ToString::to_string)),
        api_key_id: text(session.api_key.as_ref().map(ToString::to_string)),
        created_at: Some(session.created_at.into()),
        last_used_at: Some(session.last_used_at.into()),
        idle_at: Some(lasting.ends(session).into()),
        expires_at: Some(session.ends_at.into()),
        source: session.source.clone(),
        client: session.client.clone(),
    }
}

/// A token that a session got.
pub fn refreshed(issued: Issued, lasting: &Lasting) -> api::RefreshTokenResponse {
    let going = issued.going.as_ref();
    api::RefreshTokenResponse {
        token: issued.token,
        expires_at: Some(issued.expires_at.into()),
        refresh_token: going.map(|it| it.refresh_token.clone()).unwrap_or_default(),
        session: going.map(|it| session(&it.session, lasting)),
    }
}
