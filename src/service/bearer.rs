//! Bearer: from a credential (RFC 6750) to the caller it stands for.
//!
//! A credential is a token of a trusted issuer or a secret of this service. The outcome has three sides, kept apart
//! on purpose: a caller, a credential that is no good, and an outage that kept the service from knowing.

use super::{Service, ServiceError};
use crate::domain::caller::{Caller, Credential};
use crate::domain::key::KeyStatus;
use crate::domain::secret::Secret;

#[derive(Debug)]
pub enum BearerError {
    /// The credential is no good; the reason is for the log of a debugging operator, never for the client.
    Rejected(&'static str),
    Failed(ServiceError),
}

impl Service {
    pub async fn authenticate(&self, credential: &str) -> Result<Caller, BearerError> {
        // A JWT has dots and a secret has none, so nothing can be both.
        if credential.contains('.') {
            let now = self.clock.now();
            let verdicts = self.issuers.iter().map(|issuer| issuer.verify(credential, now));
            return verdicts.reduce(Result::or).unwrap_or(Err(BearerError::Rejected("no issuer is trusted")));
        }
        let secret = Secret::parse(credential).map_err(|_malformed| BearerError::Rejected("malformed"))?;
        self.caller_of_secret(&secret).await
    }

    async fn caller_of_secret(&self, secret: &Secret<'_>) -> Result<Caller, BearerError> {
        let hashes: Vec<_> = self.peppers.all().iter().map(|pepper| pepper.hash(secret)).collect();
        let found = self.store.find_key_by_secret(&hashes).await.map_err(|error| BearerError::Failed(error.into()))?;
        let (key, stored) = found.ok_or(BearerError::Rejected("unknown key"))?;
        let now = self.clock.now();
        if key.status(now) != KeyStatus::Active || !stored.is_live(now) {
            return Err(BearerError::Rejected("revoked, disabled or expired key"));
        }
        Ok(Caller {
            credential: Credential::Key { id: key.id, expires_at: key.expires_at },
            owner: key.owner,
            scopes: key.scopes,
        })
    }
}
