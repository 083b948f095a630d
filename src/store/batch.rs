//! Group: those who wait for the same work, which is done for all of them at once.
//!
//! A commit waits for the disk, and a question for the way to the database; one serves many as well as one. So whoever
//! comes while others are served waits for the next group; whoever comes alone waits for nobody, and nobody for a timer.
//! Where several groups can be served at once, another begins as soon as no fewer wait than are served.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tracing::{Instrument, Span, info_span};

use crate::SPAN_TARGET;

/// The most that are served together: beyond it the work itself is what takes time.
const MOST: usize = 64;

/// Those who ask with an `A`, and are answered with a `B`.
pub struct Group<A, B> {
    queue: Arc<Mutex<Queue<A, B>>>,
    at_once: usize,
}

struct Queue<A, B> {
    waiting: Vec<Waiting<A, B>>,
    /// Begun, and not at their end.
    groups: usize,
    /// In all of those.
    served: usize,
}

struct Waiting<A, B> {
    asked: A,
    answer: oneshot::Sender<B>,
    span: Span,
}

impl<A, B> Clone for Group<A, B> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), at_once: self.at_once }
    }
}

impl<A: Send + 'static, B: Send + 'static> Group<A, B> {
    /// Of which at most this many groups are served at the same time.
    pub fn new(at_once: usize) -> Self {
        Self { queue: Arc::new(Mutex::new(Queue { waiting: Vec::new(), groups: 0, served: 0 })), at_once }
    }

    /// The answer to this one. `serve` gives one answer to each that it is given, in their order; what it was at work on
    /// is answered with nothing if it panics. It runs `with` its own copy of that, in a task of its own: none of a group
    /// depends on another's patience.
    pub async fn join<C, F>(&self, asked: A, with: &C, serve: impl Fn(C, Vec<A>) -> F + Send + 'static) -> Option<B>
    where
        C: Clone + Send + 'static,
        F: Future<Output = Vec<B>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        // Until the answer, in everybody's trace; what the database was asked for a group is in its first one's.
        let span = info_span!(target: SPAN_TARGET, "group");
        let is_turn = {
            let mut queue = self.queue();
            queue.waiting.push(Waiting { asked, answer, span: span.clone() });
            let is_turn = queue.groups < self.at_once && queue.makes_a_group();
            queue.groups += usize::from(is_turn);
            is_turn
        };
        if is_turn {
            let with = with.clone();
            tokio::spawn(self.clone().serve(move |asked| serve(with.clone(), asked)));
        }
        answered.await.ok()
    }

    async fn serve<F>(self, mut serve: impl FnMut(Vec<A>) -> F)
    where
        F: Future<Output = Vec<B>>,
    {
        let mut served = 0;
        loop {
            // Those who are ready to ask are let in first. A database that is quicker than they come would otherwise serve
            // each of them alone, at more cost than all together.
            tokio::task::yield_now().await;
            let Some(group) = self.next(served) else { return };
            served = group.len();
            let span = group[0].span.clone();
            let (asked, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.asked, one.answer)).unzip();
            // In a box, as it is large, and would be copied from hand to hand.
            let given = AssertUnwindSafe(async { Box::pin(serve(asked)).await }.instrument(span)).catch_unwind().await;
            let Ok(given) = given else { continue };
            for (answer, given) in answers.into_iter().zip(given) {
                // Nobody is told when whoever asked went away meanwhile.
                let _ = answer.send(given);
            }
        }
    }

    /// The group after one of so many, or the end of this turn.
    fn next(&self, served: usize) -> Option<Vec<Waiting<A, B>>> {
        let mut queue = self.queue();
        queue.groups -= 1;
        queue.served -= served;
        // Whoever went away while waiting is not served.
        queue.waiting.retain(|one| !one.answer.is_closed());
        if queue.waiting.is_empty() || !queue.makes_a_group() {
            return None;
        }
        let size = usual(queue.waiting.len().min(MOST));
        queue.groups += 1;
        queue.served += size;
        Some(queue.waiting.drain(..size).collect())
    }

    fn queue(&self) -> MutexGuard<'_, Queue<A, B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, B> Queue<A, B> {
    /// Whether those who wait are to be served beside those who are. Fewer are better served with those who come next; and
    /// a group that is begun and has nobody yet will take them.
    fn makes_a_group(&self) -> bool {
        self.groups == 0 || self.served > 0 && self.waiting.len() >= self.served
    }
}

