//! LogQueue: log lines wait in a bounded buffer for a thread of their own, which writes them to standard error.
//!
//! Standard error may be a pipe whose reader has stopped. A write to it then blocks, and must block neither a request nor
//! the shutdown. Lines that do not fit into the buffer are dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Some thousand lines. The thread holds as much again while it writes.
const MAX_QUEUED_BYTES: usize = 1024 * 1024;
/// Capacity that the buffer keeps after a burst.
const KEPT_BYTES: usize = 64 * 1024;

pub struct LogQueue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    dropped: AtomicU64,
}

struct State {
    /// Complete lines.
    queued: Vec<u8>,
    /// True while the thread writes lines that it has taken.
    writing: bool,
}

impl LogQueue {
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State { queued: Vec::new(), writing: false }),
            filled: Condvar::new(),
            drained: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes the lines to `out`.
    pub fn start(&'static self, out: impl Write + Send + 'static) -> io::Result<()> {
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || self.write_to(out)).map(drop)
    }

    /// Waits until everything queued is written, at most until the timeout.
    pub fn flush(&self, timeout: Duration) {
        let pending = |state: &mut State| state.writing || !state.queued.is_empty();
        // A timeout leaves lines that could not be written.
        drop(self.drained.wait_timeout_while(self.state(), timeout, pending));
    }

    /// The number of lines that were not written, because the buffer was full or the write failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.queued.len() + line.len() > MAX_QUEUED_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.queued.is_empty();
        state.queued.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    fn write_to(&self, mut out: impl Write) {
        let (mut lines, mut reported) = (Vec::new(), 0);
        loop {
            self.take(&mut lines);
            let written = out.write_all(&lines);
            if written.is_err() {
                let count = lines.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            let dropped = self.dropped();
            // After a failed write this line would fail as well, and be counted as the next one to report.
            if written.is_ok() && dropped > reported && self.state().queued.is_empty() {
                tracing::warn!(
                    dropped = dropped - reported,
                    "log lines dropped; standard error is not read fast enough"
                );
                reported = dropped;
            }
        }
    }

    /// Waits for lines and swaps them into the empty `lines`.
    fn take(&self, lines: &mut Vec<u8>) {
        let mut state = self.state();
        state.writing = false;
        if state.queued.is_empty() {
            self.drained.notify_all();
        }
        let waited = self.filled.wait_while(state, |state| state.queued.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        std::mem::swap(&mut state.queued, lines);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Queues what the formatter writes: each write is one line.
pub struct LineWriter(&'static LogQueue);

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for &'static LogQueue {
    type Writer = LineWriter;

    fn make_writer(&self) -> LineWriter {
        LineWriter(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn queue() -> &'static LogQueue {
        Box::leak(Box::new(LogQueue::new()))
    }

    #[test]
    fn push_never_blocks_and_flush_gives_up_without_a_reader() {
        let queue = queue();
        let (_unread, out) = UnixStream::pair().unwrap();
        queue.start(out).unwrap();
        let line = [&[b'x'; 1023], &b"\n"[..]].concat();
        for _ in 0..8 * MAX_QUEUED_BYTES / line.len() {
            queue.push(&line);
        }
        assert!(queue.dropped() > 0);
        queue.flush(Duration::from_millis(10));
        let state = queue.state();
        assert!(state.queued.len() <= MAX_QUEUED_BYTES && (state.writing || !state.queued.is_empty()));
    }

    #[test]
    fn flush_waits_until_everything_is_written() {
        let queue = queue();
        let (reader, out) = UnixStream::pair().unwrap();
        reader.set_nonblocking(true).unwrap();
        queue.start(out).unwrap();
        for number in 0..100 {
            queue.push(format!("line {number}\n").as_bytes());
        }
        queue.flush(Duration::from_secs(60));
        let mut written = [0; 4096];
        let length = io::Read::read(&mut &reader, &mut written).unwrap();
        assert!(written[..length].ends_with(b"line 98\nline 99\n"));
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn failed_write_counts_its_lines_as_dropped() {
        let queue = queue();
        let (reader, out) = UnixStream::pair().unwrap();
        drop(reader);
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.start(out).unwrap();
        queue.flush(Duration::from_secs(60));
        assert_eq!(queue.dropped(), 2);
    }
}
