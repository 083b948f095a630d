//! Connections: who uses which connection to PostgreSQL, of a number that is never exceeded.
//!
//! Each [`Workload`] has a share. Within it, requests get a connection in the order in which they came. A connection is
//! opened beside the requests, so that one that waits takes whatever is free first. If the server refuses more
//! connections, the shares are those of the connections that are open.
//!
//! Work that was abandoned keeps its connection until the server has responded. Everything but a commit is ended by
//! `statement_timeout`, so after a longer silence the connection is closed. A commit that waits for a synchronous
//! standby ends by no timeout: its connection stays as long as the server works for it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

use crate::store::postgres::connection_slot::ConnectionSlot;
use crate::store::postgres::pool_health::PoolHealth;
use crate::store::postgres::{STANDBY, is_connection_limit, timed_out};
use crate::store::workload::Workload;
use crate::store::{STATEMENT_TIMEOUT, StoreError};

/// The time between two attempts to open a connection.
const REOPEN_INTERVAL: Duration = Duration::from_millis(250);
/// The same while the server has as many connections as it allows.
const REOPEN_INTERVAL_AT_LIMIT: Duration = Duration::from_secs(1);

/// How often abandoned work is looked at.
const RECLAIM_INTERVAL: Duration = Duration::from_millis(20);
/// After this silence, a live server has ended every statement: `statement_timeout` is shorter.
const MAX_SILENCE: Duration = Duration::from_secs(5);

const IS_ACTIVE: &str = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active') AS is_active";

pub struct Connections {
    pub health: Arc<PoolHealth>,
    slots: Vec<ConnectionSlot>,
    assignments: Mutex<Assignments>,
}

struct Assignments {
    /// The use of each slot.
    uses: Vec<Use>,
    /// Requests that wait, by workload.
    waiting: [VecDeque<oneshot::Sender<Lease>>; Workload::ALL.len()],
    /// The number of connections that are shared.
    capacity: usize,
    /// A task opens connections.
    is_opening: bool,
    /// Why the last one could not be opened.
    refusal: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    None,
    Opening,
    By(Workload),
}

/// A slot in use. When it is dropped, the next request gets the slot.
struct Lease {
    connections: Arc<Connections>,
    slot: usize,
    workload: Workload,
}

impl Connections {
    pub fn new(options: &PgConnectOptions, connections: usize) -> Arc<Self> {
        let health = Arc::default();
        let slots: Vec<_> = (0..connections).map(|_| ConnectionSlot::new(options.clone(), &health)).collect();
        let assignments = Assignments {
            uses: vec![Use::None; slots.len()],
            waiting: Default::default(),
            capacity: slots.len(),
            is_opening: false,
            refusal: None,
        };
        Arc::new(Self { health, slots, assignments: Mutex::new(assignments) })
    }

    pub fn options(&self) -> PgConnectOptions {
        (*self.slots[0].pool.connect_options()).clone()
    }

    /// Runs work on a connection. The time limit includes the wait for one.
    pub async fn run<T>(
        self: &Arc<Self>,
        workload: Workload,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_within(Some(STATEMENT_TIMEOUT), workload, work).await
    }

    /// Runs work on a connection, however long it takes.
    pub async fn run_long<T>(
        self: &Arc<Self>,
        workload: Workload,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.run_within(None, workload, work).await
    }