/// The greatest of 1, 2, 3, 4, 6, 8, 12, 16 and so on that is not greater than this, which is not zero: groups come in few
/// sizes, so that the database knows the statements already.
fn usual(size: usize) -> usize {
    let highest = size.ilog2();
    size & (0b11 << highest >> 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn who_comes_alone_is_served_alone_and_who_comes_meanwhile_together() {
        let group = Group::<u32, (u32, usize)>::new(1);
        let gate = Arc::new(Semaphore::new(0));
        let serve = |gate: Arc<Semaphore>, asked: Vec<u32>| async move {
            gate.acquire().await.unwrap().forget();
            let together = asked.len();
            asked.into_iter().map(|one| (10 * one, together)).collect()
        };
        let mut asking: Vec<_> = (0..8).map(|one| Box::pin(group.join(one, &gate, serve))).collect();
        assert!(futures_util::poll!(&mut asking[0]).is_pending());
        while !group.queue().waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        for later in &mut asking[1..] {
            assert!(futures_util::poll!(later).is_pending());
        }
        gate.add_permits(10);
        let answers: Vec<_> = futures_util::future::join_all(asking).await.into_iter().flatten().collect();
        assert_eq!(answers, [(0, 1), (10, 6), (20, 6), (30, 6), (40, 6), (50, 6), (60, 6), (70, 1)]);
        assert_eq!(group.join(8, &gate, serve).await, Some((80, 1)));
    }

    #[tokio::test]
    async fn another_group_is_served_beside_the_first_as_soon_as_as_many_wait() {
        let group = Group::<(), ()>::new(2);
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let serve = |sizes: Arc<Mutex<Vec<usize>>>, asked: Vec<()>| async move {
            sizes.lock().unwrap().push(asked.len());
            std::future::pending().await
        };
        let mut asking: Vec<_> = (0..6).map(|_| Box::pin(group.join((), &sizes, serve))).collect();
        for (come, served) in [(0..3, vec![3]), (3..5, vec![3]), (5..6, vec![3, 3])] {
            for one in &mut asking[come] {
                assert!(futures_util::poll!(one).is_pending());
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            assert_eq!(*sizes.lock().unwrap(), served);
        }
    }

    #[test]
    fn groups_come_in_few_sizes_and_leave_at_most_a_third_behind() {
        let sizes: std::collections::BTreeSet<_> = (1..=MOST).map(usual).collect();
        assert_eq!(Vec::from_iter(sizes), [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]);
        assert!((1..=MOST).all(|size| usual(size) <= size && 3 * usual(size) >= 2 * size));
    }

    #[tokio::test]
    async fn who_went_away_is_not_served() {
        let group = Group::<&str, ()>::new(1);
        let served = Arc::new(Mutex::new(Vec::<&str>::new()));
        let serve = |served: Arc<Mutex<Vec<&'static str>>>, asked: Vec<&'static str>| async move {
            served.lock().unwrap().extend(&asked);
            tokio::task::yield_now().await;
            vec![(); asked.len()]
        };
        let mut stays = Box::pin(group.join("stays", &served, serve));
        let mut goes = Box::pin(group.join("goes", &served, serve));
        assert!(futures_util::poll!(&mut stays).is_pending() && futures_util::poll!(&mut goes).is_pending());
        drop(goes);
        assert_eq!(stays.await, Some(()));
        assert_eq!(*served.lock().unwrap(), ["stays"]);
    }

    #[tokio::test]
    async fn a_panic_ends_the_wait_of_its_group_and_of_no_other() {
        let group = Group::<bool, ()>::new(1);
        let turns = Arc::new(AtomicUsize::new(0));
        let serve = |turns: Arc<AtomicUsize>, asked: Vec<bool>| async move {
            turns.fetch_add(1, Ordering::SeqCst);
            assert!(asked.iter().all(|fine| *fine), "meant");
            vec![(); asked.len()]
        };
        assert_eq!(group.join(false, &turns, serve).await, None);
        assert_eq!(group.join(true, &turns, serve).await, Some(()));
        assert_eq!(turns.load(Ordering::SeqCst), 2);
    }
}
