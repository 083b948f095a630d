//! TokenCache: access tokens that were verified, so that each signature is checked once.

use chrono::{DateTime, Utc};
use siphasher::sip128::SipHasher24;

use crate::domain::caller::Caller;
use crate::domain::secret_hash::Peppers;
use crate::service::cache::{HashMapCache, cache_key, hash_map_cache};
use crate::service::issuer::VerifiedToken;

/// Maximum number of tokens.
const CAPACITY: usize = 100_000;

/// Verified tokens by a keyed hash, until they expire: checking a signature takes longer than the rest of a request.
pub struct TokenCache {
    tokens: HashMapCache<VerifiedToken>,
    /// SipHash-2-4 (Aumasson and Bernstein, 2012) with 128 bits is a pseudorandom function to those who do not know its
    /// key, so that a token cannot be crafted to collide with another. BLAKE3 took four times as long for a string of
    /// such a length, 6 % of a verify.
    hasher: SipHasher24,
}

/// The hash by which a token is cached.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 16]);

impl TokenCache {
    /// An empty cache. Its hash is keyed by the newest pepper.
    pub fn new(peppers: &Peppers) -> Self {
        let key = peppers.newest().subkey("mintkey 2026 verified tokens");
        Self { tokens: hash_map_cache(CAPACITY), hasher: SipHasher24::new_with_key(cache_key(&key)) }
    }

    /// Hashes a token for [`get`](Self::get) and [`insert`](Self::insert).
    pub fn hash(&self, token: &str) -> TokenHash {
        TokenHash(self.hasher.hash(token.as_bytes()).as_bytes())
    }

    /// Returns the caller of a cached token that has not expired and whose signing key the issuer still publishes.
    pub fn get(&self, TokenHash(hash): TokenHash, now: DateTime<Utc>) -> Option<Caller> {
        let token = self.tokens.get(&hash)?;
        (now < token.expires_at && token.key.strong_count() > 0).then_some(token.caller)
    }

    /// Adds a token that was just verified.
    pub fn insert(&self, TokenHash(hash): TokenHash, token: VerifiedToken) {
        self.tokens.insert(hash, token);
    }
}
