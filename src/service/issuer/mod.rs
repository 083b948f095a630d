//! Issuer: a provider whose access tokens are accepted, and the checks that a token must pass (RFC 8725, RFC 9068).

pub mod algorithm;
mod claims;
pub mod discovery;
pub mod jwk;
pub mod jwks;
pub mod jwks_cache;
pub mod jwks_source;
mod jwks_state;
pub mod rejection;
mod token;

use std::sync::{Arc, Weak};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::caller::{Caller, Credential};
use crate::domain::issuer_policy::IssuerPolicy;
use crate::service::issuer::claims::Claims;
use crate::service::issuer::discovery::Endpoints;
use crate::service::issuer::jwk::{Key, UnusableKey};
use crate::service::issuer::jwks_cache::JwksCache;
use crate::service::issuer::rejection::TokenRejection;

pub use crate::service::issuer::token::UnverifiedToken;

/// The longest `iss` and `sub` that can own a key, in bytes; OpenID Connect Core, section 2, allows a `sub` of 255.
const MAX_IDENTIFIER: usize = 255;

/// A configured issuer.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    /// The required `iss`, compared byte by byte (RFC 7519, section 2: no URL normalization).
    pub issuer: String,
    /// The accepted values of `aud`: this service's names at the issuer, of which a token needs one.
    pub audiences: Vec<String>,
    /// How access tokens are recognized.
    pub token_type: TokenType,
    /// The claim with the scopes, or the path to it; `scope`, else `scp`, if `None`.
    pub scopes: Option<String>,
    /// The claim with the organization, or the path to it.
    pub organization: Option<String>,
    /// A claim that every accepted token has, or the path to it: one that the issuer writes only into access tokens.
    pub required_claim: Option<String>,
    /// Tolerated difference between the issuer's clock and this machine's.
    pub leeway: TimeDelta,
    /// The issuer's public keys.
    pub keys: Arc<JwksCache>,
    /// The OAuth client that users of the API's page sign in with.
    pub client: Option<Client>,
    /// What its tokens, and the keys of its users, may do.
    pub policy: IssuerPolicy,
}

/// A token that passed every check.
#[derive(Clone)]
pub struct VerifiedToken {
    pub caller: Caller,
    /// The key that verified the signature. Once the issuer stops publishing the key, the token is invalid.
    pub key: Weak<Key>,
    /// The leeway added.
    pub expires_at: DateTime<Utc>,
}

/// Why a token was not verified.
#[derive(Debug)]
pub enum TokenError {
    /// The token is invalid.
    Invalid(TokenRejection),
    /// The issuer's keys cannot be fetched, so the token may be valid. The text is for the log, here and below.
    KeysUnavailable { reason: String, retry_after: TimeDelta },
    /// The token may be signed by a key that was published since the issuer's keys were last fetched.
    KeyNotFetched { reason: String, retry_after: TimeDelta },
}

impl From<TokenRejection> for TokenError {
    fn from(rejection: TokenRejection) -> Self {
        Self::Invalid(rejection)
    }
}

/// How an access token is distinguished from the issuer's other tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// By the `typ` of RFC 9068. `typ=strict` in the settings.
    Strict,
    /// For issuers that write `JWT` or no `typ`: by the absence of claims that only an ID token or a logout token has.
    /// `typ=compatible` in the settings.
    Compatible,
}

/// An OAuth client that signs users in by authorization code with PKCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    /// The requested scopes.
    pub scopes: Vec<String>,
    /// Extra parameters of the authorization request, such as `audience` or `resource`.
    pub query: Vec<(String, String)>,
}

/// How a browser signs its user in.
pub struct Login<'s> {
    pub client: &'s Client,
    pub endpoints: Endpoints,
}

/// True if a subject or an organization can own a key: 1 to 255 bytes without control characters.
pub fn is_valid_identifier(name: &str) -> bool {
    (1..=MAX_IDENTIFIER).contains(&name.len()) && !name.contains(char::is_control)
}

impl TrustedIssuer {
    /// How users sign in, if a client is configured and the issuer's metadata was fetched.
    pub fn login(&self) -> Option<Login<'_>> {
        let client = self.client.as_ref()?;
        Some(Login { client, endpoints: self.keys.metadata()?.endpoints()? })
    }

    /// Fetches the issuer's keys once and checks that one of them can be used; keeps nothing. Returns those that cannot.
    pub async fn probe(&self) -> Result<Vec<UnusableKey>, String> {
        self.keys.probe().await
    }

    /// Checks a token. Its own contents come first: a token that no key could make valid causes no fetch of keys.
    pub async fn verify(&self, token: &UnverifiedToken<'_>, now: DateTime<Utc>) -> Result<VerifiedToken, TokenError> {
        let header = token.header();
        let algorithm = header.allowed_algorithm(self.keys.algorithms())?;
        let key_id = header.check(self.token_type)?;
        let Claims { owner, scopes, expires_at } = Claims::check(token.claims(), self, now)?;

        let keys = self.keys.find(key_id, now).await?;
        let key = keys.iter().find(|key| key.verify_signature(token.signing_input(), token.signature(), algorithm));
        let key = key.ok_or_else(|| header.bad_signature(algorithm, &keys))?;
        let (credential, policy) = (Credential::Token, self.policy);
        let caller = Caller { owner: owner.into(), scopes: scopes.into(), credential, policy };
        Ok(VerifiedToken { caller, key: Arc::downgrade(key), expires_at })
    }
}
