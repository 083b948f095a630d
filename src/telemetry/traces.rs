//! Traces: exports spans over OTLP if OpenTelemetry's environment variables name a collector. Otherwise nothing is started,
//! and a disabled span costs one comparison.

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
use crate::telemetry::span_queue::{LOST_SPANS, SpanQueue};

/// The variables of the OpenTelemetry specification that name a collector. Its library reads the others.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Time allowed to export the last spans at shutdown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts the exporter. Returns nothing if no collector is configured.
    pub fn start() -> Result<Option<Self>, ExporterBuildError> {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.into_iter().any(is_set) || env::var("OTEL_SDK_DISABLED").is_ok_and(|off| off == "true") {
            return Ok(None);
        }
        let resource = Resource::builder()
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let resource = match is_set("OTEL_SERVICE_NAME") {
            true => resource,
            false => resource.with_service_name("mintkey"),
        };
        let queue = SpanQueue::new(SpanExporter::builder().with_http().build()?, &LOST_SPANS);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).with_resource(resource.build()).build();
        Ok(Some(Self(provider)))
    }

    /// Exports request spans and their database spans, but not the database spans of background tasks.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let layer: OpenTelemetryLayer<S, Tracer> = tracing_opentelemetry::layer().with_tracer(self.0.tracer("mintkey"));
        let of_database = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with("sea_orm");
        let of_request = dynamic_filter_fn(move |metadata, context| {
            metadata.target() == SPAN_TARGET || (of_database(metadata) && context.lookup_current().is_some())
        });
        // Refuses the spans of other libraries once per callsite, not each time.
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

    /// Exports the remaining spans. Blocks.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "trace exporter shutdown failed; some spans lost");
        }
    }
}
