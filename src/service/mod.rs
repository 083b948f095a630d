//! Service: what the product does, independent of HTTP. The API, the command line and the server call it.
//!
//! One struct per resource, one file per operation on it. No layer above can reach the [`Store`]: [`Services::new`] takes
//! it, and the fields that hold it are private.

pub mod audit;
pub mod auth;
pub mod built_in_issuer;
pub mod cache;
mod cache_sync;
pub mod errors;
pub mod idempotency;
pub mod issuer;
pub mod keys;
pub mod peppers;
pub mod readiness;
pub mod revocation_jobs;
pub mod usage;
pub mod verify;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::clock::Clock;
use crate::domain::issuer_policy::IssuerPolicy;
use crate::domain::key_limit::KeyLimit;
use crate::domain::scope::Scopes;
use crate::domain::secret::SecretPrefix;
use crate::domain::secret_hash::Peppers;
use crate::service::audit::AuditLog;
use crate::service::auth::Authenticator;
use crate::service::auth::token_cache::TokenCache;
use crate::service::cache::{CacheBudget, CacheConfig, KeyCache};
use crate::service::issuer::TrustedIssuer;
use crate::service::keys::KeyService;
use crate::service::keys::refusal_log::RefusalLog;
use crate::service::peppers::StoredSecrets;
use crate::service::readiness::Readiness;
use crate::service::revocation_jobs::RevocationJobs;
use crate::service::usage::UsageService;
use crate::service::usage::recorder::UsageRecorder;
use crate::service::verify::Verifier;
use crate::service::verify::cached_key::CachedKey;
use crate::store::{PoolStats, Store};

pub use crate::service::errors::{ConflictReason, Outage, ServiceError};

/// The services of one process, over one store, cache and clock. Shared by all requests in an `Arc`.
pub struct Services {
    /// Creates, reads, changes and revokes keys.
    pub keys: KeyService,
    /// Revokes many keys at once.
    pub revocation_jobs: RevocationJobs,
    /// Decides whether a presented secret is valid.
    pub verifier: Arc<Verifier>,
    /// Turns a bearer credential into a caller.
    pub auth: Authenticator,
    /// Writes and reads counts of verifications.
    pub usage: UsageService,
    /// Reads the history of changes to keys.
    pub audit: AuditLog,
    /// Checks whether requests can be served.
    pub health: Readiness,
    /// Counts the secrets that depend on each pepper.
    pub stored_secrets: StoredSecrets,
    /// Whether introspection does not tell when a key expires.
    pub introspection_omits_exp: bool,
    cache: Arc<KeyCache<CachedKey>>,
    budget: CacheBudget,
    clock: Clock,
    store: Store,
}

/// The settings of [`Services`].
pub struct ServiceConfig {
    /// Keys of the secrets' hashes, newest first.
    pub peppers: Peppers,
    /// Prefix of new secrets.
    pub prefix: SecretPrefix,
    /// The scopes that keys may carry; any scope if `None`.
    pub allowed_scopes: Option<Scopes>,
    /// How many keys one owner may have.
    pub max_keys_per_owner: KeyLimit,
    /// The longest lifetime of a key.
    pub max_lifetime: Option<TimeDelta>,
    /// The lifetime of a new key whose request names no expiry.
    pub default_lifetime: Option<TimeDelta>,
    /// Whether a revocation includes the key's descendants if its request does not say.
    pub revoke_descendants: bool,
    /// Issuers whose access tokens are accepted.
    pub issuers: Vec<TrustedIssuer>,
    /// The cache of verified keys.
    pub cache: CacheConfig,
    /// The source of the current time.
    pub clock: Clock,
}

