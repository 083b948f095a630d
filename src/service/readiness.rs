//! Readiness: whether everything that requests depend on works.

use std::sync::Arc;
use std::time::Duration;

use crate::service::issuer::TrustedIssuer;
use crate::store::{SchemaState, Store};

/// The result of checking one dependency.
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// Public: what is wrong and what to do.
    pub detail: String,
    /// For the log alone.
    pub cause: Option<String>,
}

impl Check {
    fn passed(name: &'static str, detail: &str) -> Self {
        Self { name, ok: true, detail: detail.to_owned(), cause: None }
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into(), cause: None }
    }
}

/// Time allowed for the store, below the usual timeout of an orchestrator's probe.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the store, its schema and the issuers.
pub struct Readiness {
    store: Store,
    issuers: Arc<[TrustedIssuer]>,
}

impl Readiness {
    pub(super) fn new(store: Store, issuers: Arc<[TrustedIssuer]>) -> Self {
        Self { store, issuers }
    }

    /// Runs every check. Takes up to two seconds.
    pub async fn check(&self) -> Vec<Check> {
        let schema = tokio::time::timeout(READINESS_TIMEOUT, self.store.schema()).await;
        let (store, schema) = match schema {
            Err(_) => (Check::failed("store", "did not respond within 2 seconds"), None),
            Ok(Err(error)) => {
                let detail = match self.store.is_standby() {
                    true => "is a standby in recovery; give the primary",
                    false => "is unreachable; see the log lines with this request id",
                };
                let check = Check::failed("store", detail);
                (Check { cause: Some(error.to_string()), ..check }, None)
            }
            // Not a failure: keys are verified.
            Ok(Ok(schema)) if self.store.is_read_only() => {
                (Check::passed("store", "is reachable, but takes no writes: its sessions are read-only"), Some(schema))
            }
            Ok(Ok(schema)) => (Check::passed("store", "is reachable"), Some(schema)),
        };
        vec![store, schema_check(schema), self.check_issuers()]
    }

    fn check_issuers(&self) -> Check {
        let not_ready = |issuer: &TrustedIssuer| Some((issuer.issuer.clone(), issuer.keys.ready().err()?));
        let not_ready: Vec<_> = self.issuers.iter().filter_map(not_ready).collect();
        if not_ready.is_empty() {
            return Check::passed("issuers", "keys are loaded");
        }
        let names: Vec<_> = not_ready.iter().map(|(issuer, _)| issuer.as_str()).collect();
        let causes: Vec<_> = not_ready.iter().map(|(issuer, reason)| format!("{issuer}: {reason}")).collect();
        let check = Check::failed("issuers", format!("no keys fetched yet: {}; see the log", names.join(", ")));
        Check { cause: Some(causes.join("; ")), ..check }
    }
}

fn schema_check(schema: Option<SchemaState>) -> Check {
    match schema {
        None => Check::failed("migrations", "are unknown while the store is unreachable"),
        Some(SchemaState::Newer { .. }) => {
            Check::failed("migrations", "are newer than this program; run the newer version")
        }
        Some(SchemaState::Missing) => Check::failed("migrations", "are missing; run `mintkey migrate`"),
        Some(SchemaState::Outdated(pending)) => {
            Check::failed("migrations", format!("{pending} pending; run `mintkey migrate`"))
        }
        Some(SchemaState::Current) => Check::passed("migrations", "are up to date"),
    }
}
