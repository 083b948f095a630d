//! TokenCache: access tokens that were verified, so that each signature is checked once.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use siphasher::sip128::SipHasher24;

use crate::domain::caller::Caller;
use crate::domain::secret_hash::Peppers;
use crate::service::cache::heap_size::HeapSize;
use crate::service::cache::{HashMapCache, cache_key, hash_map_cache};
use crate::service::issuer::VerifiedToken;

/// Verified tokens by a keyed hash, until they expire: checking a signature takes longer than the rest of a request.
pub struct TokenCache {
    tokens: HashMapCache<Arc<VerifiedToken>>,
    /// SipHash-2-4 (Aumasson and Bernstein, 2012) with 128 bits is a pseudorandom function to those who do not know its
    /// key, so that a token cannot be crafted to collide with another. BLAKE3 took four times as long for a string of
    /// such a length, 6 % of a verify.
    hasher: SipHasher24,
}

/// The hash by which a token is cached.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 16]);

impl TokenCache {
    /// An empty cache of at most `bytes`. Its hash is keyed by the newest pepper.
    pub fn new(peppers: &Peppers, bytes: usize) -> Self {
        let key = peppers.newest().subkey("mintkey 2026 verified tokens");
        Self { tokens: hash_map_cache(bytes), hasher: SipHasher24::new_with_key(cache_key(&key)) }
    }

    /// Hashes a token for [`get`](Self::get) and [`insert`](Self::insert).
    pub fn hash(&self, token: &str) -> TokenHash {
        TokenHash(self.hasher.hash(token.as_bytes()).as_bytes())
    }

    /// Returns the caller of a cached token that has not expired and whose signing key the issuer still publishes.
    pub fn get(&self, TokenHash(hash): TokenHash, now: DateTime<Utc>) -> Option<Caller> {
        self.tokens.get(&hash).filter(|token| is_usable(token, now)).map(|token| token.caller.clone())
    }

    /// Adds a token that was just verified.
    pub fn insert(&self, TokenHash(hash): TokenHash, token: VerifiedToken) {
        self.tokens.insert(hash, Arc::new(token));
    }

    /// Removes the tokens that [`get`](Self::get) would not return, which frees their memory.
    pub fn remove_unusable(&self, now: DateTime<Utc>) {
        self.tokens.retain(|_, token| is_usable(token, now));
    }

    /// The bytes that the tokens occupy.
    pub fn bytes(&self) -> usize {
        self.tokens.weight() as usize
    }
}

fn is_usable(token: &VerifiedToken, now: DateTime<Utc>) -> bool {
    now < token.expires_at && token.key.strong_count() > 0
}

impl HeapSize for VerifiedToken {
    fn heap_size(&self) -> usize {
        self.caller.owner.heap_size() + self.caller.scopes.heap_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Credential;
    use crate::domain::issuer_policy::IssuerPolicy;
    use crate::domain::owner::Owner;
    use crate::domain::scope::Scopes;
    use crate::service::built_in_issuer::SigningKey;

    fn cache(bytes: usize) -> TokenCache {
        TokenCache::new(&Peppers::derive(&"m".repeat(32)).unwrap(), bytes)
    }

    /// Adds tokens with 50 scopes that expire at `expires_at`, and returns what keeps them usable.
    async fn insert_many(cache: &TokenCache, expires_at: DateTime<Utc>) -> Arc<crate::service::issuer::jwk::Key> {
        let issuer = SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap().as_trusted_issuer();
        let keys = issuer.keys.find(None, DateTime::UNIX_EPOCH).await.unwrap();
        for number in 0..20_000 {
            let names: Vec<_> = (0..50).map(|scope| format!("projects-{number}:{scope}")).collect();
            let caller = Caller {
                owner: Owner { issuer: "i".into(), subject: number.to_string(), organization: None }.into(),
                scopes: Scopes::from_untrusted_lossy(names.iter().map(String::as_str)).into(),
                credential: Credential::Token,
                policy: IssuerPolicy::BUILT_IN,
            };
            let token = VerifiedToken { caller, key: Arc::downgrade(&keys[0]), expires_at };
            cache.insert(cache.hash(&number.to_string()), token);
        }
        keys[0].clone()
    }

    #[tokio::test]
    async fn insert_keeps_tokens_within_the_limit() {
        let cache = cache(8 << 20);
        let _key = insert_many(&cache, DateTime::<Utc>::MAX_UTC).await;
        assert!(cache.bytes() <= 8 << 20 && cache.bytes() > 7 << 20, "{}", cache.bytes());
        assert!((1500..3500).contains(&cache.tokens.len()), "{}", cache.tokens.len());
    }

    #[tokio::test]
    async fn remove_unusable_frees_all_that_has_expired() {
        let (cache, expiry) = (cache(1 << 30), DateTime::from_timestamp(100, 0).unwrap());
        let key = insert_many(&cache, expiry).await;
        assert!(cache.tokens.len() == 20_000 && cache.bytes() > 20_000 * 2500, "{}", cache.bytes());
        let before = DateTime::from_timestamp(99, 0).unwrap();
        cache.remove_unusable(before);
        assert!(cache.tokens.len() == 20_000 && cache.get(cache.hash("7"), before).is_some());
        cache.remove_unusable(expiry);
        assert_eq!((cache.tokens.len(), cache.bytes()), (0, 0));
        insert_many(&cache, DateTime::<Utc>::MAX_UTC).await;
        drop(key);
        cache.remove_unusable(before);
        assert_eq!(cache.tokens.len(), 0, "the issuer does not publish the key any more");
    }
}
