//! TlsInput: what rustls reads. It limits the memory for handshake messages and records that have arrived in part.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::server::listener::activity::Activity;
use crate::server::listener::connection_memory::ConnectionMemory;

/// What rustls keeps at most: it joins a handshake message of this length.
const MAX_KEPT: usize = 64 * 1024;

pub struct TlsInput {
    stream: TcpStream,
    activity: Arc<Activity>,
    memory: ConnectionMemory,
    /// The bytes since the last that were decrypted.
    kept: usize,
    /// The number of decrypted reads before them.
    decrypted: usize,
}

impl TlsInput {
    pub fn new(stream: TcpStream, activity: Arc<Activity>, memory: ConnectionMemory) -> Self {
        Self { stream, activity, memory, kept: 0, decrypted: 0 }
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        let decrypted = self.activity.reads();
        if std::mem::replace(&mut self.decrypted, decrypted) != decrypted {
            self.kept = 0;
        }
        self.kept = (self.kept + bytes).min(MAX_KEPT);
        self.memory.grow_to(self.kept).map_err(|exhausted| {
            self.activity.refuse_head();
            io::Error::other(exhausted)
        })
    }
}

impl AsyncRead for TlsInput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.count(buffer.filled().len() - before))
    }
}

impl AsyncWrite for TlsInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
