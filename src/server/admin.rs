//! Admin listener: serves metrics and health on an address of its own, also while the API finishes its requests.

use poem::{Endpoint, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::server::limits::Limits;
use crate::server::listener::{self, ListenerEndpoints};
use crate::telemetry::metrics::Metrics;

/// Enough for several scrapers and probes.
const ADMIN_CONNECTIONS: usize = 100;

pub struct AdminListener {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl AdminListener {
    pub fn start<E>(listener: TcpListener, endpoints: ListenerEndpoints<E>, limits: &Limits) -> Self
    where
        E: Endpoint<Output = Response> + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let (connections, connections_per_peer) = (ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
        let limits = Limits { connections, connections_per_peer, ..limits.clone() };
        let task = async move {
            let stopped = async { _ = stopped.await };
            // Separate metrics: its connections do not count as the API's.
            listener::serve_connections(listener, None, endpoints, &limits, &Metrics::default(), stopped).await;
        };
        Self { task: tokio::spawn(task), stop }
    }

    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
