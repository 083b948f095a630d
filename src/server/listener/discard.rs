//! Discard: reads what a client still sends after the last response of a connection, and drops it. Closing a socket with
//! unread bytes resets the connection, and the client could lose the response.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Maximum number of bytes that are read and dropped.
const MAX_DISCARDED: usize = 8 * 1024 * 1024;

/// Maximum pause of a client that still sends.
const MAX_PAUSE: Duration = Duration::from_secs(2);

pub struct Discard {
    discarded: usize,
    deadline: Instant,
    pause: Pin<Box<Sleep>>,
}

impl Discard {
    pub fn within(limit: Duration) -> Self {
        Self { discarded: 0, deadline: Instant::now() + limit, pause: Box::pin(sleep(MAX_PAUSE.min(limit))) }
    }

    /// Completes when the client has closed the connection, or a limit is reached. The bytes are read onto the stack.
    pub fn poll(&mut self, stream: Pin<&mut impl AsyncRead>, cx: &mut Context<'_>) -> Poll<()> {
        let mut stream = stream;
        let mut chunk = [MaybeUninit::uninit(); 4096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut chunk);
            match stream.as_mut().poll_read(cx, &mut buffer) {
                Poll::Pending => return self.pause.as_mut().poll(cx),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.discarded < MAX_DISCARDED => {
                    self.discarded += buffer.filled().len();
                    let now = Instant::now();
                    if now >= self.deadline {
                        return Poll::Ready(());
                    }
                    self.pause.as_mut().reset(self.deadline.min(now + MAX_PAUSE));
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex, repeat};

    use super::*;

    async fn discard(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> usize {
        let mut discard = Discard::within(limit);
        poll_fn(|cx| discard.poll(Pin::new(stream), cx)).await;
        discard.discarded
    }

    #[tokio::test]
    async fn discard_ends_with_the_connection_or_at_a_limit() {
        let (mut client, mut server) = duplex(10_000);
        client.write_all(&[0; 5_000]).await.unwrap();
        drop(client);
        assert_eq!(discard(&mut server, Duration::from_secs(60)).await, 5_000);
        let endless = discard(&mut repeat(0), Duration::from_secs(60)).await;
        assert!((MAX_DISCARDED..MAX_DISCARDED + 4096).contains(&endless), "{endless}");
        let (_silent, mut server) = duplex(10);
        assert_eq!(discard(&mut server, Duration::from_millis(10)).await, 0);
    }
}
