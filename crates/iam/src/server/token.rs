//! `IamTokenService`: tokens, keys, and the first operator.

use std::time::SystemTime;

use photon_api::iam::v1::iam_token_service_server::IamTokenService;
use photon_api::iam::v1::*;
use photon_resource::{Error, Scope};
use photon_service::{Guard, answer};
use tonic::{Request, Response, Status};

use super::{Server, principal};
use crate::app::issue::Stranger;
use crate::app::{authorization, bootstrap, sign_in, signing_key, token};
use crate::convert;

/// Where a call without a token comes from.
pub(super) fn stranger<T>(request: &Request<T>) -> Stranger {
    let (source, request_id) = Guard::origin(request);
    // The first is the client's own; those behind it lead up to the authority.
    let chain = request.peer_certs();
    let own = chain.as_ref().and_then(|chain| chain.first());
    Stranger {
        source,
        request_id,
        certificate: own.map(|certificate| certificate.to_vec()),
    }
}

#[tonic::async_trait]
impl IamTokenService for Server {
    async fn issue_token(
        &self,
        request: Request<IssueTokenRequest>,
    ) -> Result<Response<IssueTokenResponse>, Status> {
        answer(async {
            let from = stranger(&request);
            let credential = request.get_ref().credential.clone();
            match credential {
                Some(credential) => {
                    let credential = convert::credential(credential);
                    let agent = request.metadata().get("user-agent");
                    let agent = agent.and_then(|it| it.to_str().ok()).unwrap_or_default();
                    let agent = agent.to_owned();
                    let tokens = &self.core.tokens;
                    let asked = convert::sign_in(tokens, request.into_inner(), &agent)?;
                    let issued =
                        sign_in::with_credential(&self.core, &from, &asked, &credential).await?;
                    Ok(convert::issued(issued, &self.core.lasting))
                }
                None if request.metadata().get("authorization").is_none() => {
                    Err(Error::Unauthenticated(
                        "give a password, an api_key or a certificate, or a token whose bearer may impersonate".into(),
                    ))
                }
                None if request.get_ref().session.is_some() => Err(Error::invalid(
                    "session",
                    "(given)",
                    "none, because no password and no api_key is: whoever impersonates makes no credentials",
                )),
                None => {
                    let (caller, request) = self.open(request).await?;
                    let target = (request.principal_id.as_str(), request.org_id.as_str());
                    let action = "iam:principals:impersonate";
                    let principal = principal::reach(self, &caller, action, target).await?;
                    let wanted = convert::wanted(&self.core.tokens, &request)?;
                    let issued =
                        sign_in::by_impersonation(&self.core, &caller, principal, &wanted).await?;
                    Ok(convert::issued(issued, &self.core.lasting))
                }
            }
        })
        .await
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        answer(async {
            const ACTION: &str = "iam:tokens:revoke";
            let (caller, request) = self.open(request).await?;
            if !request.token.is_empty() && !request.principal_id.is_empty() {
                return Err(Error::invalid(
                    "principal_id",
                    &request.principal_id,
                    "none, because a token is given: one or the other",
                ));
            }
            if !request.principal_id.is_empty() {
                let target = (request.principal_id.as_str(), "tokens");
                let principal = principal::reach_other(self, &caller, ACTION, target, |it| {
                    (token::all_of(it), Vec::new())
                })
                .await?;
                let mutation = self.mutation(&caller, ACTION, "", &request)?;
                return token::revoke_all(&self.core, mutation, principal.id).await;
            }
            let claims = match request.token.as_str() {
                "" => Some(caller.claims.clone()),
                text => token::claims(&self.core, text)?,
            };
            let Some(claims) = claims else {
                return Ok(RevokeTokenResponse {});
            };
            if claims.principal_id != caller.claims.principal_id {
                self.guard
                    .authorize(&caller, ACTION, &token::name(&claims), &[])
                    .await?;
            }
            // Without the token itself: it is a secret.
            let hidden = RevokeTokenRequest::default();
            let mutation = self.mutation(&caller, ACTION, "", &hidden)?;
            token::revoke(&self.core, mutation, &claims).await
        })
        .await
    }

    async fn who_am_i(
        &self,
        request: Request<WhoAmIRequest>,
    ) -> Result<Response<WhoAmIResponse>, Status> {
        answer(async {
            let (caller, _) = self.open(request).await?;
            let (verified, known) = authorization::bearer(&self.core, &caller.token).await?;
            let claims = &verified.claims;
            let (scope, now) = (claims.scope(), SystemTime::now());
            let text = |part: Option<String>| part.unwrap_or_default();
            let counts = |bound: &Scope| bound.contains(&scope) || scope.contains(bound);
            Ok(WhoAmIResponse {
                principal: Some((&known.principal).into()),
                org_id: text(claims.org_id.as_ref().map(ToString::to_string)),
                project_id: text(claims.project_id.as_ref().map(ToString::to_string)),
                expires_at: Some(claims.expires_at.into()),
                impersonator_id: text(claims.impersonator.as_ref().map(|it| it.id.to_string())),
                session_id: text(verified.session.map(|it| it.to_string())),
                impersonator_name: text(claims.impersonator.as_ref().map(|it| it.name.clone())),
                bindings: known
                    .rights
                    .grants()
                    .iter()
                    .map(|grant| &grant.binding)
                    .filter(|binding| binding.active(now) && counts(&binding.scope))
                    .map(Into::into)
                    .collect(),
            })
        })
        .await
    }

    async fn get_jwks(
        &self,
        _: Request<GetJwksRequest>,
    ) -> Result<Response<GetJwksResponse>, Status> {
        answer(async {
            Ok(GetJwksResponse {
                jwks_json: self.core.live.keyring()?.jwks().to_owned(),
            })
        })
        .await
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        answer(async {
            const ACTION: &str = "iam:signingKeys:rotate";
            let (caller, request) = self.open(request).await?;
            let all = signing_key::name("*");
            self.guard.authorize(&caller, ACTION, &all, &[]).await?;
            let mutation = self.mutation(&caller, ACTION, "", &request)?;
            let answer = |id: &String| RotateSigningKeyResponse { key_id: id.clone() };
            signing_key::rotate(&self.core, mutation, request.revoke_old, answer).await
        })
        .await
    }

    async fn bootstrap(
        &self,
        request: Request<BootstrapRequest>,
    ) -> Result<Response<BootstrapResponse>, Status> {
        answer(async {
            let from = stranger(&request);
            let asked = convert::first_operator(request.into_inner());
            let operator =
                bootstrap::with_token(&self.core, &from, &self.state_dir, &asked).await?;
            Ok(BootstrapResponse {
                principal: Some((&operator).into()),
            })
        })
        .await
    }
}
