//! ConnectionTable: the open connections by the address of their peer.
//!
//! A new connection that finds no place takes that of an idle one: of its own peer, if the peer has its share, else of the
//! peer with the most connections. So no client keeps others out with connections that do nothing. If none is idle, the new
//! connection is served probes only, for which a few places are kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::http::memory_budget::MemoryBudget;
use crate::server::limits::Limits;
use crate::server::listener::activity::Activity;
use crate::server::listener::connection_memory::ConnectionMemory;
use crate::telemetry::metrics::Metrics;

/// Places for connections that are served probes only.
pub const PROBE_PLACES: usize = 16;

/// Maximum number of connections that are looked at to find an idle one of a peer.
const MAX_LOOKS: usize = 128;

/// Maximum number of peers among whose connections an idle one is sought.
const MAX_PEERS: usize = 8;

/// An IPv6 network with this prefix belongs to one site (RFC 4291, section 2.5.4).
const IPV6_PREFIX: u32 = 64;

pub struct ConnectionTable {
    max: usize,
    max_per_peer: usize,
    memory: Arc<MemoryBudget>,
    metrics: Metrics,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    peers: HashMap<IpAddr, ConnectionsByAge>,
    /// The peers by their number of connections.
    by_number: BTreeSet<(usize, IpAddr)>,
    total: usize,
    /// Connections without a place in the table.
    probes: ConnectionsByAge,
    last_id: u64,
}

/// What a connection is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Everything,
    Probes,
}

/// The place of a connection, which is free again when this is dropped.
pub struct Place {
    table: Arc<ConnectionTable>,
    id: u64,
    peer: IpAddr,
    pub served: Served,
}

/// Connections in the order of their age.
#[derive(Default)]
struct ConnectionsByAge {
    by_id: BTreeMap<u64, TableEntry>,
    last_looked_at: u64,
    /// The memory that the heads of this peer take.
    memory: Option<Arc<MemoryBudget>>,
}

struct TableEntry {
    activity: Arc<Activity>,
    /// The number of its requests when it was last looked at.
    begun: usize,
    /// Absent until the connection's task has started.
    task: Option<AbortHandle>,
}

impl ConnectionTable {
    pub fn new(limits: &Limits, memory: Arc<MemoryBudget>, metrics: &Metrics) -> Self {
        let (max, max_per_peer) = (limits.connections, limits.connections_per_peer);
        Self { max, max_per_peer, memory, metrics: metrics.clone(), open: Mutex::default() }
    }

    /// Returns a place for a connection, and its part of the memory for heads. Returns nothing if even the places for
    /// probes are in use.
    pub fn admit(self: &Arc<Self>, address: IpAddr, activity: &Arc<Activity>) -> Option<(Place, ConnectionMemory)> {
        let peer = peer_of(address);
        let mut open = self.lock();
        let served = self.find_place(&mut open, peer);
        if served == Served::Probes && open.probes.by_id.len() >= PROBE_PLACES && !open.probes.close_idle() {
            return None;
        }
        open.last_id += 1;
        let id = open.last_id;
        let of_peer = open.change(peer, served, |connections| {
            connections.by_id.insert(id, TableEntry { activity: activity.clone(), begun: 0, task: None });
            connections.memory.get_or_insert_with(|| MemoryBudget::of(self.memory.limit() / 2).into()).clone()
        });
        self.metrics.connections_of_largest_peer(open.largest());
        let place = Place { table: self.clone(), id, peer, served };
        Some((place, ConnectionMemory::new(self.memory.clone(), of_peer)))
    }

