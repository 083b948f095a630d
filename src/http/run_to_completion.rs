//! RunToCompletion: a future that continues in the background when it is dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

type BoxedOperation<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs in the task that awaits it. If it is dropped before it has completed, it is spawned as a task: one task for each
/// operation would cost more than most operations.
pub struct RunToCompletion<T: Send + 'static> {
    /// Absent once the operation has completed.
    operation: Option<BoxedOperation<T>>,
    traced: Span,
}

impl<T: Send + 'static> RunToCompletion<T> {
    /// The operation must not panic. `traced` is the span for the trace collector, beside the current one.
    pub fn of(operation: impl Future<Output = T> + Send + 'static, traced: Span) -> Self {
        Self { operation: Some(Box::pin(operation)), traced }
    }
}

impl<T: Send + 'static> Future for RunToCompletion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let operation = self.operation.as_mut().expect("a completed future is not polled again");
        let done = ready!(operation.as_mut().poll(context));
        self.operation = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        // Without a runtime the process is exiting.
        if let (Some(operation), Ok(runtime)) = (self.operation.take(), Handle::try_current()) {
            runtime.spawn(operation.in_current_span().instrument(self.traced.clone()));
        }
    }
}
