//! Traces: spans for a collector, over OTLP, when OpenTelemetry's own variables name one. Otherwise nothing of this is
//! there, and a span of ours costs a look at a number.

use std::env;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, dynamic_filter_fn};
use tracing_subscriber::registry::LookupSpan;

use crate::SPAN_TARGET;

/// The variables of the OpenTelemetry specification; the others of it are read by its library.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(3);

pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Nothing, when no collector is named.
    pub fn start() -> Result<Option<Self>, ExporterBuildError> {
        let says = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.into_iter().any(says) || env::var("OTEL_SDK_DISABLED").is_ok_and(|off| off == "true") {
            return Ok(None);
        }
        let resource = Resource::builder()
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = match says("OTEL_SERVICE_NAME") {
            true => resource,
            false => resource.with_service_name("mintkey"),
        };
        let exporter = SpanExporter::builder().with_http().build()?;
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
        Ok(Some(Self(provider)))
    }

    /// Requests, and what the database is asked for them; not what it is asked between requests.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let layer: OpenTelemetryLayer<S, Tracer> = tracing_opentelemetry::layer().with_tracer(self.0.tracer("mintkey"));
        let of_database = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with("sea_orm");
        let of_request = dynamic_filter_fn(move |metadata, context| {
            metadata.target() == SPAN_TARGET || (of_database(metadata) && context.lookup_current().is_some())
        });
        // So that the words of all other libraries are refused once, and not each time.
        let of_request = of_request.with_max_level_hint(LevelFilter::INFO).with_callsite_filter(move |metadata| {
            if metadata.target() == SPAN_TARGET {
                Interest::always()
            } else if of_database(metadata) && *metadata.level() <= Level::INFO {
                Interest::sometimes()
            } else {
                Interest::never()
            }
        });
        let layer = layer.with_location(false).with_threads(false).with_target(false).with_level(false);
        layer.with_tracked_inactivity(false).with_filter(of_request)
    }

    /// Sends what was not sent yet. It blocks.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}
