//! Readiness: whether this process can verify keys now, and whether it can change them. The two differ: cached keys are
//! verified while the database is away, and keys are verified while it takes no changes.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{info, warn};

use crate::service::cache::KeyCache;
use crate::service::issuer::TrustedIssuer;
use crate::service::verify::cached_key::CachedKey;
use crate::store::{SchemaState, Store, StoreError};

/// What the process is to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To verify keys that callers present.
    Verifications,
    /// To create, change and revoke keys.
    Changes,
}

/// The result of one check.
pub struct Check {
    pub name: Cow<'static, str>,
    pub ok: bool,
    /// True if the process is not ready when this fails.
    pub required: bool,
    /// Public: what is wrong and what to do.
    pub detail: String,
    /// For the log alone.
    pub cause: Option<String>,
}

impl Check {
    pub fn new(name: impl Into<Cow<'static, str>>, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, required: true, detail: detail.into(), cause: None }
    }

    fn required(self, required: bool) -> Self {
        Self { required, ..self }
    }

    fn caused_by(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

/// Time allowed for the store, below the usual timeout of an orchestrator's probe.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the outcome of a write counts. Anyone can ask for readiness, and must not cause more writes.
const WRITE_VALID_FOR: Duration = Duration::from_secs(1);

/// Checks the store, its schema, the cache and the issuers.
pub struct Readiness {
    store: Store,
    issuers: Arc<[TrustedIssuer]>,
    cache: Arc<KeyCache<CachedKey>>,
    /// Locked during a write, so that there is one at a time.
    probe: tokio::sync::Mutex<()>,
    last_write: Mutex<Option<(Instant, Result<(), StoreError>)>>,
}

impl Readiness {
    pub(super) fn new(store: Store, issuers: Arc<[TrustedIssuer]>, cache: Arc<KeyCache<CachedKey>>) -> Self {
        let (probe, last_write) = Default::default();
        Self { store, issuers, cache, probe, last_write }
    }

    /// Runs every check. Takes up to two seconds.
    pub async fn check(&self, purpose: Purpose) -> Vec<Check> {
        let for_changes = purpose == Purpose::Changes;
        let write = async {
            match self.last_write().filter(|_| !for_changes) {
                Some((_, outcome)) => outcome,
                None => self.probe_write().await,
            }
        };
        let (schema, write) = tokio::join!(timeout(READINESS_TIMEOUT, self.store.schema()), write);
        let known = schema.as_ref().ok().and_then(|schema| schema.as_ref().ok());
        let verifications = check_verifications(known, self.cache.stale_time_left());
        let mut checks = vec![
            verifications.required(purpose == Purpose::Verifications),
            self.check_store(&schema).required(for_changes),
            check_schema(known).required(for_changes),
            check_writes(write).required(for_changes),
        ];
        let can_sign_in = self.issuers.iter().any(|issuer| issuer.keys.ready().is_ok());
        let issuers = self.issuers.iter().map(check_issuer);
        checks.extend(issuers.map(|check| check.required(for_changes && !can_sign_in)));
        checks
    }

    /// Whether the last write succeeded. `None` before the first one.
    pub fn is_writable(&self) -> Option<bool> {
        self.last_write().map(|(_, outcome)| outcome.is_ok())
    }

    /// Writes to the store, unless that was done within the last second, and returns why it fails, if it does.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.probe.lock().await;
        let last = self.last_write();
        if let Some((at, outcome)) = &last
            && at.elapsed() < WRITE_VALID_FOR
        {
            return outcome.clone();
        }
        let silent = |_| Err(StoreError::Unavailable("the database took no change within 2 seconds".into()));
        let outcome = timeout(READINESS_TIMEOUT, self.store.probe_write()).await.unwrap_or_else(silent);
        let was_ok = last.is_none_or(|(_, outcome)| outcome.is_ok());
        match &outcome {
            Err(error) if was_ok => warn!(%error, "the database takes no changes"),
            Ok(()) if !was_ok => info!("the database takes changes again"),
            _ => {}
        }
        *self.last_write.lock().expect("no thread panics with it") = Some((Instant::now(), outcome.clone()));
        outcome
    }

    fn last_write(&self) -> Option<(Instant, Result<(), StoreError>)> {
        self.last_write.lock().expect("no thread panics with it").clone()
    }

    fn check_store<E>(&self, schema: &Result<Result<SchemaState, StoreError>, E>) -> Check {
        match schema {
            Ok(Ok(_)) => Check::new("store", true, "is reachable"),
            Ok(Err(error)) => {
                let detail = match error {
                    _ if self.store.is_standby() => "is a standby in recovery; give the primary",
                    StoreError::Incompatible(_) => "cannot be used; see the log lines with this request id",
                    _ => "is unreachable; see the log lines with this request id",
                };
                Check::new("store", false, detail).caused_by(error.to_string())
            }
            Err(_) => Check::new("store", false, "did not respond within 2 seconds"),
        }
    }
}

/// Keys are verified from the store, or, while it is unreachable, from the cache for a limited time.
fn check_verifications(schema: Option<&SchemaState>, cache_left: Duration) -> Check {
    let (ok, detail) = match (schema, cache_left) {
        (Some(SchemaState::Current), _) => (true, "are served".to_owned()),
        (Some(_), _) => (false, "need other tables; see migrations".to_owned()),
        (None, Duration::ZERO) => (false, "need the store, and no cached key may be used".to_owned()),
        (None, left) => {
            (true, format!("of cached keys are served for {} s more without the store", left.as_secs_f64().ceil()))
        }
    };
    Check::new("verifications", ok, detail)
}

fn check_schema(schema: Option<&SchemaState>) -> Check {
    let (ok, detail) = match schema {
        None => (false, "are unknown while the store cannot be read".to_owned()),
        Some(SchemaState::Newer { .. }) => (false, "are newer than this program; run the newer version".to_owned()),
        Some(SchemaState::Missing) => (false, "are missing; run `mintkey migrate`".to_owned()),
        Some(SchemaState::Outdated(pending)) => (false, format!("{pending} pending; run `mintkey migrate`")),
        Some(SchemaState::Current) => (true, "are up to date".to_owned()),
    };
    Check::new("migrations", ok, detail)
}

fn check_writes(outcome: Result<(), StoreError>) -> Check {
    match outcome {
        Ok(()) => Check::new("writes", true, "succeed"),
        Err(error) => {
            let detail = match &error {
                StoreError::Rejected(rejection, _) => format!("fail: the database {}", rejection.message()),
                _ => "fail; see the log lines with this request id".to_owned(),
            };
            Check::new("writes", false, detail).caused_by(error.to_string())
        }
    }
}

fn check_issuer(issuer: &TrustedIssuer) -> Check {
    let name = format!("issuer {}", issuer.issuer);
    match issuer.keys.ready() {
        Ok(()) => Check::new(name, true, "has provided keys"),
        Err(reason) => {
            let detail =
                "has provided no usable keys, so its tokens get 503; the log has the reason (JWKS fetch failed)";
            Check::new(name, false, detail).caused_by(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifications_without_the_store_need_cached_keys() {
        let minute = Duration::from_secs(60);
        for (schema, left, ok) in [
            (Some(SchemaState::Current), Duration::ZERO, true),
            (Some(SchemaState::Outdated(1)), minute, false),
            (None, minute, true),
            (None, Duration::ZERO, false),
        ] {
            assert_eq!(check_verifications(schema.as_ref(), left).ok, ok, "{schema:?} {left:?}");
        }
    }

    #[tokio::test]
    async fn probe_write_writes_at_most_once_a_second() {
        let (store, _directory) = Store::temporary().await;
        let cache = KeyCache::new(crate::service::tests::config().cache).into();
        let readiness = Readiness::new(store, [].into(), cache);
        assert_eq!(readiness.is_writable(), None);
        assert!(readiness.probe_write().await.is_ok());
        let (first, _) = readiness.last_write().unwrap();
        assert!(readiness.probe_write().await.is_ok());
        assert!(readiness.is_writable() == Some(true) && readiness.last_write().unwrap().0 == first);
    }
}
