//! Listener: accepts connections, up to a maximum, and spawns a task for each.
//!
//! poem's own server keeps silent and dripping connections open forever, and spins when file descriptors run out; so this
//! module serves hyper directly. hyper itself responds to what is not HTTP (400, 414, 431), without a body, and offers no way
//! to change that response.

mod connection;
mod timeouts;
mod tls;

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

use crate::server::limits::Limits;
use crate::telemetry::metrics::Metrics;
use connection::ListenerState;

pub use tls::TlsFiles;

/// Pause after a failed accept. Errors such as running out of file descriptors persist for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` completes, then waits for the requests in flight, up to the shutdown timeout.
pub async fn serve_connections<E>(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    endpoint: E,
    limits: &Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let state = Arc::new(ListenerState::new(endpoint, limits.clone(), metrics));
    let mut acceptor = Acceptor { listener, permits: Arc::new(Semaphore::new(limits.connections)), failing: false };
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);

    loop {
        let (stream, remote, permit) = tokio::select! {
            () = &mut stop => break,
            accepted = acceptor.accept_one() => accepted,
        };
        let tls = tls.as_ref().map(|tls| tls.borrow().clone());
        let connection = state.clone().serve(stream, remote, tls, stopped.clone());
        let open = metrics.connection();
        tokio::spawn(async move {
            connection.await;
            drop((permit, open));
        });
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
