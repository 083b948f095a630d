//! Idempotency: a request with an `Idempotency-Key` takes effect once, however often it is sent
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! Its response contains a secret, which the database must not hold in the clear. So the response is sealed with
//! AES-256-GCM under a key derived from the master secret and the idempotency key, of which the database has only a keyed
//! hash. Neither the database nor the database with the master secret suffices to open it: that takes the idempotency
//! key, which has 128 bits.
//!
//! While a master secret is replaced, replicas have different ones: some the old one, some both, in either order. So a
//! response is saved under every master secret in use and looked for under every one. Two replicas with one in common
//! then find each other's responses.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::caller::{Caller, Credential};
use crate::domain::idempotency_key::IdempotencyKey;
use crate::domain::secret_hash::{Pepper, Peppers};
use crate::service::errors::ServiceError;
use crate::service::keys::issued_key::IssuedKey;
use crate::store::SavedResponse;

/// Time for which a response can be replayed.
const RESPONSE_TTL: TimeDelta = TimeDelta::hours(24);

/// A request with an idempotency key.
pub struct IdempotentRequest {
    /// For each pepper, newest first.
    response_keys: Vec<ResponseKeys>,
    fingerprint: [u8; 32],
}

/// Where the response is saved under one pepper, and what seals it there.
struct ResponseKeys {
    id: [u8; 32],
    sealing_key: [u8; 32],
}

