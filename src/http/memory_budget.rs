//! MemoryBudget: a limit for the bytes that many requests hold at a time.

use prometheus_client::metrics::gauge::Gauge;
use thiserror::Error;

/// Counts bytes up to a limit, with one atomic addition each time.
pub struct MemoryBudget {
    limit: usize,
    /// Is shown by /metrics.
    used: Gauge,
}

#[derive(Debug, Error)]
#[error("the budget of {limit} bytes is used up")]
pub struct Exhausted {
    pub limit: usize,
}

/// Bytes of a budget, which are returned when it is dropped.
pub struct Reservation<'a> {
    budget: &'a MemoryBudget,
    bytes: usize,
}

impl MemoryBudget {
    pub fn new(limit: usize, used: Gauge) -> Self {
        Self { limit, used }
    }

    /// A budget that no metric shows.
    pub fn of(limit: usize) -> Self {
        Self::new(limit, Gauge::default())
    }

    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn used(&self) -> usize {
        usize::try_from(self.used.get()).unwrap_or(0)
    }

    pub fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let before = self.used.inc_by(bytes as i64);
        if before + bytes as i64 <= self.limit as i64 {
            return Ok(());
        }
        self.give_back(bytes);
        Err(Exhausted { limit: self.limit })
    }

    pub fn give_back(&self, bytes: usize) {
        self.used.dec_by(bytes as i64);
    }

    /// Starts a reservation of no bytes.
    pub fn reservation(&self) -> Reservation<'_> {
        Reservation { budget: self, bytes: 0 }
    }
}

impl Reservation<'_> {
    pub fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_takes_bytes_up_to_the_limit_and_returns_them() {
        let budget = MemoryBudget::of(100);
        let (mut first, mut second) = (budget.reservation(), budget.reservation());
        first.grow(60).unwrap();
        second.grow(40).unwrap();
        assert_eq!(second.grow(1).unwrap_err().limit, 100);
        assert_eq!(budget.used(), 100);
        drop(first);
        second.grow(60).unwrap();
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