    fn find_place(&self, open: &mut OpenConnections, peer: IpAddr) -> Served {
        let closed = match open.peers.get(&peer) {
            Some(own) if own.by_id.len() >= self.max_per_peer => open.close_idle_of(peer),
            _ if open.total >= self.max => open.close_idle_of_largest(),
            _ => return Served::Everything,
        };
        self.metrics.connection_without_place(closed);
        if closed { Served::Everything } else { Served::Probes }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Names the task to end if the place is needed for another connection.
    pub fn occupy(&self, task: AbortHandle) {
        self.table.lock().change(self.peer, self.served, |connections| {
            if let Some(entry) = connections.by_id.get_mut(&self.id) {
                entry.task = Some(task);
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.table.lock();
        open.change(self.peer, self.served, |connections| connections.by_id.remove(&self.id));
        self.table.metrics.connections_of_largest_peer(open.largest());
    }
}

impl OpenConnections {
    /// Changes the connections of a peer, or those that are served probes only, and counts them again.
    fn change<T>(&mut self, peer: IpAddr, served: Served, change: impl FnOnce(&mut ConnectionsByAge) -> T) -> T {
        if served == Served::Probes {
            return change(&mut self.probes);
        }
        let connections = self.peers.entry(peer).or_default();
        let before = connections.by_id.len();
        let changed = change(connections);
        let after = connections.by_id.len();
        self.total = self.total + after - before;
        self.by_number.remove(&(before, peer));
        if after > 0 {
            self.by_number.insert((after, peer));
        } else {
            self.peers.remove(&peer);
        }
        changed
    }

    fn close_idle_of(&mut self, peer: IpAddr) -> bool {
        self.change(peer, Served::Everything, ConnectionsByAge::close_idle)
    }

    fn close_idle_of_largest(&mut self) -> bool {
        let largest: Vec<_> = self.by_number.iter().rev().take(MAX_PEERS).map(|(_, peer)| *peer).collect();
        largest.into_iter().any(|peer| self.close_idle_of(peer))
    }

    fn largest(&self) -> usize {
        self.by_number.last().map_or(0, |(number, _)| *number)
    }
}

impl ConnectionsByAge {
    /// Closes an idle connection, preferably one that has made no request since it was last looked at. This is the page
    /// replacement algorithm "second chance", which needs neither a clock nor a list in the order of use.
    fn close_idle(&mut self) -> bool {
        for _ in 0..(2 * self.by_id.len()).min(MAX_LOOKS) {
            let next = self.by_id.range((Excluded(self.last_looked_at), Unbounded)).next();
            let Some(id) = next.or_else(|| self.by_id.iter().next()).map(|(id, _)| *id) else { return false };
            self.last_looked_at = id;
            let idle = self.by_id.get_mut(&id).is_some_and(TableEntry::is_idle_again);
            if idle && let Some(TableEntry { task: Some(task), .. }) = self.by_id.remove(&id) {
                task.abort();
                return true;
            }
        }
        false
    }
}

impl TableEntry {
    /// True without a request or a response in flight, and without one since the last call.
    fn is_idle_again(&mut self) -> bool {
        let begun = self.activity.begun();
        let before = std::mem::replace(&mut self.begun, begun);
        self.activity.may_be_closed() && begun == before
    }
}

/// Returns the address by which connections are counted: that of an IPv4 peer, the network of an IPv6 peer.
fn peer_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - IPV6_PREFIX))).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::{JoinHandle, spawn};

    use super::*;

    const MEMORY: usize = 100_000;

    struct Fixture {
        table: Arc<ConnectionTable>,
    }

    /// A connection whose task holds its place until it is aborted.
    struct Connection {
        activity: Arc<Activity>,
        task: JoinHandle<()>,
        served: Served,
        memory: ConnectionMemory,
    }

    impl Fixture {
        fn new(connections: usize, connections_per_peer: usize) -> Self {
            let timeout = Duration::from_secs(60);
            let limits = Limits {
                connections,
                connections_per_peer,
                request_memory: MEMORY,
                head_timeout: timeout,
                idle_timeout: timeout,
                request_timeout: timeout,
                shutdown_timeout: timeout,
            };
            let metrics = Metrics::default();
            Self { table: ConnectionTable::new(&limits, MemoryBudget::of(MEMORY).into(), &metrics).into() }
        }

        fn connect(&self, address: &str) -> Option<Connection> {
            let activity = Arc::new(Activity::new());
            let (place, memory) = self.table.admit(address.parse().unwrap(), &activity)?;
            let served = place.served;
            let (occupied, wait) = tokio::sync::oneshot::channel::<Place>();
            let task = spawn(async move {
                let _place = wait.await;
                std::future::pending().await
            });
            place.occupy(task.abort_handle());
            let _ = occupied.send(place);
            Some(Connection { activity, task, served, memory })
        }

        async fn connect_idle(&self, address: &str, number: usize) -> Vec<Connection> {
            let connections = (0..number).map(|_| self.connect(address).unwrap()).collect();
            tokio::task::yield_now().await;
            connections
        }

