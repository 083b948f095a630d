//! Metrics, in the formats that Prometheus scrapes.
//!
//! Every request is counted by [`Metrics`]; [`service`] and [`process`] read everything else at a scrape. Label values are
//! route templates, standard methods and codes, never text of a client, so that the number of series is bounded.

mod http;
mod process;
mod service;
mod text_format;
mod writer;

use std::sync::Arc;

use poem::endpoint::{BoxEndpoint, make_sync};
use poem::http::header;
use poem::{EndpointExt, Request, Response};
use prometheus_client::registry::Registry;

use crate::service::Services;

pub use http::{Metrics, OpenConnection, RouteMetrics};

/// The maximum numbers of connections.
pub struct ConnectionLimits {
    pub all: usize,
    pub per_peer: usize,
}

const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The endpoint of /metrics.
pub fn metrics_page(metrics: &Metrics, services: Arc<Services>, limits: ConnectionLimits) -> BoxEndpoint<'static> {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    registry.register_collector(Box::new(process::ProcessCollector { started: services.now() }));
    registry.register_collector(Box::new(service::ServiceCollector { services, limits }));
    poem::get(make_sync(move |request| scrape(&registry, &request))).map_to_response().boxed()
}

/// Responds in OpenMetrics to clients that accept it, else in the older Prometheus text format, which all scrapers read.
fn scrape(registry: &Registry, request: &Request) -> Response {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).expect("writing to a string does not fail");
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        Response::builder().content_type(OPENMETRICS_TYPE).body(text)
    } else {
        Response::builder().content_type(PROMETHEUS_TYPE).body(text_format::to_prometheus(&text))
    }
}
