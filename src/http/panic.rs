//! Panics of a handler.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// The operation's answer, or nothing when it panicked.
pub fn catch_panic<T>(operation: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
    AssertUnwindSafe(operation).catch_unwind().map(Result::ok)
}