    async fn run_within<T>(
        self: &Arc<Self>,
        limit: Option<Duration>,
        workload: Workload,
        work: impl AsyncFnOnce(&DatabaseConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        if workload == Workload::Change {
            self.health.before_change();
        }
        let lease = timeout_at(started + STATEMENT_TIMEOUT, self.lease(workload)).await;
        let lease = lease.map_err(|_| self.no_connection(workload))?;
        // Locals are dropped in reverse order of declaration. If this future is dropped, the guard marks the slot as
        // abandoned, then `work` returns its connection, which is reset, and then the slot is reclaimed.
        let slot = &self.slots[lease.slot];
        let mut work = pin!(work(&slot.database));
        let guard = slot.guard();
        let result = match limit {
            Some(limit) => timeout_at(started + limit, work.as_mut()).await,
            None => Ok(work.as_mut().await),
        };
        if result.is_ok() {
            guard.disarm();
        }
        match result.unwrap_or_else(|elapsed| Err(timed_out(elapsed))) {
            // The error says only that no connection could be had.
            Err(StoreError::Unavailable(_)) if self.health.is_standby() => Err(StoreError::Unavailable(STANDBY.into())),
            result => result,
        }
    }

    async fn lease(self: &Arc<Self>, workload: Workload) -> Lease {
        loop {
            let (sender, receiver) = oneshot::channel();
            self.assignments().waiting[workload as usize].push_back(sender);
            self.dispatch();
            if let Ok(lease) = receiver.await {
                return lease;
            }
        }
    }

    fn no_connection(&self, workload: Workload) -> StoreError {
        let assignments = self.assignments();
        let reason = match &assignments.refusal {
            _ if self.health.is_standby() => STANDBY.to_owned(),
            Some(refusal) => format!("no connection to PostgreSQL is free, and no other can be opened: {refusal}"),
            None => {
                let (name, share) = (format!("{workload:?}").to_lowercase(), workload.share(assignments.capacity));
                format!("the {share} connections for {name} work were in use for {STATEMENT_TIMEOUT:?}")
            }
        };
        StoreError::Unavailable(reason)
    }

    /// Gives free slots to requests that wait, and has connections opened if there are too few.
    fn dispatch(self: &Arc<Self>) {
        let (mut granted, mut assignments) = (Vec::new(), self.assignments());
        let capacity = assignments.capacity;
        for workload in Workload::ALL {
            while assignments.may_start(workload, capacity)
                && let Some(slot) = assignments.free_slot(&self.slots)
            {
                let Some(request) = assignments.waiting[workload as usize].pop_front() else { break };
                assignments.uses[slot] = Use::By(workload);
                granted.push((request, Lease { connections: Arc::clone(self), slot, workload }));
            }
        }
        let opens = !assignments.is_opening && assignments.needs_connection(&self.slots);
        assignments.is_opening |= opens;
        drop(assignments);
        for (request, lease) in granted {
            // If the request has ended, this drops the lease.
            let _ = request.send(lease);
        }
        if opens {
            tokio::spawn(Arc::clone(self).open_connections());
        }
    }

    /// Opens connections, one after another, as long as requests wait for them.
    async fn open_connections(self: Arc<Self>) {
        while let Some((slot, was_refused)) = self.next_to_open() {
            let opened = self.slots[slot].open(was_refused).await;
            let interval = match &opened {
                Ok(()) => None,
                Err(error) if is_connection_limit(error) => Some(REOPEN_INTERVAL_AT_LIMIT),
                Err(_) => Some(REOPEN_INTERVAL),
            };
            {
                let mut assignments = self.assignments();
                assignments.uses[slot] = Use::None;
                let open = self.slots.iter().filter(|slot| slot.is_open()).count();
                assignments.capacity = if opened.is_ok() { self.slots.len() } else { open.max(1) };
                if let Err(error) = &opened
                    && assignments.refusal.is_none()
                {
                    warn!(%error, open, "cannot open another connection to PostgreSQL; requests use those that are open");
                }
                assignments.refusal = opened.err().map(|error| error.to_string());
            }
            self.dispatch();
            if let Some(interval) = interval {
                sleep(interval).await;
            }
        }
    }

    fn next_to_open(&self) -> Option<(usize, bool)> {
        let mut assignments = self.assignments();
        let slot = assignments.closed_slot(&self.slots).filter(|_| assignments.needs_connection(&self.slots));
        match slot {
            Some(slot) => assignments.uses[slot] = Use::Opening,
            None => assignments.is_opening = false,
        }
        Some((slot?, assignments.refusal.is_some()))
    }

    /// Waits until the abandoned work of a slot has ended.
    async fn reclaim(self: Arc<Self>, index: usize, workload: Workload) {
        let slot = &self.slots[index];
        let mut silent_since = Instant::now();
        while slot.is_open() && !slot.is_idle() {
            sleep(RECLAIM_INTERVAL).await;
            if silent_since.elapsed() > MAX_SILENCE {
                if workload != Workload::Change || !self.is_active(slot.process_id()).await {
                    slot.end();
                }
                silent_since = Instant::now();
            }
        }
        slot.recover();
        self.release(index);
    }

    /// True if the server works for this session, or cannot be reached.
    async fn is_active(self: &Arc<Self>, process_id: i32) -> bool {
        let query = Statement::from_sql_and_values(DbBackend::Postgres, IS_ACTIVE, [process_id.into()]);
        let is_active = self.run(Workload::Probe, async |database| {
            let row = database.query_one_raw(query).await?;
            row.map_or(Ok(false), |row| Ok(row.try_get("", "is_active")?))
        });
        is_active.await.unwrap_or(true)
    }

    fn release(self: &Arc<Self>, slot: usize) {
        self.assignments().uses[slot] = Use::None;
        self.dispatch();
    }

    /// The numbers of open and of idle connections.
    pub fn size(&self) -> (usize, usize) {
        let open = self.slots.iter().filter(|slot| slot.is_open()).count();
        (open, self.slots.iter().filter(|slot| slot.is_idle()).count())
    }

    /// The slot that a start uses.
    pub fn first(&self) -> &ConnectionSlot {
        &self.slots[0]
    }

    /// Waits for running statements and closes all connections.
    pub async fn close(&self) {
        let closed = join_all(self.slots.iter().map(|slot| {
            slot.end();
            slot.pool.close()
        }));
        // What does not respond is closed with the process.
        let _ = timeout(STATEMENT_TIMEOUT, closed).await;
    }

    fn assignments(&self) -> MutexGuard<'_, Assignments> {
        self.assignments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Assignments {
    /// True if a request waits that its share of `capacity` admits. Forgets the first ones if they have ended.
    fn may_start(&mut self, workload: Workload, capacity: usize) -> bool {
        let in_use = self.uses.iter().filter(|of| **of == Use::By(workload)).count();
        let waiting = &mut self.waiting[workload as usize];
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        !waiting.is_empty() && in_use < workload.share(capacity)
    }

    /// A slot with a connection that nothing uses: if possible, one whose connection has been returned.
    fn free_slot(&self, slots: &[ConnectionSlot]) -> Option<usize> {
        let free = || (0..slots.len()).filter(|slot| self.uses[*slot] == Use::None && slots[*slot].is_open());
        free().find(|slot| slots[*slot].is_idle()).or_else(|| free().next())
    }

    fn closed_slot(&self, slots: &[ConnectionSlot]) -> Option<usize> {
        (0..slots.len()).find(|slot| self.uses[*slot] == Use::None && !slots[*slot].is_open())
    }

    /// After a refusal, requests wait for the shares of fewer connections while one of these may be free. The server may
    /// admit more by now, so what counts is the shares of all.
    fn needs_connection(&mut self, slots: &[ConnectionSlot]) -> bool {
        let all = slots.len();
        let waits = Workload::ALL.into_iter().any(|workload| self.may_start(workload, all));
        waits && (self.capacity < all || self.free_slot(slots).is_none()) && self.closed_slot(slots).is_some()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let slot = &self.connections.slots[self.slot];
        if !slot.is_abandoned() {
            return self.connections.release(self.slot);
        }
        // Without a runtime, the process ends.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&self.connections).reclaim(self.slot, self.workload));
        }
    }
}
