//! Idempotency: a request with a name of the client's choosing is done once, however often it is sent
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! Its answer holds a secret, and the database must not. So the answer is sealed with AES-256-GCM under a key derived
//! from the master secret and from the name itself, of which the database has only a keyed hash: whoever reads the
//! database cannot open it, nor can whoever holds the master secret too, short of guessing a name of 128 bits.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::caller::{Caller, Credential};
use crate::domain::idempotency_key::IdempotencyKey;
use crate::service::keys::IssuedKey;
use crate::service::{Service, ServiceError};
use crate::store::SavedResponse;

const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(24);

/// A request that is known by its name.
pub struct IdempotentRequest {
    id: [u8; 32],
    seal: [u8; 32],
    fingerprint: [u8; 32],
}

impl Service {
    /// `operation` is what is asked for, `body` the bytes that say how. The name belongs to its caller alone.
    pub fn idempotent_request(
        &self,
        caller: &Caller,
        operation: &str,
        key: &IdempotencyKey,
        body: &[u8],
    ) -> IdempotentRequest {
        let by = match caller.credential {
            Credential::Key { id, .. } => id.to_string(),
            Credential::Token | Credential::Operator => String::new(),
        };
        let parts = [caller.owner.issuer.as_str(), &caller.owner.subject, &by, operation, key.as_str()];
        // Each part with its length, so that no two lists of parts run together into the same bytes.
        let named: Vec<u8> =
            parts.iter().flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes())).collect();
        let derived = |purpose: &str| *blake3::keyed_hash(&self.peppers.newest().subkey(purpose), &named).as_bytes();
        IdempotentRequest {
            id: derived("mintkey 2026 idempotency name"),
            seal: derived("mintkey 2026 idempotency seal"),
            fingerprint: *blake3::hash(body).as_bytes(),
        }
    }
}

impl IdempotentRequest {
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    pub fn seal(&self, issued: &IssuedKey, now: DateTime<Utc>) -> Result<SavedResponse, ServiceError> {
        let failed = |_| ServiceError::Internal("an answer could not be sealed".into());
        let mut sealed_response =
            serde_json::to_vec(issued).map_err(|error| ServiceError::Internal(error.to_string()))?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(failed)?;
        let nonce = key.seal_in_place_append_tag(Aad::from(&self.fingerprint), &mut sealed_response).map_err(failed)?;
        sealed_response.extend_from_slice(nonce.as_ref());
        let (id, fingerprint) = (self.id.to_vec(), self.fingerprint.to_vec());
        Ok(SavedResponse { id, fingerprint, sealed_response, expires_at: now + REMEMBERED_FOR })
    }

    pub fn open(&self, earlier: &SavedResponse) -> Result<IssuedKey, ServiceError> {
        if earlier.fingerprint != self.fingerprint {
            return Err(ServiceError::IdempotencyKeyReused);
        }
        let damaged = || ServiceError::Internal("a remembered answer cannot be opened".into());
        let mut answer = earlier.sealed_response.clone();
        let nonce = answer.split_off(answer.len().saturating_sub(aws_lc_rs::aead::NONCE_LEN));
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| damaged())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.seal).map_err(|_| damaged())?;
        let opened = key.open_in_place(nonce, Aad::from(&self.fingerprint), &mut answer).map_err(|_| damaged())?;
        let issued: IssuedKey = serde_json::from_slice(opened).map_err(|_| damaged())?;
        Ok(IssuedKey { replayed: true, ..issued })
    }
}
