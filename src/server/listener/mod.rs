//! Listener: accepts connections and spawns a task for each that finds a place.
//!
//! poem's own server keeps silent and dripping connections open forever, and spins when file descriptors run out; so this
//! module serves hyper directly. hyper itself responds to what is not HTTP (400, 431), without a body, and offers no way
//! to change that response.

mod activity;
mod connection;
mod connection_memory;
mod connection_table;
mod discard;
mod partial_head;
mod received_body;
mod sent_body;
mod stream;
mod tls;
mod tls_input;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::http::memory_budget::MemoryBudget;
use crate::server::limits::Limits;
use crate::telemetry::metrics::Metrics;
use activity::Activity;
use connection::{Accepted, ListenerState};
use connection_table::{ConnectionTable, PROBE_PLACES};

pub use tls::TlsFiles;

/// Connections that have lost their place to another one, and have not ended yet.
const CLOSING_CONNECTIONS: usize = 16;

/// Pause after a failed accept. Errors such as running out of file descriptors persist for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves.
pub struct ListenerEndpoints<E> {
    pub all: E,
    /// For connections beyond the maximum: responds to probes, and with 503 to other requests.
    pub probes: E,
    /// The memory for heads that have arrived in part.
    pub memory: Arc<MemoryBudget>,
}

/// Serves until `stop` completes, then waits for the requests in flight, up to the shutdown timeout.
pub async fn serve_connections<E>(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    endpoints: ListenerEndpoints<E>,
    limits: &Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let table = Arc::new(ConnectionTable::new(limits, endpoints.memory.clone(), metrics));
    let state = Arc::new(ListenerState::new(endpoints, limits.clone(), metrics));
    let permits = Arc::new(Semaphore::new(limits.connections + PROBE_PLACES + CLOSING_CONNECTIONS));
    let mut acceptor = Acceptor { listener, permits, failing: false };
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);

    loop {
        let (stream, remote, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = acceptor.accept_one() => accepted,
        };
        let activity = Arc::new(Activity::new());
        let Some((place, memory)) = table.admit(remote.ip(), &activity) else { continue };
        let tls = tls.as_ref().map(|tls| tls.borrow().clone());
        let accepted = Accepted { stream, remote, activity, memory, served: place.served };
        let connection = state.clone().serve(accepted, tls, stopped.clone());
        let (place, open) = (Arc::new(place), metrics.connection());
        let held = (place.clone(), open, permit);
        let task = tokio::spawn(async move {
            connection.await;
            drop(held);
        });
        place.occupy(task.abort_handle());
    }
    drop((acceptor, stopped));
    stopping.send_replace(());
    if timeout(limits.shutdown_timeout, stopping.closed()).await.is_err() {
        warn!("shutdown timeout reached; dropped in-flight requests");
    }
}

struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    /// True while accepting fails, so that one failure is logged once.
    failing: bool,
}

impl Acceptor {
    /// Returns the next connection, with its remote address and permit. Retries failed accepts forever.
    async fn accept_one(&mut self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            let permit = self.permits.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    self.failing = false;
                    return (stream, remote, permit);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        warn!(%error, "accept failed; retrying");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
