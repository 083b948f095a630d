//! Server: the routes put together, and the process around them.

mod listener;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, Response, Route};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

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
        let store = service.store.clone();
        info!(address = %self.address, "listening");
        listener::serve(self.listener, endpoint(service, limits), limits, stop).await;
        store.close().await.map_err(io::Error::other)?;
        info!("stopped");
        Ok(())
    }
}

fn endpoint(service: Service, limits: &Limits) -> impl Endpoint<Output = Response> + use<> {
    let clock = service.clock.clone();
    let routes = docs::add_to(Route::new()).nest(api::BASE, api::service().data(service));
    Boundary {
        inner: routes.map_to_response(),
        routes: RouteTable::new(&docs::PAGES),
        clock,
        request_timeout: limits.request_timeout,
    }
}
