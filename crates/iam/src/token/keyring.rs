//! Signing keys in use: one signs, and it and the retired ones verify until their last token has ended.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use photon_resource::{ApiKeyId, Claims, PrincipalId, SessionId};
use photon_service::claims::{
    AUDIENCE, ActorClaim, ISSUER, KeySet, LEEWAY_SECONDS, Rejection, TokenClaims,
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};

use super::MAX_TTL;
use super::seal::{SealError, ServerKey, random_bytes};

/// An Ed25519 key (RFC 8032). Its secret is sealed for the record at `signing-key/{id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// `kid`.
    pub id: String,
    pub sealed_seed: Vec<u8>,
    pub created_at: SystemTime,
    /// Since when it signs no more; it still verifies what it signed.
    pub retired_at: Option<SystemTime>,
}

impl SigningKey {
    /// A new key.
    pub fn generate(server_key: &ServerKey, now: SystemTime) -> Result<Self, TokenError> {
        let seed = random_bytes::<32>().ok_or(TokenError::NoRandomness)?;
        let id = uuid::Uuid::new_v4().to_string();
        Ok(Self {
            sealed_seed: server_key.seal(&place(&id), &seed)?,
            id,
            created_at: now,
            retired_at: None,
        })
    }

    /// Whether a token that it signed can still be valid.
    pub fn in_use(&self, now: SystemTime) -> bool {
        let longest = MAX_TTL + Duration::from_secs(LEEWAY_SECONDS);
        self.retired_at
            .is_none_or(|retired| now < retired + longest)
    }
}

fn place(id: &str) -> String {
    format!("signing-key/{id}")
}

/// Why a token can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("a stored signing key is damaged")]
    Damaged,
    #[error("there is no signing key")]
    NoKey,
    #[error("the system gives no random numbers")]
    NoRandomness,
    #[error("the token can't be signed: {0}")]
    Unsigned(#[from] jsonwebtoken::errors::Error),
    #[error("the key set can't be written: {0}")]
    KeySet(#[from] serde_json::Error),
}

/// The claims that only IAM reads: they tie a token to what can be revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Private {
    /// The principal's token generation when it was issued.
    #[serde(rename = "gen")]
    generation: u64,
    /// The API key that it was issued for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<ApiKeyId>,
    /// The session that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    /// Who has the token: read here for its generation, and written with the claims that all read.
    #[serde(default, skip_serializing)]
    act: Option<ActorClaim>,
}

#[derive(Serialize)]
struct Signed<'a> {
    #[serde(flatten)]
    claims: &'a TokenClaims,
    #[serde(flatten)]
    private: &'a Private,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub claims: Claims,
    pub issued_at: SystemTime,
    pub generation: u64,
    pub api_key: Option<ApiKeyId>,
    pub session: Option<SessionId>,
    /// Who got the token by its right to impersonate: the principal and its token generation.
    pub actor: Option<(PrincipalId, u64)>,
}

/// What a token with a good signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub claims: Claims,
    pub generation: u64,
    pub api_key: Option<ApiKeyId>,
    pub session: Option<SessionId>,
    pub actor: Option<(PrincipalId, u64)>,
}

/// All keys that are in use.
pub struct Keyring {
    signing: Option<(String, EncodingKey)>,
    verifying: KeySet,
    jwks: String,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({})", self.jwks)
    }
}

impl Keyring {
    /// A ring of the keys that are in use at `now`; the newest one that is not retired signs.
    pub fn new(
        keys: &[SigningKey],
        server_key: &ServerKey,
        now: SystemTime,
    ) -> Result<Self, TokenError> {
        let mut in_use: Vec<&SigningKey> = keys.iter().filter(|key| key.in_use(now)).collect();
        in_use.sort_by_key(|key| (key.created_at, key.id.clone()));
        let mut signing = None;
        let mut entries = Vec::with_capacity(in_use.len());
        for key in &in_use {
            let seed = server_key.open_sealed(&place(&key.id), &key.sealed_seed)?;
            let pair =
                Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| TokenError::Damaged)?;
            // RFC 8037, section 2; RFC 7517, section 4.
            entries.push(serde_json::json!({
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": key.id,
                "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
            }));
            if key.retired_at.is_none() {
                signing = Some((key.id.clone(), EncodingKey::from_ed_der(&pkcs8(&seed))));
            }
        }
        let jwks = serde_json::json!({ "keys": entries }).to_string();
        Ok(Self {
            signing,
            // What is published is what verifies here, too.
            verifying: KeySet::parse(&jwks)?,
            jwks,
        })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Makes and signs a token.
    pub fn sign(&self, token: &NewToken) -> Result<String, TokenError> {
        let (kid, key) = self.signing.as_ref().ok_or(TokenError::NoKey)?;
        let seconds = |time: SystemTime| crate::store::to_ms(time) / 1000;
        let claims = &token.claims;
        let text = |part: Option<String>| part.unwrap_or_default();
        let wire = TokenClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: claims.principal_id.to_string(),
            name: claims.principal_name.clone(),
            kind: claims.kind,
            act: token.actor.map(|(id, generation)| ActorClaim {
                sub: id.to_string(),
                name: text(claims.impersonator.as_ref().map(|it| it.name.clone())),
                generation,
            }),
            org_id: text(claims.org_id.as_ref().map(ToString::to_string)),
            project_id: text(claims.project_id.as_ref().map(ToString::to_string)),
            node: text(claims.node.clone()),
            iat: seconds(token.issued_at),
            nbf: seconds(token.issued_at),
            exp: seconds(claims.expires_at),
            jti: claims.token_id.clone(),
        };
        let private = Private {
            generation: token.generation,
            key: token.api_key,
            sid: token.session,
            act: None,
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(kid.clone());
        let signed = Signed {
            claims: &wire,
            private: &private,
        };
        Ok(jsonwebtoken::encode(&header, &signed, key)?)
    }

    /// What a token says, if one of these keys signed it and it is valid now.
    pub fn verify(&self, token: &str) -> Result<Verified, Rejection> {
        Self::read(token, self.verifying.verify(token)?)
    }

    /// As [`verify`](Self::verify), of a token that may have ended.
    pub fn verify_ended(&self, token: &str) -> Result<Verified, Rejection> {
        Self::read(token, self.verifying.verify_ended(token)?)
    }

    fn read(token: &str, claims: Claims) -> Result<Verified, Rejection> {
        // The signature has just been verified; this only reads the claims that other servers ignore.
        let private: Private = jsonwebtoken::dangerous::insecure_decode_claims(token)
            .map_err(|_| Rejection::Refused("the token is malformed"))?;
        let actor = claims.impersonator.as_ref().zip(private.act);
        Ok(Verified {
            generation: private.generation,
            api_key: private.key,
            session: private.sid,
            actor: actor.map(|(who, claim)| (who.id, claim.generation)),
            claims,
        })
    }
}

/// The private key as PKCS #8 in version 1 (RFC 8410, section 7), which is all that signing needs.
fn pkcs8(seed: &[u8]) -> Vec<u8> {
    const PREFIX: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    [&PREFIX, seed].concat()
}

#[cfg(test)]
mod tests;
