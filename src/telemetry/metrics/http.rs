//! Metrics of requests and connections.
//!
//! Every request is recorded here, so lookups are done beforehand: a route holds the counters of its success statuses and
//! its histogram. Recording then costs one atomic addition and one uncontended lock.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a cached verification to the longest that a request may take, in seconds.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connections: Gauge,
    connections_of_largest_peer: Gauge,
    connections_without_place: Family<OutcomeLabels, Counter>,
    request_memory: Family<PartLabels, Gauge>,
    request_memory_limit: Family<PartLabels, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    part: &'static str,
}

/// The metrics of one route.
pub struct RouteMetrics {
    route: Arc<str>,
    /// The counters of the success statuses, by method.
    preallocated: Vec<(&'static str, u16, Counter)>,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
}

/// Counts a connection as open until dropped.
pub struct OpenConnection(Gauge);

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            connections: Gauge::default(),
            connections_of_largest_peer: Gauge::default(),
            connections_without_place: Family::default(),
            request_memory: Family::default(),
            request_memory_limit: Family::default(),
        }
    }
}

impl Metrics {
    /// Returns the metrics of a route, given its methods with the success status of each.
    pub fn route(&self, template: &str, methods: impl Iterator<Item = (&'static str, StatusCode)>) -> RouteMetrics {
        let route: Arc<str> = template.into();
        let preallocated = methods.map(|(method, status)| {
            let labels = RequestLabels { route: route.clone(), method, status: status.as_u16() };
            (method, status.as_u16(), self.requests.get_or_create_owned(&labels))
        });
        RouteMetrics {
            preallocated: preallocated.collect(),
            requests: self.requests.clone(),
            duration: self.durations.get_or_create_owned(&RouteLabels { route: route.clone() }),
            route,
        }
    }

    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    pub fn connections_of_largest_peer(&self, number: usize) {
        self.connections_of_largest_peer.set(number as i64);
    }

    /// Counts a connection beyond the maximum, of all or of its peer.
    pub fn connection_without_place(&self, idle_closed: bool) {
        let outcome = if idle_closed { "idle_closed" } else { "refused" };
        self.connections_without_place.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Returns the gauge of the memory that a part of requests takes.
    pub fn request_memory(&self, part: &'static str, limit: usize) -> Gauge {
        self.request_memory_limit.get_or_create(&PartLabels { part }).set(limit as i64);
        self.request_memory.get_or_create_owned(&PartLabels { part })
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("mintkey_http_requests", "Number of requests completed", self.requests.clone());
        registry.register_with_unit(
            "mintkey_http_request_duration",
            "Time from a request's head to its response",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("mintkey_http_connections", "Open connections", self.connections.clone());
        registry.register(
            "mintkey_http_connections_per_peer",
            "Open connections of the peer with the most",
            self.connections_of_largest_peer.clone(),
        );
        registry.register(
            "mintkey_http_connections_without_place",
            "Number of connections beyond a maximum, by what was done",
            self.connections_without_place.clone(),
        );
        registry.register_with_unit(
            "mintkey_http_request_memory",
            "Memory of requests that have arrived in part",
            Unit::Bytes,
            self.request_memory.clone(),
        );
        registry.register_with_unit(
            "mintkey_http_request_memory_limit",
            "Maximum memory of requests that have arrived in part",
            Unit::Bytes,
            self.request_memory_limit.clone(),
        );
    }
}

impl RouteMetrics {
    /// Records a completed request.
    pub fn record(&self, method: &'static str, status: u16, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        match self.preallocated.iter().find(|counter| counter.0 == method && counter.1 == status) {
            Some((_, _, count)) => count.inc(),
            None => self.requests.get_or_create(&RequestLabels { route: self.route.clone(), method, status }).inc(),
        };
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_counts_by_route_method_and_status() {
        let metrics = Metrics::default();
        let route = metrics.route("/x/{id}", [("POST", StatusCode::CREATED)].into_iter());
        for (method, status) in [("POST", 201), ("POST", 201), ("POST", 404), ("-", 405)] {
            route.record(method, status, Duration::from_millis(3));
        }
        let count = |method, status| {
            metrics.requests.get_or_create(&RequestLabels { route: "/x/{id}".into(), method, status }).get()
        };
        assert_eq!([count("POST", 201), count("POST", 404), count("-", 405)], [2, 1, 1]);
    }
}
