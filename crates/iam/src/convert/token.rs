use photon_api::iam::v1 as api;
use photon_api::iam::v1::issue_token_request;
use photon_resource::Error;

use crate::TokenSettings;
use crate::app::bootstrap::FirstOperator;
use crate::app::issue::{Issued, Wanted};
use crate::app::session::Lasting;
use crate::app::sign_in::{Credential, SignIn};

/// What a token shall be for.
///
/// Errors: `InvalidArgument`.
pub fn wanted(tokens: &TokenSettings, request: &api::IssueTokenRequest) -> Result<Wanted, Error> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ttl = tokens.ttl(request.ttl_seconds)?;
    Ok(Wanted {
        org: some(&request.org_id).map(|org| org.parse()).transpose()?,
        project: some(&request.project_id)
            .map(|project| project.parse())
            .transpose()?,
        ttl,
    })
}

/// Who signs in, and for what.
///
/// Errors: `InvalidArgument`.
pub fn sign_in(
    tokens: &TokenSettings,
    request: api::IssueTokenRequest,
    user_agent: &str,
) -> Result<SignIn, Error> {
    let session = request.session.clone();
    let session = session.map(|new| super::new_session(new, user_agent));
    Ok(SignIn {
        wanted: wanted(tokens, &request)?,
        principal: request.principal_id,
        session: session.transpose()?,
    })
}

/// By what.
pub fn credential(wire: issue_token_request::Credential) -> Credential {
    match wire {
        issue_token_request::Credential::Password(password) => Credential::Password(password),
        issue_token_request::Credential::ApiKey(secret) => Credential::ApiKey(secret),
        issue_token_request::Credential::Certificate(_) => Credential::Certificate,
    }
}

/// A token for whoever asked for it.
pub fn issued(issued: Issued, lasting: &Lasting) -> api::IssueTokenResponse {
    let going = issued.going.as_ref();
    let text = |part: Option<String>| part.unwrap_or_default();
    let scope = &issued.scope;
    api::IssueTokenResponse {
        org_id: text(scope.org().map(ToString::to_string)),
        project_id: text(scope.project().map(ToString::to_string)),
        refresh_token: text(going.map(|it| it.refresh_token.clone())),
        session: going.map(|it| super::session(&it.session, lasting)),
        token: issued.token,
        expires_at: Some(issued.expires_at.into()),
        principal_id: issued.principal_id.to_string(),
    }
}

/// The first operator, as it is asked for.
pub fn first_operator(request: api::BootstrapRequest) -> FirstOperator {
    FirstOperator {
        one_time_token: request.one_time_token,
        name: request.name,
        password: request.password,
    }
}
