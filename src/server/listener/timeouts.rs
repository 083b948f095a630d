//! Time limits of a connection: for a request's head, between requests, and for a response to be received.
//!
//! A timer for the head of every request would cost more than reading it. So a connection only records its phase, and
//! [`Activity::wait_until_overdue`] polls the phase at intervals.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// The recorded activity of a connection.
pub struct Activity {
    /// Requests received so far.
    begun: AtomicUsize,
    /// Requests in flight.
    in_flight: AtomicUsize,
    /// True while a request's head is received in part.
    in_head: AtomicBool,
    /// True for HTTP/2, whose control frames are bytes that belong to no request.
    multiplexed: AtomicBool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Responding,
    Idle { begun: usize },
    InHead { begun: usize },
}

/// Counts a request as in flight until dropped.
pub struct InFlight<'a>(&'a Activity);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Activity {
    /// Starts in the head phase, so that the time limit of the first head runs from the start of the connection.
    pub fn new() -> Self {
        Self { begun: 0.into(), in_flight: 0.into(), in_head: true.into(), multiplexed: false.into() }
    }

    pub fn begin(&self, multiplexed: bool) -> InFlight<'_> {
        self.begun.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.in_head.store(false, Relaxed);
        if multiplexed {
            self.multiplexed.store(true, Relaxed);
        }
        InFlight(self)
    }

    fn bytes_received(&self) {
        if self.in_flight.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) {
            self.in_head.store(true, Relaxed);
        }
    }

    fn phase(&self) -> Phase {
        let begun = self.begun.load(Relaxed);
        match (self.in_flight.load(Relaxed), self.in_head.load(Relaxed)) {
            (0, true) => Phase::InHead { begun },
            (0, false) => Phase::Idle { begun },
            _ => Phase::Responding,
        }
    }

    /// Completes when the connection has been in the same head, or idle, for longer than allowed. Polls the phase every
    /// `head_timeout`, so a limit is exceeded by at most one more. An idle connection is not polled again until bytes
    /// arrive: polling ten thousand of them would keep a core busy. Their arrival wakes this task, because the connection
    /// is read in it.
    pub async fn wait_until_overdue(&self, head_timeout: Duration, idle_timeout: Duration) {
        let (mut seen, mut since) = (self.phase(), Instant::now());
        loop {
            sleep(head_timeout).await;
            match self.phase() {
                now if now != seen => (seen, since) = (now, Instant::now()),
                Phase::InHead { .. } => return,
                Phase::Responding => {}
                Phase::Idle { .. } => {
                    let changed = poll_fn(|_| if self.phase() == seen { Poll::Pending } else { Poll::Ready(()) });
                    if timeout_at(since + idle_timeout, changed).await.is_err() {
                        return;
                    }
                    (seen, since) = (self.phase(), Instant::now());
                }
            }
        }
    }
}

/// A stream that records received bytes and limits the time for written bytes to be sent. The timer starts with the first
/// write that the socket does not accept at once, which is rare.
pub struct TimedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    limit: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> TimedStream<S> {
    pub fn new(stream: S, activity: Arc<Activity>, limit: Duration) -> Self {
        Self { stream, activity, limit, write_timer: None }
    }

    fn or_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let limit = self.limit;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not receive the response in time")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.bytes_received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.or_timeout(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.or_timeout(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Stops the timer when everything is sent. hyper flushes after it has written all it has, so a client that receives a
    /// byte now and then gains no time.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.write_timer = None;
        }
        self.or_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.or_timeout(cx, shut)
    }
}
