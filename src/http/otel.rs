//! OtelMiddleware: records a request as a span, by OpenTelemetry's conventions for HTTP servers. It wraps the pipeline only
//! if a collector is configured, so that other deployments do not pay for it.

use std::sync::Arc;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use poem::{Endpoint, Request, Response};
use tracing::field::Empty;
use tracing::{Instrument, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::SPAN_TARGET;
use crate::http::request_context::REQUEST_ID;
use crate::http::router::{RouteTable, method_label};

pub struct OtelMiddleware<E> {
    pub inner: E,
    pub routes: Arc<RouteTable>,
}

impl<E: Endpoint<Output = Response>> Endpoint for OtelMiddleware<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let route = self.routes.find(request.uri().path()).map(|route| route.template.as_str());
        let method = method_label(request.method());
        let span = info_span!(
            target: SPAN_TARGET,
            "request",
            otel.name = route.map_or(method.to_owned(), |route| format!("{method} {route}")),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = if method == "-" { "_OTHER" } else { method },
            http.route = route,
            http.response.status_code = Empty,
            mintkey.request_id = Empty,
        );
        let propagator = TraceContextPropagator::new();
        // Fails if the span is not exported; then it needs no parent.
        let _ = span.set_parent(propagator.extract(&HeaderExtractor(request.headers())));
        // Log lines contain the trace id, also of a trace that begins here.
        propagator.inject_context(&span.context(), &mut HeaderInjector(request.headers_mut()));
        // Read by `RunToCompletion`, which may continue in another task.
        request.extensions_mut().insert(span.clone());

        let response = self.inner.call(request).instrument(span.clone()).await?;
        // The collector gets an `i64` as a number, but an unsigned integer as a string.
        span.record("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
        span.record("mintkey.request_id", response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()));
        Ok(response)
    }
}
