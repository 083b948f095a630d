//! LineSampler: limits equal log lines to a number per second, so that requests without a valid credential
//! cannot fill the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Lines of one kind that are written within a window.
const LINES_PER_WINDOW: u32 = 20;
const WINDOW: Duration = Duration::from_secs(1);

/// The access log's lines about requests without an authenticated caller.
pub static UNAUTHENTICATED_LINES: LineSampler = LineSampler::new();

pub struct LineSampler {
    /// One window per route and status, both of which are few.
    windows: Mutex<Vec<LineWindow>>,
    omitted: AtomicU64,
}

struct LineWindow {
    route: String,
    status: u16,
    began: Instant,
    written: u32,
    omitted: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Written,
    /// `first` is true for the first line that is omitted since the last report.
    Omitted {
        first: bool,
    },
}

impl LineSampler {
    pub const fn new() -> Self {
        Self { windows: Mutex::new(Vec::new()), omitted: AtomicU64::new(0) }
    }

    /// True if a line about this route and status may be written now. Otherwise it is counted, and a line at the end of
    /// the window says how many were omitted.
    pub fn admits(&'static self, route: &str, status: u16) -> bool {
        match self.admit(route, status, Instant::now()) {
            Admission::Written => true,
            Admission::Omitted { first } => {
                // Without a runtime the process is exiting.
                if let (true, Ok(runtime)) = (first, Handle::try_current()) {
                    runtime.spawn(self.report(route.to_owned(), status));
                }
                false
            }
        }
    }

    /// The number of omitted lines.
    pub fn omitted(&self) -> u64 {
        self.omitted.load(Ordering::Relaxed)
    }

    fn admit(&self, route: &str, status: u16, now: Instant) -> Admission {
        let mut windows = self.windows();
        let index = windows.iter().position(|window| window.status == status && window.route == route);
        let index = index.unwrap_or_else(|| {
            windows.push(LineWindow { route: route.to_owned(), status, began: now, written: 0, omitted: 0 });
            windows.len() - 1
        });
        let window = &mut windows[index];
        if now.duration_since(window.began) >= WINDOW {
            (window.began, window.written) = (now, 0);
        }
        if window.written < LINES_PER_WINDOW {
            window.written += 1;
            Admission::Written
        } else {
            window.omitted += 1;
            self.omitted.fetch_add(1, Ordering::Relaxed);
            Admission::Omitted { first: window.omitted == 1 }
        }
    }

    async fn report(&self, route: String, status: u16) {
        tokio::time::sleep(WINDOW).await;
        let omitted = self.take_omitted(&route, status);
        tracing::info!(route, status, omitted, "request lines omitted");
    }

    fn take_omitted(&self, route: &str, status: u16) -> u64 {
        let mut windows = self.windows();
        let window = windows.iter_mut().find(|window| window.status == status && window.route == route);
        window.map(|window| std::mem::take(&mut window.omitted)).unwrap_or_default()
    }

    fn windows(&self) -> MutexGuard<'_, Vec<LineWindow>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admit_limits_lines_per_window_route_and_status() {
        let (sampler, start) = (LineSampler::new(), Instant::now());
        let admit = |route: &str, status, after| sampler.admit(route, status, start + after);
        for _ in 0..LINES_PER_WINDOW {
            assert_eq!(admit("/a", 401, Duration::ZERO), Admission::Written);
        }
        assert_eq!(admit("/a", 401, WINDOW / 2), Admission::Omitted { first: true });
        assert_eq!(admit("/a", 401, WINDOW / 2), Admission::Omitted { first: false });
        assert_eq!(admit("/b", 401, WINDOW / 2), Admission::Written);
        assert_eq!(admit("/a", 404, WINDOW / 2), Admission::Written);
        assert_eq!(admit("/a", 401, WINDOW), Admission::Written);
        assert_eq!((sampler.omitted(), sampler.take_omitted("/a", 401), sampler.take_omitted("/a", 401)), (2, 2, 0));
    }
}
