//! Activity: what a connection does, and the time limits for a request's head and between requests.
//!
//! A timer for the head of every request would cost more than reading it. So a connection only records its phase, and
//! [`Activity::wait_until_overdue`] polls the phase at intervals.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// The recorded activity of a connection.
pub struct Activity {
    /// Requests received so far.
    begun: AtomicUsize,
    /// Requests in flight.
    in_flight: AtomicUsize,
    /// Requests whose responses were sent, or dropped.
    ended: AtomicUsize,
    /// True while a request's head is received in part.
    in_head: AtomicBool,
    /// True for HTTP/2, whose control frames are bytes that belong to no request.
    multiplexed: AtomicBool,
    /// The number of reads that returned bytes.
    reads: AtomicUsize,
    /// True once a request's body was dropped before its end.
    unread_body: AtomicBool,
    /// True once there was no memory for the rest of a head.
    refused_head: AtomicBool,
    /// True while the client has not received what was written to it.
    sending: AtomicBool,
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
        Self {
            begun: 0.into(),
            in_flight: 0.into(),
            ended: 0.into(),
            in_head: true.into(),
            multiplexed: false.into(),
            reads: 0.into(),
            unread_body: false.into(),
            refused_head: false.into(),
            sending: false.into(),
        }
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

    /// The number of requests so far.
    pub fn begun(&self) -> usize {
        self.begun.load(Relaxed)
    }

    /// Notes that a response was sent, or will not be.
    pub fn end(&self) {
        self.ended.fetch_add(1, Relaxed);
    }

    pub fn ended(&self) -> usize {
        self.ended.load(Relaxed)
    }

    /// True if no request is in flight.
    pub fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    /// True if closing the connection loses no request and no response.
    pub fn may_be_closed(&self) -> bool {
        self.is_idle() && !self.sending.load(Relaxed)
    }

    pub fn set_sending(&self, sending: bool) {
        self.sending.store(sending, Relaxed);
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Relaxed)
    }

    /// Only the connection's own task reads.
    pub fn bytes_received(&self) {
        self.reads.store(self.reads() + 1, Relaxed);
        if self.is_idle() && !self.multiplexed.load(Relaxed) {
            self.in_head.store(true, Relaxed);
        }
    }

    pub fn body_left_unread(&self) {
        self.unread_body.store(true, Relaxed);
    }

    /// True if the response must be the last of the connection, because the rest of a body is between it and the next
    /// request. HTTP/2 numbers its streams instead.
    pub fn has_unread_body(&self) -> bool {
        self.unread_body.load(Relaxed) && !self.multiplexed.load(Relaxed)
    }

    /// True if the client may be sending what will not be read: the rest of a body, or of a head that was refused.
    pub fn is_receiving_unread(&self) -> bool {
        self.has_unread_body() || self.in_head.load(Relaxed)
    }

    pub fn refuse_head(&self) {
        self.refused_head.store(true, Relaxed);
    }

    pub fn has_refused_head(&self) -> bool {
        self.refused_head.load(Relaxed)
    }

    fn phase(&self) -> Phase {
        let begun = self.begun();
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
