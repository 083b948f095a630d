//! Panic: turns the panic of a handler into an absent result.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Returns the result of an operation, or `None` if it panicked. The panic hook has logged the location.
pub fn catch_panic<T>(operation: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    AssertUnwindSafe(operation).catch_unwind().map(Result::ok)
}
