//! IssuedKey: the result of creating or rotating a key.

use serde::{Deserialize, Serialize};

use crate::domain::api_key::ApiKey;
use crate::domain::secret::Secret;

/// A key with its secret in the clear, which is nowhere else but in a sealed idempotent response.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug))]
pub struct IssuedKey {
    pub key: ApiKey,
    pub secret: Secret<'static>,
    /// True if an earlier request with the same idempotency key issued it.
    #[serde(skip)]
    pub replayed: bool,
}