impl Services {
    /// Builds the services over an open store.
    pub fn new(store: Store, config: ServiceConfig) -> Self {
        let ServiceConfig {
            peppers,
            prefix,
            allowed_scopes,
            max_lifetime,
            default_lifetime,
            max_keys_per_owner,
            revoke_descendants,
            issuers,
            cache,
            clock,
        } = config;
        let budget = cache.budget;
        let cache = Arc::new(KeyCache::new(cache));
        let recorder = Arc::new(UsageRecorder::new(budget.pending_usage()));
        let with_max = |policy: IssuerPolicy| policy.with_max_lifetime(max_lifetime);
        let issuers: Arc<[TrustedIssuer]> =
            issuers.into_iter().map(|issuer| TrustedIssuer { policy: with_max(issuer.policy), ..issuer }).collect();
        let unknown_issuer = with_max(IssuerPolicy::UNKNOWN_ISSUER);
        let verifier = Arc::new(Verifier::new(
            store.clone(),
            clock.clone(),
            peppers.clone(),
            Arc::clone(&cache),
            Arc::clone(&recorder),
            budget,
        ));
        Self {
            auth: Authenticator::new(
                Arc::clone(&verifier),
                Arc::clone(&issuers),
                unknown_issuer,
                TokenCache::new(&peppers, budget.tokens()),
                clock.clone(),
            ),
            verifier,
            usage: UsageService::new(recorder, store.clone(), clock.clone(), budget.pending_usage()),
            audit: AuditLog::new(store.clone()),
            health: Readiness::new(store.clone(), issuers, Arc::clone(&cache)),
            revocation_jobs: RevocationJobs::new(store.clone(), clock.clone(), Arc::clone(&cache), revoke_descendants),
            introspection_omits_exp: false,
            stored_secrets: StoredSecrets::new(store.clone(), clock.clone(), &peppers),
            keys: KeyService {
                store: store.clone(),
                clock: clock.clone(),
                peppers,
                prefix,
                allowed_scopes,
                default_lifetime,
                max_keys_per_owner,
                revoke_descendants,
                cache: Arc::clone(&cache),
                refusals: RefusalLog::new(store.clone()),
            },
            cache,
            budget,
            clock,
            store,
        }
    }

    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The source of the current time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Connections to the database, by pool.
    pub fn store_stats(&self) -> Vec<PoolStats> {
        self.store.pool_stats()
    }

    /// Invalidates cached keys that other processes change, forever. Without it the cache is not trusted.
    pub async fn sync_cache(&self) {
        cache_sync::follow_changes(&self.store, &self.cache).await;
    }

    /// The bytes that are cached, and their limit, by kind.
    pub fn cached_bytes(&self) -> [(&'static str, usize, usize); 3] {
        let stats = self.verifier.stats();
        [
            ("keys", stats.key_bytes, self.budget.keys()),
            ("tokens", self.auth.tokens().bytes(), self.budget.tokens()),
            ("responses", stats.response_bytes, self.budget.responses()),
        ]
    }

    /// Frees what no later request can use: tokens that have expired, owners and scopes of keys that are not cached.
    pub fn free_unusable_memory(&self) {
        self.auth.tokens().remove_unusable(self.clock.now());
        self.verifier.free_unused();
    }

    /// Closes the connections to the database. Every later call fails.
    pub async fn close(&self) -> Result<(), ServiceError> {
        Ok(self.store.clone().close().await?)
    }
}

#[cfg(test)]
pub mod tests {
    use std::time::Duration;

    use super::*;

    /// Settings for a test: no issuers, and a cache that holds nothing for any time.
    pub fn config() -> ServiceConfig {
        ServiceConfig {
            peppers: Peppers::derive(&"m".repeat(32)).unwrap(),
            prefix: "mk".parse().unwrap(),
            allowed_scopes: None,
            max_keys_per_owner: KeyLimit::Unlimited,
            max_lifetime: None,
            default_lifetime: None,
            revoke_descendants: false,
            issuers: Vec::new(),
            cache: CacheConfig { budget: CacheBudget(0), ttl: Duration::ZERO, max_staleness: Duration::ZERO },
            clock: Clock::System,
        }
    }

    /// Services on an in-memory database, for tests that do not depend on the cache.
    pub async fn services() -> Services {
        Services::new(Store::open("sqlite::memory:", 1).await.unwrap(), config())
    }
}
