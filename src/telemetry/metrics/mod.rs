//! Metrics: what is counted and measured, as Prometheus scrapes it.
//!
//! Every request passes here, so what is counted on its way is found beforehand: a route knows the counter of its usual
//! answers and its histogram. That is one atomic addition and one uncontended lock; everything else is read when somebody
//! scrapes. Labels are templates of routes, registered methods and codes, never a word of a client's.

mod process;
mod service;

use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::{StatusCode, header};
use poem::{EndpointExt, Request, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::service::Services;

/// From a verify out of memory to the longest that a request may take.
const BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connections: Gauge,
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

/// The metrics of one route.
pub struct RouteMetrics {
    route: Arc<str>,
    usual: Vec<(&'static str, u16, Counter)>,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
}

/// A connection, counted for as long as it is open.
pub struct OpenConnection(Gauge);

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            connections: Gauge::default(),
        }
    }
}

impl Metrics {
    /// For a route, with the methods it takes and the status of a good answer to each.
    pub fn route(&self, template: &str, usual: impl Iterator<Item = (&'static str, StatusCode)>) -> RouteMetrics {
        let route: Arc<str> = template.into();
        let usual = usual.map(|(method, status)| {
            let labels = RequestLabels { route: route.clone(), method, status: status.as_u16() };
            (method, status.as_u16(), self.requests.get_or_create_owned(&labels))
        });
        RouteMetrics {
            usual: usual.collect(),
            requests: self.requests.clone(),
            duration: self.durations.get_or_create_owned(&RouteLabels { route: route.clone() }),
            route,
        }
    }

    pub fn connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// The page that is scraped.
    pub fn page(&self, services: Arc<Services>, max_connections: usize) -> BoxEndpoint<'static> {
        let mut registry = Registry::default();
        registry.register("mintkey_http_requests", "Requests answered", self.requests.clone());
        registry.register_with_unit(
            "mintkey_http_request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register("mintkey_http_connections", "Connections that are open", self.connections.clone());
        registry.register_collector(Box::new(process::OfProcess { started: services.now() }));
        registry.register_collector(Box::new(service::OfService { services, max_connections }));
        poem::get(make_sync(move |request| scrape(&registry, &request))).map_to_response().boxed()
    }
}

impl RouteMetrics {
    pub fn answered(&self, method: &'static str, status: u16, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        match self.usual.iter().find(|usual| usual.0 == method && usual.1 == status) {
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

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

fn scrape(registry: &Registry, request: &Request) -> Response {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("a string takes what is written to it");
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        Response::builder().content_type(OPEN_METRICS).body(text)
    } else {
        Response::builder().content_type(PLAIN).body(plain(&text))
    }
}

/// The older format, which everybody reads: there the `_total` of a counter is part of its name, and there are no units.
fn plain(open_metrics: &str) -> String {
    let counters: Vec<_> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        match comment.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(&name) => {
                text.push_str(&format!("{start}{name}_total {rest}"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_whole_and_has_neither_units_nor_an_end() {
        let open_metrics = "# HELP a_seconds A time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                            a_seconds_total{x=\"# TYPE a_seconds counter\"} 1\n# HELP b A.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_seconds_total A time.\n# TYPE a_seconds_total counter\n\
                        a_seconds_total{x=\"# TYPE a_seconds counter\"} 1\n# HELP b A.\n# TYPE b gauge\nb 2\n";
        assert_eq!(plain(open_metrics), expected);
    }

    #[test]
    fn answers_are_counted_by_route_method_and_status() {
        let metrics = Metrics::default();
        let route = metrics.route("/x/{id}", [("POST", StatusCode::CREATED)].into_iter());
        for (method, status) in [("POST", 201), ("POST", 201), ("POST", 404), ("-", 405)] {
            route.answered(method, status, Duration::from_millis(3));
        }
        let count = |method, status| {
            metrics.requests.get_or_create(&RequestLabels { route: "/x/{id}".into(), method, status }).get()
        };
        assert_eq!([count("POST", 201), count("POST", 404), count("-", 405)], [2, 1, 1]);
    }
}
