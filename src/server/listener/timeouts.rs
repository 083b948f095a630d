//! Patience: how long a connection may keep the server waiting. A timer for the head of every request costs more than
//! reading it, so what a connection does is noted, and looked at from time to time.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout_at};

/// What a connection does.
pub struct Activity {
    /// Requests that have come.
    begun: AtomicUsize,
    /// Those that are being answered.
    open: AtomicUsize,
    /// Whether a request has begun to come, but not its whole head.
    in_head: AtomicBool,
    /// Whether bytes come that belong to no request: HTTP/2 has frames of its own.
    multiplexed: AtomicBool,
}

#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Answering,
    Idle { begun: usize },
    InHead { begun: usize },
}

/// A request that is being answered.
pub struct Open<'a>(&'a Activity);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Activity {
    /// A connection is made to say something: the first head is waited for from the start.
    pub fn new() -> Self {
        Self { begun: 0.into(), open: 0.into(), in_head: true.into(), multiplexed: false.into() }
    }

    pub fn begin(&self, multiplexed: bool) -> Open<'_> {
        self.begun.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        self.in_head.store(false, Relaxed);
        if multiplexed {
            self.multiplexed.store(true, Relaxed);
        }
        Open(self)
    }

    fn came(&self) {
        if self.open.load(Relaxed) == 0 && !self.multiplexed.load(Relaxed) {
            self.in_head.store(true, Relaxed);
        }
    }

    fn doing(&self) -> Doing {
        let begun = self.begun.load(Relaxed);
        match (self.open.load(Relaxed), self.in_head.load(Relaxed)) {
            (0, true) => Doing::InHead { begun },
            (0, false) => Doing::Idle { begun },
            _ => Doing::Answering,
        }
    }

    /// Ends when the connection has waited for the same head, or been idle, for longer than it may. A look each
    /// `head_timeout` keeps a limit to within one more of these; one that is found idle is not looked at again until
    /// something comes, as ten thousand of them would keep a core busy. What comes is seen because the connection is
    /// read in the same task.
    pub async fn overstays(&self, head_timeout: Duration, idle_timeout: Duration) {
        let (mut seen, mut since) = (self.doing(), Instant::now());
        loop {
            sleep(head_timeout).await;
            match self.doing() {
                now if now != seen => (seen, since) = (now, Instant::now()),
                Doing::InHead { .. } => return,
                Doing::Answering => {}
                Doing::Idle { .. } => {
                    let changed = poll_fn(|_| if self.doing() == seen { Poll::Pending } else { Poll::Ready(()) });
                    if timeout_at(since + idle_timeout, changed).await.is_err() {
                        return;
                    }
                    (seen, since) = (self.doing(), Instant::now());
                }
            }
        }
    }
}

/// A socket whose reading is noted, and whose peer has to take within the limit what is written. The timer is set by
/// the first write that the socket does not take at once, which few do.
pub struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    limit: Duration,
    untaken: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    pub fn new(stream: S, activity: Arc<Activity>, limit: Duration) -> Self {
        Self { stream, activity, limit, untaken: None }
    }

    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let limit = self.limit;
        let timer = self.untaken.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the answer was not taken in time")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it has, so only then is everything taken: a peer that takes a byte
    /// now and then gains nothing.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.untaken = None;
        }
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}