        fn numbers(&self) -> (usize, usize) {
            let open = self.table.lock();
            assert_eq!(open.by_number.iter().map(|(number, _)| number).sum::<usize>(), open.total);
            (open.total, open.largest())
        }
    }

    impl Connection {
        async fn closed(self) {
            assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
        }

        fn is_open(&self) -> bool {
            !self.task.is_finished()
        }
    }

    #[tokio::test]
    async fn full_table_closes_idle_connection_of_largest_peer() {
        let fixture = Fixture::new(5, 4);
        let mut hog = fixture.connect_idle("10.0.0.1", 4).await;
        let small = fixture.connect("10.0.0.2").unwrap();
        let new = fixture.connect("10.0.0.3").unwrap();
        assert_eq!((new.served, fixture.numbers()), (Served::Everything, (5, 3)));
        // The oldest.
        hog.remove(0).closed().await;
        assert!(small.is_open() && hog.iter().all(Connection::is_open));
    }

    #[tokio::test]
    async fn peer_with_its_share_loses_its_own_idle_connection() {
        let fixture = Fixture::new(10, 2);
        let first = fixture.connect("10.0.0.1").unwrap();
        let second = fixture.connect("10.0.0.1").unwrap();
        // It has made a request, and has none in flight.
        drop(first.activity.begin(false));
        let third = fixture.connect("10.0.0.1").unwrap();
        assert_eq!((third.served, fixture.numbers()), (Served::Everything, (2, 2)));
        second.closed().await;
        assert!(first.is_open(), "it has been used");
    }

    #[tokio::test]
    async fn busy_table_serves_probes_in_places_of_their_own() {
        let fixture = Fixture::new(2, 2);
        let busy = fixture.connect_idle("10.0.0.1", 2).await;
        let in_flight: Vec<_> = busy.iter().map(|connection| connection.activity.begin(false)).collect();
        let probes = fixture.connect_idle("10.0.0.2", PROBE_PLACES).await;
        assert!(probes.iter().all(|probe| probe.served == Served::Probes));
        assert_eq!(fixture.numbers(), (2, 2));
        // A further one takes the place of the oldest, unless all are busy.
        let _busy: Vec<_> = probes[1..].iter().map(|probe| probe.activity.begin(false)).collect();
        let last = fixture.connect("10.0.0.2").unwrap();
        let _busy_last = last.activity.begin(false);
        assert!(fixture.connect("10.0.0.2").is_none());
        drop(in_flight);
        assert_eq!(fixture.connect("10.0.0.2").unwrap().served, Served::Everything);
    }

    #[tokio::test]
    async fn place_is_free_when_its_connection_ends() {
        let fixture = Fixture::new(2, 2);
        let connections = fixture.connect_idle("10.0.0.1", 2).await;
        let _in_flight: Vec<_> = connections.iter().map(|connection| connection.activity.begin(false)).collect();
        connections[0].task.abort();
        tokio::task::yield_now().await;
        assert_eq!(fixture.numbers(), (1, 1));
        assert_eq!(fixture.connect("10.0.0.1").unwrap().served, Served::Everything);
    }

    #[tokio::test]
    async fn peers_share_the_memory() {
        let fixture = Fixture::new(10, 10);
        let mut first = fixture.connect("10.0.0.1").unwrap();
        let mut second = fixture.connect("10.0.0.1").unwrap();
        let mut other = fixture.connect("10.0.0.2").unwrap();
        // A connection has 4 KiB beside what it takes from the memory of all.
        first.memory.grow_to(4096 + 40_000).unwrap();
        assert!(second.memory.grow_to(4096 + 10_001).is_err());
        second.memory.grow_to(4096 + 10_000).unwrap();
        other.memory.grow_to(4096 + 50_000).unwrap();
        other.memory.grow_to(1_000).unwrap();
        let mut last = fixture.connect("10.0.0.3").unwrap();
        assert!(last.memory.grow_to(4096 + 1).is_err());
        last.memory.grow_to(4096).unwrap();
        drop((first.memory, second.memory, other.memory));
        assert_eq!(fixture.table.memory.used(), 0);
    }

    #[test]
    fn peer_is_an_ipv4_address_or_an_ipv6_network() {
        let peer = |address: &str| peer_of(address.parse().unwrap()).to_string();
        assert_eq!(peer("192.0.2.7"), "192.0.2.7");
        assert_eq!(peer("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(peer("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
