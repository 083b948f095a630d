//! Server: the routes put together, and the process around them.

mod background;
mod listener;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, Response, Route};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::api;
use crate::api::health::{self, Draining};
use crate::config::ConfigError;
use crate::http::otel::OtelMiddleware;
use crate::http::pipeline::RequestPipeline;
use crate::http::router::RouteTable;
use crate::openapi::swagger_ui;
use crate::service::Services;
use crate::telemetry::metrics::Metrics;

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

/// Enough for a few who scrape and probe.
const ADMIN_CONNECTIONS: usize = 100;

pub struct Server {
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    pub address: SocketAddr,
    /// Where metrics and health are asked for, when that is not where the API is.
    admin: Option<TcpListener>,
}

impl Server {
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = listen(address)?;
        Ok(Self { address: listener.local_addr()?, tls: None, listener, admin: None })
    }

    pub fn bind_admin(&mut self, address: SocketAddr) -> io::Result<()> {
        self.admin = Some(listen(address)?);
        Ok(())
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
    pub async fn run(self, services: Services, limits: &Limits, traced: bool) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let draining = Draining::default();
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM: finishing the requests in flight"),
                _ = interrupt.recv() => info!("SIGINT: finishing the requests in flight"),
            }
            draining.store(true, Ordering::Relaxed);
        };
        let services = Arc::new(services);
        let background = background::start(&services);
        let metrics = Metrics::default();
        let page = || ("/metrics", metrics.page(services.clone(), limits.connections));
        let health = || [("/livez", health::livez()), ("/readyz", health::readyz(services.clone(), draining.clone()))];

        let (admin, probes) = match self.admin {
            None => (None, RouteTable::of_probes(health().into_iter().chain([page()]), &metrics)),
            Some(listener) => {
                info!(address = %listener.local_addr()?, "metrics and health are served");
                let probes = RouteTable::of_probes(health().into_iter().chain([page()]), &metrics);
                let endpoint = boundary(Route::new(), probes, services.clone(), limits);
                (Some(Admin::start(listener, endpoint, limits)), RouteTable::of_probes(health(), &metrics))
            }
        };
        let pages = swagger_ui::add_to(Route::new()).nest(api::tag::BASE, api::service());
        let api = boundary(pages, probes.with_api(&swagger_ui::PAGES, &metrics), services.clone(), limits);
        info!(address = %self.address, tls = self.tls.is_some(), "listening");
        if traced {
            let api = OtelMiddleware { routes: api.routes.clone(), inner: api };
            listener::serve(self.listener, self.tls, api, limits, &metrics, stop).await;
        } else {
            listener::serve(self.listener, self.tls, api, limits, &metrics, stop).await;
        }
        background.end().await;
        if let Err(error) = services.usage.flush_all().await {
            warn!(%error, "final usage flush failed; up to one minute of counts lost");
        }
        if let Some(admin) = admin {
            admin.end().await;
        }
        services.close().await.map_err(io::Error::other)?;
        info!("stopped");
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Descriptors that are not for connections: the database's, the logs', those of files that are read again.
pub const RESERVED_FDS: u64 = 128;

/// As many connections as were asked for, or as the process may have descriptors for: beyond these the database could
/// not open its files either.
pub fn connections(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Some systems know a lower bound of their own.
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(descriptors.saturating_sub(RESERVED_FDS)).unwrap_or(usize::MAX).max(1);
    if possible < wanted {
        warn!(
            connections = possible,
            "--max-connections (MINTKEY_MAX_CONNECTIONS) is {wanted}, and there are not descriptors enough; raise the \
             limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    wanted.min(possible)
}

/// The listener for metrics and health, which goes on while the other finishes its requests.
struct Admin {
    task: tokio::task::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Admin {
    fn start(listener: TcpListener, endpoint: impl Endpoint<Output = Response> + 'static, limits: &Limits) -> Self {
        let (stop, stopped) = oneshot::channel();
        let limits = Limits { connections: ADMIN_CONNECTIONS, ..limits.clone() };
        // Its own connections are not counted among the API's.
        let task = async move {
            let stopped = async { _ = stopped.await };
            listener::serve(listener, None, endpoint, &limits, &Metrics::default(), stopped).await;
        };
        Self { task: tokio::spawn(task), stop }
    }

    async fn end(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

fn boundary(
    inner: Route,
    routes: RouteTable,
    services: Arc<Services>,
    limits: &Limits,
) -> RequestPipeline<impl Endpoint<Output = Response> + use<>> {
    RequestPipeline {
        inner: Arc::new(inner.map_to_response()),
        routes: Arc::new(routes),
        services,
        request_timeout: limits.request_timeout,
    }
}
