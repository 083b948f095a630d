//! Limits of the server: connections and time.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

use crate::http::memory_budget::MemoryBudget;
use crate::telemetry::metrics::Metrics;

#[derive(Clone)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_peer: usize,
    /// For requests that have arrived in part, in bytes.
    pub request_memory: usize,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub request_timeout: Duration,
    pub shutdown_timeout: Duration,
}

impl Limits {
    /// The detail of the response to a request for whose connection there is no place.
    pub fn overload(&self) -> String {
        format!(
            "Every connection that the server may have is in use: {} in all (--max-connections, MINTKEY_MAX_CONNECTIONS), of \
             them {} of one address (--max-connections-per-peer, MINTKEY_MAX_CONNECTIONS_PER_PEER). Retry later.",
            self.connections, self.connections_per_peer
        )
    }
}

/// The two halves of `--request-memory`, and a sixteenth of it for forms. Anyone can send a head or a form: a client that
/// fills their budgets takes nothing from the bodies of authenticated callers.
pub struct RequestMemory {
    pub heads: Arc<MemoryBudget>,
    pub bodies: Arc<MemoryBudget>,
    /// Forms that are read before their client is authenticated.
    pub forms: Arc<MemoryBudget>,
}

impl RequestMemory {
    pub fn new(limit: usize, metrics: &Metrics) -> Self {
        let budget = |part, limit| Arc::new(MemoryBudget::new(limit, metrics.request_memory(part, limit)));
        Self {
            heads: budget("heads", limit / 2),
            bodies: budget("bodies", limit / 2),
            forms: budget("forms", limit / 16),
        }
    }
}

/// File descriptors that are not for connections: those of the database, the logs and reloaded files.
pub const RESERVED_FDS: u64 = 128;

/// Returns the number of connections to accept: as many as requested, but leaving [`RESERVED_FDS`] of the process's file
/// descriptors. Without them the database could not open its files. Raises the soft limit to the hard limit.
pub fn effective_max_connections(requested: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Some systems refuse: they have a lower bound of their own.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(descriptors.saturating_sub(RESERVED_FDS)).unwrap_or(usize::MAX).max(1);
    if possible < requested {
        warn!(
            requested,
            effective = possible,
            "--max-connections (MINTKEY_MAX_CONNECTIONS) needs more file descriptors than allowed and was lowered; raise the limit \
             (ulimit -n, LimitNOFILE=)"
        );
    }
    requested.min(possible)
}
