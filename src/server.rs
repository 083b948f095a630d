//! Server: the routes put together, and the process around them.

mod listener;
mod tasks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, Response, Route};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::api::boundary::Boundary;
use crate::api::routes::RouteTable;
use crate::api::{self, docs};
use crate::service::Service;

pub struct Limits {
    pub connections: usize,
    pub request_timeout: Duration,
    pub shutdown_timeout: Duration,
}

pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Server {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Serves until SIGTERM or SIGINT, then finishes what is in flight and closes the store.
    pub async fn run(self, service: Service, limits: &Limits) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM: finishing the requests in flight"),
                _ = interrupt.recv() => info!("SIGINT: finishing the requests in flight"),
            }
        };
        let service = Arc::new(service);
        let background = tasks::start(&service);
        info!(address = %self.address, "listening");
        listener::serve(self.listener, endpoint(service.clone(), limits), limits, stop).await;
        background.end().await;
        if let Err(error) = service.write_usage(true).await {
            warn!(%error, "the last counts of use could not be written");
        }
        service.store.clone().close().await.map_err(io::Error::other)?;
        info!("stopped");
        Ok(())
    }
}

fn endpoint(service: Arc<Service>, limits: &Limits) -> impl Endpoint<Output = Response> + use<> {
    let routes = docs::add_to(Route::new()).nest(api::BASE, api::service());
    Boundary {
        inner: Arc::new(routes.map_to_response()),
        routes: RouteTable::new(&docs::PAGES),
        service,
        request_timeout: limits.request_timeout,
    }
}
