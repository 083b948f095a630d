//! Issuer: one whose access tokens are believed, and the checks that a token has to pass (RFC 8725, RFC 9068).

mod claims;
pub mod discovery;
pub mod jwks;
pub mod jwks_cache;
mod token;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::Algorithm;

use crate::domain::caller::{Caller, Credential};
use crate::service::auth::{AuthError, VerifiedToken};
use claims::Claims;
use discovery::Endpoints;
use jwks_cache::JwksCache;
pub use token::UnverifiedToken;

/// The longest `iss` and `sub` that can own a key; OpenID Connect Core, section 2, allows a `sub` of 255.
const MAX_NAME: usize = 255;

#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// What `iss` has to be, to the byte: RFC 3986 makes some spellings of a URL equal, RFC 7519 makes none.
    pub issuer: String,
    /// Who we are to this issuer: `aud` has to name it.
    pub audience: String,
    /// Never one whose secret both sides would hold.
    pub algorithms: Vec<Algorithm>,
    pub token_type: TokenType,
    /// The claim, or the path to it, that holds the scopes; `scope`, else `scp`, when nothing is said.
    pub scopes: Option<String>,
    /// The claim, or the path to it, that holds the organisation.
    pub organization: Option<String>,
    /// By how much the issuer's clock and ours may differ.
    pub leeway: TimeDelta,
    pub keys: Arc<JwksCache>,
    /// As whom the page of the API signs its readers in.
    pub client: Option<Client>,
}

/// How an access token is told from the issuer's other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// By the `typ` that RFC 9068 gives it.
    Strict,
    /// For issuers that write `JWT` or nothing: by the absence of what only an ID token, or a logout token, has.
    Lenient,
}

/// An OAuth client that signs users in by authorization code with PKCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub scopes: Vec<String>,
    /// What the issuer wants to be asked beside, such as `audience` or `resource`.
    pub query: Vec<(String, String)>,
}

/// How a browser signs its user in.
pub struct Login<'s> {
    pub client: &'s Client,
    pub endpoints: Endpoints,
}

/// Whether a subject or an organisation can own a key.
pub fn is_valid_identifier(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.contains(char::is_control)
}

/// The algorithm of this name, unless a secret that both sides hold would sign. Ed25519 has two names (RFC 9864).
pub fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" | "Ed25519" => Algorithm::EdDSA,
        _ => return None,
    })
}

impl TrustedIssuer {
    /// For an issuer with a client, once it has said where.
    pub fn login(&self) -> Option<Login<'_>> {
        let client = self.client.as_ref()?;
        Some(Login { client, endpoints: self.keys.metadata()?.endpoints()? })
    }

    /// Asks the issuer once whether its tokens could be judged; what is wrong, if not.
    pub async fn look(&self) -> Result<(), String> {
        let keys = self.keys.look().await?;
        let fits = |key: &jwks::Key| self.algorithms.iter().any(|algorithm| key.may_sign_with(*algorithm));
        match keys.iter().any(|key| fits(key)) {
            true => Ok(()),
            false => Err("it has no public key that signs by one of its `algorithms`".into()),
        }
    }

    /// What the token alone tells is judged first: a token that no key could make good causes no fetch of keys.
    pub async fn verify(&self, token: &UnverifiedToken<'_>, now: DateTime<Utc>) -> Result<VerifiedToken, AuthError> {
        let header = token.header();
        let algorithm = header.algorithm().filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or(AuthError::InvalidCredential("an algorithm that is not allowed"))?;
        let key_id = header.check(self.token_type).map_err(AuthError::InvalidCredential)?;
        let Claims { owner, scopes, expires_at } =
            Claims::check(token.claims(), self, now).map_err(AuthError::InvalidCredential)?;

        let keys = self.keys.find(key_id, algorithm, now).await?;
        let key = keys.iter().find(|key| key.has_signed(token.signed(), token.signature(), algorithm));
        let key = key.ok_or(AuthError::InvalidCredential("a signature that no key of the issuer made"))?;
        let caller = Caller { owner: owner.into(), scopes: scopes.into(), credential: Credential::Token };
        Ok(VerifiedToken { caller, key: Arc::downgrade(key), expires_at })
    }
}
