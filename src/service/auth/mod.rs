//! Auth: turns a bearer credential (RFC 6750) into the caller that it authenticates.
//!
//! A credential is an access token of a trusted issuer or a secret of this service. There are three outcomes, kept apart
//! on purpose: a caller, an invalid credential, and an outage because of which neither is known.

pub mod token_cache;

use std::sync::Arc;

use crate::domain::caller::Caller;
use crate::domain::clock::Clock;
use crate::domain::excerpt::Excerpt;
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::scope::RequiredScopes;
use crate::domain::secret::Secret;
use crate::domain::verdict::Verdict;
use crate::service::auth::token_cache::TokenCache;
use crate::service::built_in_issuer;
use crate::service::errors::ServiceError;
use crate::service::issuer::rejection::{TokenFault, TokenRejection};
use crate::service::issuer::{Login, TokenError, TrustedIssuer, UnverifiedToken};
use crate::service::verify::cached_key::CachedKey;
use crate::service::verify::{Verifier, WaitLimit};

/// Why no caller was authenticated.
#[derive(Debug)]
pub enum AuthError {
    /// The credential is invalid.
    InvalidCredential(CredentialRejection),
    /// Whether the credential is valid cannot be decided now.
    Unavailable(ServiceError),
}

/// Why a credential is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialRejection {
    /// It is not a valid API key; never [`Verdict::Valid`]. For the log, never for the client.
    Key(Verdict),
    /// It is not a valid access token.
    Token(TokenRejection),
}

impl From<TokenError> for AuthError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid(rejection) => Self::InvalidCredential(CredentialRejection::Token(rejection)),
            TokenError::KeysUnavailable { reason, retry_after } => {
                Self::Unavailable(ServiceError::IssuerUnavailable { reason, retry_after })
            }
            TokenError::KeyNotFetched { reason, retry_after } => {
                Self::Unavailable(ServiceError::IssuerKeyNotFetched { reason, retry_after })
            }
        }
    }
}

/// True if a credential can only be a token: a JWT contains dots and a secret does not.
pub fn has_form_of_token(credential: &str) -> bool {
    credential.as_bytes().contains(&b'.')
}

/// The rejection of a token whose `iss` is none of the issuers.
fn untrusted_issuer(name: Option<&str>, issuers: &[TrustedIssuer]) -> TokenRejection {
    let shown = Excerpt::of_text(name);
    let seen = format!("its `iss`, {shown}, is no issuer that this service accepts");
    let core = |issuer: &str| {
        let issuer = issuer.trim().trim_end_matches('/').to_lowercase();
        issuer.split_once("://").map_or(issuer.clone(), |(_, rest)| rest.to_owned())
    };
    let similar = name.and_then(|name| issuers.iter().find(|issuer| core(&issuer.issuer) == core(name)));
    let cure = match (name, similar) {
        (None, _) => "have the issuer write its URL there".to_owned(),
        (_, Some(similar)) => format!("--issuer has {:?}: write it exactly as the tokens do", similar.issuer),
        (Some(built_in_issuer::ISSUER), None) => "tokens of `mintkey token` need --standalone-issuer".to_owned(),
        (Some(_), None) => format!("if it is your provider, add --issuer {shown}, with an audience"),
    };
    TokenRejection::new(TokenFault::UntrustedIssuer, seen).with_cure(cure)
}

/// Authenticates callers.
pub struct Authenticator {
    verifier: Arc<Verifier>,
    issuers: Arc<[TrustedIssuer]>,
    /// The policy of owners whose issuer has been removed from the settings since they got keys.
    unknown_issuer: IssuerPolicy,
    tokens: TokenCache,
    clock: Clock,
}

impl Authenticator {
    pub(super) fn new(
        verifier: Arc<Verifier>,
        issuers: Arc<[TrustedIssuer]>,
        unknown_issuer: IssuerPolicy,
        tokens: TokenCache,
        clock: Clock,
    ) -> Self {
        Self { verifier, issuers, unknown_issuer, tokens, clock }
    }

    /// Returns the caller that a bearer credential authenticates. A key is looked up within the limit.
    pub async fn authenticate(&self, credential: &str, limit: &mut WaitLimit) -> Result<Caller, AuthError> {
        if has_form_of_token(credential) {
            return Ok(self.authenticate_token(credential).await?);
        }
        let decision = self.verifier.verify(credential, &RequiredScopes::default(), limit).await;
        let decision = decision.map_err(AuthError::Unavailable)?;
        match (decision.verdict, decision.key) {
            (Verdict::Valid, Some(key)) => Ok(self.holder(&key)),
            (Verdict::NotFound, _) if Secret::parse(credential).is_err() => {
                Err(TokenError::from(TokenRejection::opaque()).into())
            }
            (verdict, _) => Err(AuthError::InvalidCredential(CredentialRejection::Key(verdict))),
        }
    }

    /// Returns the caller that the secret of this key authenticates, whether or not it is valid.
    pub fn holder(&self, key: &CachedKey) -> Caller {
        key.caller(self.policy(&key.owner.issuer))
    }

    async fn authenticate_token(&self, token: &str) -> Result<Caller, TokenError> {
        let now = self.clock.now();
        let hash = self.tokens.hash(token);
        if let Some(caller) = self.tokens.get(hash, now) {
            return Ok(caller);
        }
        let token = UnverifiedToken::parse(token)?;
        let issuer = token.issuer().and_then(|issuer| self.issuer(issuer));
        let issuer = issuer.ok_or_else(|| untrusted_issuer(token.issuer(), &self.issuers))?;
        let verified = issuer.verify(&token, now).await?;
        let caller = verified.caller.clone();
        self.tokens.insert(hash, verified);
        Ok(caller)
    }

    fn issuer(&self, name: &str) -> Option<&TrustedIssuer> {
        self.issuers.iter().find(|issuer| issuer.issuer == name)
    }

    fn policy(&self, issuer: &str) -> IssuerPolicy {
        self.issuer(issuer).map_or(self.unknown_issuer, |issuer| issuer.policy)
    }

    /// The verified tokens.
    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// The issuers whose tokens are accepted.
    pub fn issuers(&self) -> &[TrustedIssuer] {
        &self.issuers
    }

    /// How users of the API's page sign in, if an issuer has a client configured and its metadata was fetched.
    pub fn login(&self) -> Option<Login<'_>> {
        self.issuers.iter().find_map(TrustedIssuer::login)
    }
}
