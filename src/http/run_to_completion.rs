//! RunToCompletion: an operation that was begun comes to its end, also when nobody waits for its answer any more.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tracing::{Instrument, Span};

type BoxedOperation<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs where it is waited for. Only when it is dropped before its end it goes on in a task of its own: a task for every
/// operation would cost more than most of them do.
pub struct RunToCompletion<T: Send + 'static> {
    /// Nothing, when it is at its end.
    operation: Option<BoxedOperation<T>>,
    traced: Span,
}

impl<T: Send + 'static> RunToCompletion<T> {
    /// The operation must not panic. `traced` is the span that it is part of beside the present one.
    pub fn of(operation: impl Future<Output = T> + Send + 'static, traced: Span) -> Self {
        Self { operation: Some(Box::pin(operation)), traced }
    }
}

impl<T: Send + 'static> Future for RunToCompletion<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let operation = self.operation.as_mut().expect("nobody waits again for what has ended");
        let done = ready!(operation.as_mut().poll(context));
        self.operation = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for RunToCompletion<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let (Some(operation), Ok(runtime)) = (self.operation.take(), Handle::try_current()) {
            runtime.spawn(operation.in_current_span().instrument(self.traced.clone()));
        }
    }
}
