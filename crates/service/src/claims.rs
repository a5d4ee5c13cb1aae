//! What a token says on the wire, and its offline verification. IAM signs what is defined here; every server
//! verifies it with IAM's public keys (RFC 7519, RFC 8037).

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use photon_resource::{Claims, Impersonator, PrincipalKind};
use serde::{Deserialize, Serialize};

/// `iss` of every token.
pub const ISSUER: &str = "photoncloud-iam";
/// `aud` of every token.
pub const AUDIENCE: &str = "photoncloud";
/// How far the clocks of two hosts may differ, in seconds: a token works this much before `nbf` and after `exp`.
pub const LEEWAY_SECONDS: u64 = 5;
/// A token is a few hundred bytes; nothing longer is looked at.
const LONGEST_TOKEN: usize = 8192;

/// The claims of a token as they are signed. Times are in seconds since 1970 (RFC 7519, NumericDate).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaims {
    /// [`ISSUER`].
    pub iss: String,
    /// [`AUDIENCE`].
    pub aud: String,
    /// The principal's id.
    pub sub: String,
    /// The principal's name.
    pub name: String,
    /// What the principal is.
    pub kind: PrincipalKind,
    /// Who impersonates it (RFC 8693, section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<ActorClaim>,
    /// The organization that the token is for; empty: the system.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub org_id: String,
    /// The project that the token is for; empty: the whole organization.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project_id: String,
    /// For a node: its host's name; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// When it was issued.
    pub iat: u64,
    /// From when on it is valid; 0: from the beginning.
    #[serde(default)]
    pub nbf: u64,
    /// When it ends.
    pub exp: u64,
    /// Its own id.
    pub jti: String,
}

/// Who impersonates the token's principal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorClaim {
    /// The principal's id.
    pub sub: String,
    /// Its name; empty in tokens of the release before.
    #[serde(default)]
    pub name: String,
    /// Its token generation when the token was issued: IAM's own, to whom it says whether the right was revoked.
    #[serde(rename = "gen", default)]
    pub generation: u64,
}

impl TryFrom<ActorClaim> for Impersonator {
    type Error = photon_resource::Error;

    fn try_from(claim: ActorClaim) -> Result<Self, Self::Error> {
        Ok(Impersonator {
            id: claim.sub.parse()?,
            name: claim.name,
        })
    }
}

impl TryFrom<TokenClaims> for Claims {
    type Error = photon_resource::Error;

    fn try_from(claims: TokenClaims) -> Result<Self, Self::Error> {
        let some = |text: String| if text.is_empty() { None } else { Some(text) };
        Ok(Claims {
            principal_id: claims.sub.parse()?,
            principal_name: claims.name,
            kind: claims.kind,
            impersonator: claims.act.map(Impersonator::try_from).transpose()?,
            org_id: some(claims.org_id).map(|id| id.parse()).transpose()?,
            project_id: some(claims.project_id).map(|id| id.parse()).transpose()?,
            node: some(claims.node),
            token_id: claims.jti,
            expires_at: UNIX_EPOCH + Duration::from_secs(claims.exp),
        })
    }
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Signed with a key that is not known, or not any more: newer keys may have to be fetched.
    #[error("the token's key is not one of IAM's")]
    UnknownKey,
    /// Whatever else; the text is for the bearer.
    #[error("{0}")]
    Refused(&'static str),
}

/// The public keys that verify tokens, by key id.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: HashMap<String, (Algorithm, DecodingKey)>,
}

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517). Keys that are neither Ed25519 nor P-256, or have no `kid`, are
    /// left out: no token of theirs could be accepted.
    pub fn parse(jwks: &str) -> Result<Self, serde_json::Error> {
        let set: JwkSet = serde_json::from_str(jwks)?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let algorithm = match &jwk.algorithm {
                AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                    Algorithm::EdDSA
                }
                AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                    Algorithm::ES256
                }
                _ => return None,
            };
            let id = jwk.common.key_id.clone()?;
            Some((id, (algorithm, DecodingKey::from_jwk(jwk).ok()?)))
        });
        Ok(Self {
            keys: keys.collect(),
        })
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Verifies signature, algorithm, issuer, audience and times, and reads the claims. The algorithm is the
    /// key's own, never the one that the token asks for.
    pub fn verify(&self, token: &str) -> Result<Claims, Rejection> {
        self.read(token, true)
    }

    /// As [`verify`](Self::verify), of a token that may have ended: what it still proves is the caller's to know.
    pub fn verify_ended(&self, token: &str) -> Result<Claims, Rejection> {
        self.read(token, false)
    }

    fn read(&self, token: &str, until_end: bool) -> Result<Claims, Rejection> {
        use jsonwebtoken::errors::ErrorKind;

        const MALFORMED: Rejection = Rejection::Refused("the token is malformed");
        if token.len() > LONGEST_TOKEN {
            return Err(MALFORMED);
        }
        // `alg: none` is no algorithm to jsonwebtoken, so that such a header does not even parse.
        let header = jsonwebtoken::decode_header(token).map_err(|_| MALFORMED)?;
        let kid = header
            .kid
            .ok_or(Rejection::Refused("the token names no key"))?;
        let (algorithm, key) = self.keys.get(&kid).ok_or(Rejection::UnknownKey)?;
        let mut validation = Validation::new(*algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_exp = until_end;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let data =
            jsonwebtoken::decode::<TokenClaims>(token, key, &validation).map_err(|error| {
                Rejection::Refused(match error.kind() {
                    ErrorKind::ExpiredSignature => "the token has expired",
                    ErrorKind::ImmatureSignature => "the token is not valid yet",
                    ErrorKind::InvalidAudience => "the token is for another audience",
                    ErrorKind::InvalidIssuer => "the token has another issuer",
                    ErrorKind::InvalidAlgorithm => "the token's algorithm is not its key's",
                    ErrorKind::InvalidSignature => "the token's signature is wrong",
                    _ => "the token is malformed",
                })
            })?;
        data.claims.try_into().map_err(|_| MALFORMED)
    }
}

#[cfg(test)]
mod tests;
