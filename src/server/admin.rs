//! Admin listener: serves metrics and health on an address of its own, also while the API finishes its requests.

use poem::{Endpoint, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::server::limits::Limits;
use crate::server::listener;
use crate::telemetry::metrics::Metrics;

/// Enough for several scrapers and probes.
const ADMIN_CONNECTIONS: usize = 100;

pub struct AdminListener {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl AdminListener {
    pub fn start(listener: TcpListener, endpoint: impl Endpoint<Output = Response> + 'static, limits: &Limits) -> Self {
        let (stop, stopped) = oneshot::channel();
        let limits = Limits { connections: ADMIN_CONNECTIONS, ..limits.clone() };
        let task = async move {
            let stopped = async { _ = stopped.await };
            // Separate metrics: its connections do not count as the API's.
            listener::serve_connections(listener, None, endpoint, &limits, &Metrics::default(), stopped).await;
        };
        Self { task: tokio::spawn(task), stop }
    }

    pub async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
