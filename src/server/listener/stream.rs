//! ConnectionStream: what hyper reads and writes. It limits the memory of a connection, and the time for a response to be
//! received.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::server::listener::activity::Activity;
use crate::server::listener::connection_memory::ConnectionMemory;
use crate::server::listener::discard::Discard;
use crate::server::listener::partial_head::PartialHead;

/// Bytes that are read at a time. hyper doubles a buffer that was filled at once, and keeps it.
const READ_SIZE: usize = 4 * 1024;

/// The response to an HTTP/1 head for which there is no memory. It has no body, as the other errors by which a head is
/// refused.
const HEAD_REFUSED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

pub struct ConnectionStream<S> {
    stream: S,
    activity: Arc<Activity>,
    head: PartialHead,
    memory: ConnectionMemory,
    limit: Duration,
    /// Starts with the first write that the socket does not accept at once, which is rare.
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Present once the stream is shut down for writing.
    discard: Option<Discard>,
}

impl<S> ConnectionStream<S> {
    pub fn new(stream: S, activity: Arc<Activity>, memory: ConnectionMemory, limit: Duration) -> Self {
        let (head, write_timer, discard) = (PartialHead::new(), None, None);
        Self { stream, activity, head, memory, limit, write_timer, discard }
    }

    fn or_timeout<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let Self { limit, activity, .. } = self;
        let timer = self.write_timer.get_or_insert_with(|| {
            activity.set_sending(true);
            Box::pin(sleep(*limit))
        });
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not receive the response in time")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionStream<S> {
    /// Ends the connection, because there is no memory for the rest of a head.
    fn refuse_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.activity.refuse_head();
        if self.head.is_http1() && self.discard.is_none() {
            // Nothing else is being sent: the requests before have their responses. So the socket accepts this at once.
            let _ = Pin::new(&mut self.stream).poll_write(cx, HEAD_REFUSED);
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
            self.discard = Some(Discard::within(self.limit));
        }
        if let Some(discard) = &mut self.discard {
            ready!(discard.poll(Pin::new(&mut self.stream), cx));
        }
        Poll::Ready(io::Error::other("no memory for the rest of the head"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ConnectionStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.activity.has_refused_head() {
            return self.refuse_head(cx).map(Err);
        }
        let mut chunk = [MaybeUninit::uninit(); READ_SIZE];
        let mut chunk = ReadBuf::uninit(&mut chunk[..READ_SIZE.min(buffer.remaining())]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut chunk))?;
        if !chunk.filled().is_empty() {
            let Self { activity, head, memory, .. } = &mut *self;
            activity.bytes_received();
            let kept = head.receive(chunk.filled(), activity);
            if memory.grow_to(kept).is_err() {
                return self.refuse_head(cx).map(Err);
            }
            buffer.put_slice(chunk.filled());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ConnectionStream<S> {
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
        if flushed.is_ready() && self.write_timer.take().is_some() {
            self.activity.set_sending(false);
        }
        self.or_timeout(cx, flushed)
    }

    /// Shuts down for writing. Then discards what the client is still sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, activity, limit, discard, .. } = &mut *self;
        if let Some(discard) = discard {
            return discard.poll(Pin::new(stream), cx).map(Ok);
        }
        let shut = Pin::new(stream).poll_shutdown(cx);
        if !matches!(shut, Poll::Ready(Ok(()))) || !activity.is_receiving_unread() {
            return self.or_timeout(cx, shut);
        }
        *discard = Some(Discard::within(*limit));
        self.poll_shutdown(cx)
    }
}
