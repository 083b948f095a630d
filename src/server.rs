//! Server: the routes put together, and the process around them.

mod listener;
mod tasks;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, Response, Route};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::api::boundary::Boundary;
use crate::api::routes::RouteTable;
use crate::api::{self, docs};
use crate::config::ConfigError;
use crate::service::Service;

pub use listener::TlsFiles;

#[derive(Clone)]
pub struct Limits {
    pub connections: usize,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub request_timeout: Duration,
    pub shutdown_timeout: Duration,
}

/// What the system keeps for a client that does not read: left to itself it keeps megabytes for each, until it has no
/// memory for anybody.
const SEND_BUFFER: u32 = 64 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

pub struct Server {
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    pub address: SocketAddr,
}

impl Server {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { address: listener.local_addr()?, tls: None, listener })
    }

    pub async fn with_tls(self, files: Option<TlsFiles>) -> Result<Self, ConfigError> {
        let tls = match files {
            Some(files) => Some(files.follow().await?),
            None => None,
        };
        Ok(Self { tls, ..self })
    }

    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{}://{address}", if self.tls.is_some() { "https" } else { "http" })
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
        info!(address = %self.address, tls = self.tls.is_some(), "listening");
        listener::serve(self.listener, self.tls, endpoint(service.clone(), limits), limits, stop).await;
        background.end().await;
        if let Err(error) = service.write_usage(true).await {
            warn!(%error, "the last counts of use could not be written");
        }
        service.store.clone().close().await.map_err(io::Error::other)?;
        info!("stopped");
        Ok(())
    }
}

/// Descriptors that are not for connections: the database's, the logs', those of files that are read again.
const OTHER_DESCRIPTORS: u64 = 128;

/// As many connections as were asked for, or as the process may have descriptors for: beyond these the database could
/// not open its files either.
pub fn connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Some systems know a lower bound of their own.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(descriptors.saturating_sub(OTHER_DESCRIPTORS)).unwrap_or(usize::MAX).max(1);
    if possible < wanted {
        warn!(
            connections = possible,
            "--max-connections (MINTKEY_MAX_CONNECTIONS) is {wanted}, and there are not descriptors enough; raise the \
             limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    wanted.min(possible)
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