impl IdempotentRequest {
    /// Identifies a request. An idempotency key belongs to its caller and to one operation; `body` are the bytes that a
    /// repetition must repeat.
    pub fn new(peppers: &Peppers, caller: &Caller, operation: &str, key: &IdempotencyKey, body: &[u8]) -> Self {
        let caller_key = match caller.credential {
            Credential::Key { id, .. } => id.to_string(),
            Credential::Token | Credential::Operator => String::new(),
        };
        let owner = &caller.owner;
        let organization = owner.organization.as_deref().unwrap_or_default();
        let parts = [owner.issuer.as_str(), &owner.subject, organization, &caller_key, operation, key.as_str()];
        // Each part with its length, so that no two lists of parts concatenate to the same bytes.
        let identity: Vec<u8> =
            parts.iter().flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes())).collect();
        let keys = |pepper: &Pepper| {
            let derive = |purpose: &str| *blake3::keyed_hash(&pepper.subkey(purpose), &identity).as_bytes();
            ResponseKeys {
                id: derive("mintkey 2026 saved response id"),
                sealing_key: derive("mintkey 2026 idempotency seal"),
            }
        };
        Self { response_keys: peppers.all().iter().map(keys).collect(), fingerprint: *blake3::hash(body).as_bytes() }
    }

    /// The ids under which the response is saved: one for each pepper.
    pub fn response_ids(&self) -> Vec<Vec<u8>> {
        self.response_keys.iter().map(|keys| keys.id.to_vec()).collect()
    }

    /// Encrypts the response for the store, once for each pepper.
    pub fn seal(&self, issued: &IssuedKey, now: DateTime<Utc>) -> Result<Vec<SavedResponse>, ServiceError> {
        let response = serde_json::to_vec(issued).map_err(|error| ServiceError::Internal(error.to_string()))?;
        let seal = |keys: &ResponseKeys| {
            let failed = |_| ServiceError::Internal("a response could not be sealed".into());
            let mut sealed_response = response.clone();
            let key = RandomizedNonceKey::new(&AES_256_GCM, &keys.sealing_key).map_err(failed)?;
            let aad = Aad::from(&self.fingerprint);
            let nonce = key.seal_in_place_append_tag(aad, &mut sealed_response).map_err(failed)?;
            sealed_response.extend_from_slice(nonce.as_ref());
            let (id, fingerprint) = (keys.id.to_vec(), self.fingerprint.to_vec());
            Ok(SavedResponse { id, fingerprint, sealed_response, expires_at: now + RESPONSE_TTL })
        };
        self.response_keys.iter().map(seal).collect()
    }

    /// Decrypts a stored response, if this request has the same body.
    pub fn open(&self, saved: &SavedResponse) -> Result<IssuedKey, ServiceError> {
        if saved.fingerprint != self.fingerprint {
            return Err(ServiceError::IdempotencyKeyReused);
        }
        let keys = self.response_keys.iter().find(|keys| keys.id == saved.id[..]);
        let Some(ResponseKeys { sealing_key, .. }) = keys else {
            return Err(ServiceError::Internal("a saved response belongs to another request".into()));
        };
        let damaged = || ServiceError::Internal("a saved response cannot be opened".into());
        let mut response = saved.sealed_response.clone();
        let nonce = response.split_off(response.len().saturating_sub(aws_lc_rs::aead::NONCE_LEN));
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| damaged())?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, sealing_key).map_err(|_| damaged())?;
        let opened = key.open_in_place(nonce, Aad::from(&self.fingerprint), &mut response).map_err(|_| damaged())?;
        let issued: IssuedKey = serde_json::from_slice(opened).map_err(|_| damaged())?;
        Ok(IssuedKey { replayed: true, ..issued })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::secret::{Entropy, Secret};
    use crate::service::keys::tests::{at, caller, key_caller, record};

    const KEY: &str = "0199b3a0-5c1e-7cc2-9d5e-2f6f7c1b8f11";

    fn request(caller: &Caller, operation: &str, key: &str, body: &[u8]) -> IdempotentRequest {
        request_under(&["m"], caller, operation, key, body)
    }

    /// A request at a replica with these master secrets, newest first.
    fn request_under(
        master_secrets: &[&str],
        caller: &Caller,
        operation: &str,
        key: &str,
        body: &[u8],
    ) -> IdempotentRequest {
        let lines: Vec<_> = master_secrets.iter().map(|secret| secret.repeat(32)).collect();
        let peppers = Peppers::derive(&lines.join("\n")).unwrap();
        IdempotentRequest::new(&peppers, caller, operation, &IdempotencyKey::new(key).unwrap(), body)
    }

    #[test]
    fn open_returns_every_field_that_was_sealed() {
        let user = caller(Credential::Token, &[]);
        let mut key = record(&["a", "b"], Some(100)).key;
        key.owner.organization = Some("acme".into());
        key.metadata = crate::domain::metadata::Metadata::from_db(r#"{"a":{"b":[1,null]}}"#).unwrap();
        key.created_by_key = Some(key.id);
        key.enabled = false;
        key.revocation =
            Some(crate::domain::api_key::Revocation { at: at(2), by: "s".into(), reason: Some("leaked".into()) });
        key.deleted_at = Some(at(3));
        key.revision = 7;
        let secret = Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([1; 32]), at(1));
        let fields = serde_json::to_value(&key).unwrap();
        let unset: Vec<_> = fields.as_object().unwrap().iter().filter(|(_, value)| value.is_null()).collect();
        assert!(unset.is_empty(), "set a value, so that the comparison notices its loss: {unset:?}");
        let issued = IssuedKey { key, secret, replayed: false };
        let [saved] = &request(&user, "create", KEY, b"{}").seal(&issued, at(10)).unwrap()[..] else { panic!("one") };
        assert_eq!(saved.expires_at, at(10) + RESPONSE_TTL);
        let opened = request(&user, "create", KEY, b"{}").open(saved).unwrap();
        assert_eq!(opened.key, issued.key);
        assert_eq!(opened.secret.expose(), issued.secret.expose());
        assert!(opened.replayed);
        let sealed = String::from_utf8_lossy(&saved.sealed_response);
        assert!(!sealed.contains(issued.secret.expose()) && !sealed.contains("acme"));
        assert!(matches!(request(&user, "create", KEY, b"{ }").open(saved), Err(ServiceError::IdempotencyKeyReused)));
    }

    #[test]
    fn response_id_differs_by_caller_operation_and_key() {
        let user = caller(Credential::Token, &[]);
        let mut of_acme = user.clone();
        Arc::make_mut(&mut of_acme.owner).organization = Some("acme".into());
        let others = [
            request(&of_acme, "create", KEY, b""),
            request(&key_caller(None, &[]), "create", KEY, b""),
            request(&user, "rotate", KEY, b""),
            request(&user, "create", &KEY.replace('0', "1"), b""),
        ];
        let this = request(&user, "create", KEY, b"");
        assert!(others.iter().all(|other| other.response_ids() != this.response_ids()));
        assert_eq!(request(&user, "create", KEY, b"another body").response_ids(), this.response_ids());
    }

    #[test]
    fn response_is_opened_wherever_one_master_secret_is_shared() {
        let user = caller(Credential::Token, &[]);
        let secret = Secret::mint(&"mk".parse().unwrap(), &Entropy::fixed([1; 32]), at(1));
        let issued = IssuedKey { key: record(&[], None).key, secret, replayed: false };
        for (saving, repeating, shared) in [
            (&["o"][..], &["n", "o"][..], 1),
            (&["n", "o"], &["o"], 1),
            (&["n", "o"], &["o", "n"], 2),
            (&["o", "n"], &["n"], 1),
            (&["n"], &["o"], 0),
        ] {
            let saved = request_under(saving, &user, "create", KEY, b"").seal(&issued, at(10)).unwrap();
            assert_eq!(saved.len(), saving.len());
            let again = request_under(repeating, &user, "create", KEY, b"");
            let found: Vec<_> = saved.iter().filter(|saved| again.response_ids().contains(&saved.id)).collect();
            assert_eq!(found.len(), shared, "{saving:?} {repeating:?}");
            for saved in found {
                assert_eq!(again.open(saved).unwrap().secret.expose(), issued.secret.expose());
            }
        }
    }
}
