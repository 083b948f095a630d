//! Batching: concurrent callers share one commit or one query.
//!
//! A commit waits for the disk and a query for the network, at nearly the same cost for one item as for many. So items
//! that arrive while a batch runs wait for the next batch. An item that arrives alone runs at once; there is no timer.
//! Where several batches may run at a time, another one starts as soon as it would be as large as those that run.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::{Instrument, Span, info_span};

use crate::SPAN_TARGET;

/// The largest batch. Beyond it, the work itself takes longer than the wait that batching saves.
const MAX_BATCH: usize = 64;

/// Runs items of type `A` in batches. Each item has a result of type `B`.
pub struct Batcher<A, B> {
    queue: Arc<Mutex<Queue<A, B>>>,
    max_concurrent: usize,
}

struct Queue<A, B> {
    waiting: Vec<Waiting<A, B>>,
    /// Batches that were started and have not ended.
    batches: usize,
    /// The items in those batches.
    running: usize,
    last_ticket: u64,
}

/// Why an item has no result.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchFailure {
    /// No batch has taken it in time. It did not run and will not.
    NotStarted,
    /// Its batch panicked.
    Panicked,
}

struct Waiting<A, B> {
    /// Differs from those of all others.
    ticket: u64,
    item: A,
    result: oneshot::Sender<B>,
    span: Span,
}

impl<A, B> Clone for Batcher<A, B> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), max_concurrent: self.max_concurrent }
    }
}

impl<A: Send + 'static, B: Send + 'static> Batcher<A, B> {
    /// Creates a batcher that runs at most `max_concurrent` batches at a time.
    pub fn new(max_concurrent: usize) -> Self {
        let queue = Queue { waiting: Vec::new(), batches: 0, running: 0, last_ticket: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), max_concurrent }
    }

    /// Returns the result of one item. `run_batch` returns the results in the order of the items. It runs in a task of its
    /// own, with a clone of `context`, so that a caller that is dropped does not cancel the batch for the others. An item
    /// waits at most `max_wait` for a batch to take it, and then for the batch.
    pub async fn submit<C, F>(
        &self,
        item: A,
        max_wait: Option<Duration>,
        context: &C,
        run_batch: impl Fn(C, Vec<A>) -> F + Send + 'static,
    ) -> Result<B, BatchFailure>
    where
        C: Clone + Send + 'static,
        F: Future<Output = Vec<B>> + Send + 'static,
    {
        let (sender, mut receiver) = oneshot::channel();
        // Each item's trace shows the time until its result. The statements of a batch are in its first item's trace.
        let span = info_span!(target: SPAN_TARGET, "batch");
        let (ticket, starts) = {
            let mut queue = self.queue();
            queue.last_ticket += 1;
            let ticket = queue.last_ticket;
            queue.waiting.push(Waiting { ticket, item, result: sender, span: span.clone() });
            let starts = queue.batches < self.max_concurrent && queue.should_start();
            queue.batches += usize::from(starts);
            (ticket, starts)
        };
        if starts {
            let context = context.clone();
            tokio::spawn(self.clone().run(move |items| run_batch(context.clone(), items)));
        }
        if let Some(max_wait) = max_wait {
            match tokio::time::timeout(max_wait, &mut receiver).await {
                Ok(result) => return result.map_err(|_| BatchFailure::Panicked),
                Err(_) if self.withdraw(ticket) => return Err(BatchFailure::NotStarted),
                Err(_) => {}
            }
        }
        receiver.await.map_err(|_| BatchFailure::Panicked)
    }

    /// Removes an item from the queue. Returns whether it was there.
    fn withdraw(&self, ticket: u64) -> bool {
        let mut queue = self.queue();
        let place = queue.waiting.iter().position(|one| one.ticket == ticket);
        place.map(|place| queue.waiting.remove(place)).is_some()
    }

    /// Runs one batch after another until none should start.
    async fn run<F>(self, mut run_batch: impl FnMut(Vec<A>) -> F)
    where
        F: Future<Output = Vec<B>>,
    {
        let mut completed = 0;
        loop {
            // Lets callers that are ready submit first. Otherwise a database that is faster than they are would run
            // each item alone, at a higher total cost.
            tokio::task::yield_now().await;
            let Some(batch) = self.next_batch(completed) else { return };
            completed = batch.len();
            let span = batch[0].span.clone();
            let (items, senders): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.item, one.result)).unzip();
            // Boxed: the future is large and would be moved several times.
            let results =
                AssertUnwindSafe(async { Box::pin(run_batch(items)).await }.instrument(span)).catch_unwind().await;
            let Ok(results) = results else { continue };
            for (sender, result) in senders.into_iter().zip(results) {
                // Fails if the caller was dropped meanwhile.
                let _ = sender.send(result);
            }
        }
    }

    /// Takes the next batch from the queue, after one of `completed` items. `None` ends this run.
    fn next_batch(&self, completed: usize) -> Option<Vec<Waiting<A, B>>> {
        let mut queue = self.queue();
        queue.batches -= 1;
        queue.running -= completed;
        // Drops the items of callers that were dropped while they waited.
        queue.waiting.retain(|one| !one.result.is_closed());
        if queue.waiting.is_empty() || !queue.should_start() {
            return None;
        }
        let size = round_batch_size(queue.waiting.len().min(MAX_BATCH));
        queue.batches += 1;
        queue.running += size;
        Some(queue.waiting.drain(..size).collect())
    }

    fn queue(&self) -> MutexGuard<'_, Queue<A, B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, B> Queue<A, B> {
    /// True if a batch should start now. The first always should. A further one, beside those that run, should if at
    /// least as many items wait as are running: a smaller batch would cost as much, so its items rather wait for others.
    /// It should not if a batch was started that has not taken its items yet (`running` is then 0): that one takes these.
    fn should_start(&self) -> bool {
        self.batches == 0 || self.running > 0 && self.waiting.len() >= self.running
    }
}

