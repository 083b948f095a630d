//! Bearer: from a credential (RFC 6750) to the caller it stands for.
//!
//! A credential is a token of a trusted issuer or a secret of this service. The outcome has three sides, kept apart
//! on purpose: a caller, a credential that is no good, and an outage that kept the service from knowing.

use std::sync::Weak;

use chrono::{DateTime, Utc};
use siphasher::sip128::SipHasher24;

use crate::domain::caller::Caller;
use crate::domain::scope::Scopes;
use crate::domain::secret_hash::Peppers;
use crate::domain::verdict::Verdict;
use crate::service::cache::{Pool, half, pool};
use crate::service::issuer::jwks::Key;
use crate::service::issuer::{TrustedIssuer, UnverifiedToken};
use crate::service::{Service, ServiceError};

#[derive(Debug)]
pub enum AuthError {
    /// The credential is no good; the reason is for the log of a debugging operator, never for the client.
    InvalidCredential(&'static str),
    Unavailable(ServiceError),
}

/// Tokens that were verified, by a hash of them, until they expire: a signature takes longer to check than all the
/// rest of a request.
pub struct VerifiedTokens {
    tokens: Pool<VerifiedToken>,
    /// SipHash-2-4 (Aumasson and Bernstein, 2012), with 128 bits, is a pseudorandom function to whoever does not know its
    /// key, so that nobody can make a token that is taken for another. BLAKE3 took four times as long for a string of such a
    /// length, 6 % of a verify.
    hasher: SipHasher24,
}

#[derive(Clone)]
pub struct VerifiedToken {
    pub caller: Caller,
    /// What signed it. When the issuer drops the key, the token is no good any more.
    pub key: Weak<Key>,
    pub expires_at: DateTime<Utc>,
}

impl VerifiedTokens {
    pub fn new(peppers: &Peppers) -> Self {
        let key = peppers.newest().subkey("mintkey 2026 verified tokens");
        Self { tokens: pool(100_000), hasher: SipHasher24::new_with_key(half(&key)) }
    }
}

impl Service {
    pub async fn authenticate(&self, credential: &str) -> Result<Caller, AuthError> {
        // A JWT has dots and a secret has none, so nothing can be both.
        if credential.as_bytes().contains(&b'.') {
            return self.caller_of_token(credential).await;
        }
        let decision = self.verify(credential, &Scopes::default()).await.map_err(AuthError::Unavailable)?;
        match (decision.verdict, decision.known) {
            (Verdict::Valid, Some(known)) => Ok(known.caller()),
            (verdict, _) => Err(AuthError::InvalidCredential(verdict.as_str())),
        }
    }

    async fn caller_of_token(&self, token: &str) -> Result<Caller, AuthError> {
        let now = self.clock.now();
        let VerifiedTokens { tokens, hasher } = &*self.tokens;
        let hash = hasher.hash(token.as_bytes()).as_bytes();
        if let Some(verified) = tokens.get(&hash)
            && now < verified.expires_at
            && verified.key.strong_count() > 0
        {
            return Ok(verified.caller);
        }
        let token = UnverifiedToken::parse(token).ok_or(AuthError::InvalidCredential("not a JWT"))?;
        let issuer = self.issuers.iter().find(|issuer| token.issuer() == Some(&issuer.issuer));
        let issuer = issuer.ok_or(AuthError::InvalidCredential("an issuer that is not trusted"))?;
        let verified = issuer.verify(&token, now).await?;
        let caller = verified.caller.clone();
        tokens.insert(hash, verified);
        Ok(caller)
    }

    /// The issuers whose tokens cannot be judged yet, and why.
    pub fn issuers_unready(&self) -> Vec<(&str, String)> {
        let why = |issuer: &TrustedIssuer| issuer.keys.ready().err();
        self.issuers.iter().filter_map(|issuer| Some((&*issuer.issuer, why(issuer)?))).collect()
    }
}
