//! SpanQueue: the queue of spans to export, which counts those that are lost.
//!
//! The library's processor drops spans when its queue is full, and says so once, without a number. This one admits no more
//! spans than the library's queue holds, so that it alone drops and counts them.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, OTEL_BSP_MAX_QUEUE_SIZE, OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT, Span, SpanData,
    SpanExporter, SpanProcessor,
};

/// Spans that this process has lost since its start.
#[derive(Debug, Default)]
pub struct LostSpans {
    queue_full: AtomicU64,
    export_failed: AtomicU64,
}

/// The spans of this process, like its subscriber.
pub static LOST_SPANS: LostSpans = LostSpans { queue_full: AtomicU64::new(0), export_failed: AtomicU64::new(0) };

impl LostSpans {
    /// By reason: the collector is slower than spans are made, or a batch of them could not be sent.
    pub fn by_reason(&self) -> [(&'static str, u64); 2] {
        [
            ("queue_full", self.queue_full.load(Ordering::Relaxed)),
            ("export_failed", self.export_failed.load(Ordering::Relaxed)),
        ]
    }
}

/// A queue before the library's own.
#[derive(Debug)]
pub struct SpanQueue {
    library: BatchSpanProcessor,
    capacity: usize,
    queued: Arc<AtomicUsize>,
    lost: &'static LostSpans,
}

impl SpanQueue {
    /// An empty queue, of the capacity that the environment sets.
    pub fn new(exporter: impl SpanExporter + 'static, lost: &'static LostSpans) -> Self {
        let set = env::var(OTEL_BSP_MAX_QUEUE_SIZE).ok().and_then(|text| text.parse().ok());
        let capacity = set.filter(|capacity| *capacity > 0).unwrap_or(OTEL_BSP_MAX_QUEUE_SIZE_DEFAULT);
        let queued = Arc::new(AtomicUsize::new(0));
        let exporter = CountingExporter { exporter, queued: Arc::clone(&queued), lost };
        let config = BatchConfigBuilder::default().with_max_queue_size(capacity).build();
        Self { library: BatchSpanProcessor::new(exporter, config), capacity, queued, lost }
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.library.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.queued.fetch_add(1, Ordering::AcqRel) >= self.capacity {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.lost.queue_full.fetch_add(1, Ordering::Relaxed);
        } else {
            self.library.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.library.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.library.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.library.set_resource(resource);
    }
}

/// Takes the spans of a batch off the count, and counts those that could not be sent.
#[derive(Debug)]
struct CountingExporter<E> {
    exporter: E,
    queued: Arc<AtomicUsize>,
    lost: &'static LostSpans,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let number = batch.len();
        self.queued.fetch_sub(number, Ordering::AcqRel);
        let exported = self.exporter.export(batch).await;
        if exported.is_err() {
            self.lost.export_failed.fetch_add(number as u64, Ordering::Relaxed);
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use opentelemetry::trace::{Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A collector that responds to each batch when the test says how, and reports how many spans it got.
    #[derive(Debug)]
    struct Collector {
        batches: SyncSender<usize>,
        responses: Mutex<Receiver<bool>>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.batches.send(batch.len()).unwrap();
            let succeeds = self.responses.lock().unwrap().recv().unwrap_or(true);
            if succeeds { Ok(()) } else { Err(OTelSdkError::Timeout(Duration::ZERO)) }
        }
    }

    #[test]
    fn spans_that_a_slow_collector_does_not_take_are_counted() {
        static LOST: LostSpans = LostSpans { queue_full: AtomicU64::new(0), export_failed: AtomicU64::new(0) };
        let (batches, exported) = sync_channel(1000);
        let (response, responses) = sync_channel(1000);
        let queue = SpanQueue::new(Collector { batches, responses: Mutex::new(responses) }, &LOST);
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        const MADE: u64 = 5000;
        (0..MADE).for_each(|_| drop(tracer.start("span")));
        let queue_full = LOST.by_reason()[0].1;
        assert!(queue_full > 0 && queue_full < MADE, "{queue_full}");

        // The first batch fails; all others are taken.
        response.send(false).unwrap();
        drop(response);
        provider.shutdown().unwrap();
        let batches: Vec<_> = exported.iter().map(|spans| spans as u64).collect();
        assert_eq!(LOST.by_reason(), [("queue_full", queue_full), ("export_failed", batches[0])]);
        assert_eq!(batches.iter().sum::<u64>() + queue_full, MADE, "every span is exported or counted");
    }
}