/// Rounds down to 1, 2, 3, 4, 6, 8, 12, 16, ..., so that batches have few sizes and the database can reuse its prepared
/// statements. `size` must not be 0.
fn round_batch_size(size: usize) -> usize {
    let highest = size.ilog2();
    size & (0b11 << highest >> 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn item_alone_runs_at_once_and_items_during_a_batch_form_the_next() {
        let batcher = Batcher::<u32, (u32, usize)>::new(1);
        let gate = Arc::new(Semaphore::new(0));
        let run_batch = |gate: Arc<Semaphore>, items: Vec<u32>| async move {
            gate.acquire().await.unwrap().forget();
            let size = items.len();
            items.into_iter().map(|item| (10 * item, size)).collect()
        };
        let mut submitted: Vec<_> = (0..8).map(|item| Box::pin(batcher.submit(item, None, &gate, run_batch))).collect();
        assert!(futures_util::poll!(&mut submitted[0]).is_pending());
        while !batcher.queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        for later in &mut submitted[1..] {
            assert!(futures_util::poll!(later).is_pending());
        }
        gate.add_permits(10);
        let results: Vec<_> = futures_util::future::join_all(submitted).await.into_iter().flatten().collect();
        assert_eq!(results, [(0, 1), (10, 6), (20, 6), (30, 6), (40, 6), (50, 6), (60, 6), (70, 1)]);
        assert_eq!(batcher.submit(8, None, &gate, run_batch).await, Ok((80, 1)));
    }

    #[tokio::test]
    async fn second_batch_starts_beside_the_first_once_it_is_as_large() {
        let batcher = Batcher::<(), ()>::new(2);
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let run_batch = |sizes: Arc<Mutex<Vec<usize>>>, items: Vec<()>| async move {
            sizes.lock().unwrap().push(items.len());
            std::future::pending().await
        };
        let mut submitted: Vec<_> = (0..6).map(|_| Box::pin(batcher.submit((), None, &sizes, run_batch))).collect();
        for (new, started) in [(0..3, vec![3]), (3..5, vec![3]), (5..6, vec![3, 3])] {
            for one in &mut submitted[new] {
                assert!(futures_util::poll!(one).is_pending());
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(*sizes.lock().unwrap(), started);
        }
    }

    #[test]
    fn batches_have_few_sizes_and_leave_at_most_a_third_behind() {
        let sizes: std::collections::BTreeSet<_> = (1..=MAX_BATCH).map(round_batch_size).collect();
        assert_eq!(Vec::from_iter(sizes), [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]);
        assert!((1..=MAX_BATCH).all(|size| round_batch_size(size) <= size && 3 * round_batch_size(size) >= 2 * size));
    }

    #[tokio::test]
    async fn item_of_a_dropped_caller_does_not_run() {
        let batcher = Batcher::<&str, ()>::new(1);
        let run = Arc::new(Mutex::new(Vec::<&str>::new()));
        let run_batch = |run: Arc<Mutex<Vec<&'static str>>>, items: Vec<&'static str>| async move {
            run.lock().unwrap().extend(&items);
            tokio::task::yield_now().await;
            vec![(); items.len()]
        };
        let mut stays = Box::pin(batcher.submit("stays", None, &run, run_batch));
        let mut goes = Box::pin(batcher.submit("goes", None, &run, run_batch));
        assert!(futures_util::poll!(&mut stays).is_pending() && futures_util::poll!(&mut goes).is_pending());
        drop(goes);
        assert_eq!(stays.await, Ok(()));
        assert_eq!(*run.lock().unwrap(), ["stays"]);
    }

    #[tokio::test]
    async fn item_that_no_batch_takes_in_time_does_not_run() {
        let batcher = Batcher::<&str, ()>::new(1);
        let context = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(Vec::<&str>::new())));
        let run_batch = |(gate, run): (Arc<Semaphore>, Arc<Mutex<Vec<&'static str>>>), items: Vec<&'static str>| async move {
            run.lock().unwrap().extend(&items);
            gate.acquire().await.unwrap().forget();
            vec![(); items.len()]
        };
        let max_wait = Some(Duration::from_millis(20));
        let mut taken = Box::pin(batcher.submit("taken", max_wait, &context, run_batch));
        assert!(futures_util::poll!(&mut taken).is_pending());
        while !batcher.queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(batcher.submit("late", max_wait, &context, run_batch).await, Err(BatchFailure::NotStarted));
        // It began to wait earlier, but a batch has taken it.
        assert!(futures_util::poll!(&mut taken).is_pending());
        context.0.add_permits(10);
        assert_eq!(taken.await, Ok(()));
        assert_eq!(batcher.submit("next", None, &context, run_batch).await, Ok(()));
        assert_eq!(*context.1.lock().unwrap(), ["taken", "next"]);
    }

    #[tokio::test]
    async fn panic_fails_its_own_batch_only() {
        let batcher = Batcher::<bool, ()>::new(1);
        let batches = Arc::new(AtomicUsize::new(0));
        let run_batch = |batches: Arc<AtomicUsize>, items: Vec<bool>| async move {
            batches.fetch_add(1, Ordering::SeqCst);
            assert!(items.iter().all(|fine| *fine), "meant");
            vec![(); items.len()]
        };
        assert_eq!(batcher.submit(false, None, &batches, run_batch).await, Err(BatchFailure::Panicked));
        assert_eq!(batcher.submit(true, None, &batches, run_batch).await, Ok(()));
        assert_eq!(batches.load(Ordering::SeqCst), 2);
    }
}
