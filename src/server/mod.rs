//! Server: assembles the API, the health and metrics endpoints and the background tasks, and runs them until a signal.

mod admin;
mod background;
mod limits;
mod listener;
mod signals;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, Route};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::api;
use crate::api::health::{self, Draining};
use crate::api::verification::verify::InlineVerify;
use crate::config::ConfigError;
use crate::http::body::reader::BodyLimits;
use crate::http::client_address::ClientAddressRule;
use crate::http::cors::CorsPolicy;
use crate::http::otel::OtelMiddleware;
use crate::http::pipeline::{InlineOperation, NoInlineOperation, RequestPipeline};
use crate::http::router::RouteTable;
use crate::openapi::login::LoginOptions;
use crate::openapi::root;
use crate::openapi::swagger_ui::{self, LoginSource};
use crate::service::Services;
use crate::telemetry::metrics::{ConnectionLimits, Metrics, metrics_page};
use admin::AdminListener;
use listener::ListenerEndpoints;
use signals::StopSignals;

use limits::RequestMemory;
pub use limits::{Limits, RESERVED_FDS, effective_max_connections};
pub use listener::TlsFiles;

/// Size of a socket's send buffer. Left to itself, the kernel buffers megabytes for each client that does not read.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// Connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;

pub struct Server {
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    pub address: SocketAddr,
    /// The separate listener for metrics and health.
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

    /// Loads the certificate, and again when its files change or SIGHUP is received.
    pub async fn with_tls(self, files: Option<TlsFiles>) -> Result<Self, ConfigError> {
        let hangup = signals::hangup().map_err(|error| ConfigError(format!("cannot handle SIGHUP: {error}")))?;
        let tls = match files {
            Some(files) => Some(files.watch(hangup).await?),
            None => {
                tokio::spawn(signals::ignore_hangups(hangup));
                None
            }
        };
        Ok(Self { tls, ..self })
    }

    /// The URL by which programs on this machine reach the server.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        format!("{}://{address}", if self.tls.is_some() { "https" } else { "http" })
    }

    /// Serves until SIGTERM or SIGINT. Then finishes the requests in flight, writes the last usage counts, stops the admin
    /// listener, which reports the shutdown until then, and closes the store.
    pub async fn run(
        self,
        services: Services,
        limits: &Limits,
        cors: Option<CorsPolicy>,
        clients: ClientAddressRule,
        traced: bool,
    ) -> io::Result<()> {
        let draining = Draining::default();
        let stop = StopSignals::new()?.drain(draining.clone());
        let services = Arc::new(services);
        let background = background::start_background_tasks(&services);
        let metrics = Metrics::default();
        let RequestMemory { heads: memory, bodies, forms } = RequestMemory::new(limits.request_memory, &metrics);
        let body_limits = BodyLimits { timeout: limits.request_timeout, memory: bodies, unauthenticated_memory: forms };
        let (overload, clients) = (limits.overload(), Arc::new(clients));

        let health = || {
            let ready = health::readyz(services.clone(), draining.clone());
            [("/livez", &[][..], health::livez()), ("/readyz", &[health::PURPOSE_PARAM][..], ready)]
        };
        let maximum = || ConnectionLimits { all: limits.connections, per_peer: limits.connections_per_peer };
        let all = || {
            let page = ("/metrics", &[][..], metrics_page(&metrics, services.clone(), maximum()));
            RouteTable::for_health(health().into_iter().chain([page]), &metrics)
        };
        let (admin, probes) = match self.admin {
            None => (None, all()),
            Some(listener) => {
                info!(address = %listener.local_addr()?, "admin listener started");
                let admin = pipeline(Route::new(), NoInlineOperation, all(), &services, &body_limits, &clients);
                let endpoints =
                    ListenerEndpoints { probes: admin.probes_only(&overload), all: admin, memory: memory.clone() };
                (Some(AdminListener::start(listener, endpoints, limits)), RouteTable::for_health(health(), &metrics))
            }
        };
        let pages = swagger_ui::add_pages(root::add_root_pages(Route::new()), login_source(services.clone()));
        let router = pages.nest(api::tag::BASE, api::service());
        let routes = probes
            .with_operations(api::tag::BASE, api::Operations, &api::routes::ROUTES, &metrics)
            .with_pages(&root::ROOT_PAGES, &metrics)
            .with_pages(&swagger_ui::PAGES, &metrics);
        let inline = InlineVerify { services: services.clone() };
        let api = pipeline(router, inline, routes, &services, &body_limits, &clients).with_cors(cors);
        info!(address = %self.address, tls = self.tls.is_some(), "listening");
        let probes = api.probes_only(&overload);
        if traced {
            let [all, probes] = [api, probes].map(|inner| OtelMiddleware { routes: inner.routes.clone(), inner });
            let endpoints = ListenerEndpoints { all, probes, memory };
            listener::serve_connections(self.listener, self.tls, endpoints, limits, &metrics, stop).await;
        } else {
            let endpoints = ListenerEndpoints { all: api, probes, memory };
            listener::serve_connections(self.listener, self.tls, endpoints, limits, &metrics, stop).await;
        }
        background.end().await;
        if let Err(error) = services.usage.flush_all().await {
            warn!(%error, "final usage flush failed; up to one minute of counts lost");
        }
        if let Some(admin) = admin {
            admin.end().await;
        }
        services.close().await.map_err(io::Error::other)?;
        info!("server stopped");
        Ok(())
    }
}

/// Returns the source of the issuer's login for the documentation page.
fn login_source(services: Arc<Services>) -> LoginSource {
    Arc::new(move || {
        let login = services.auth.login()?;
        Some(LoginOptions {
            origin: login.endpoints.origin,
            authorization_url: login.endpoints.authorization,
            token_url: login.endpoints.token,
            client_id: login.client.id.clone(),
            scopes: login.client.scopes.clone(),
            query: login.client.query.clone(),
        })
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn pipeline<I: InlineOperation>(
    router: Route,
    inline: I,
    routes: RouteTable,
    services: &Arc<Services>,
    body_limits: &BodyLimits,
    clients: &Arc<ClientAddressRule>,
) -> RequestPipeline<impl Endpoint<Output = Response> + use<I>, I, Arc<Services>> {
    RequestPipeline {
        router: Arc::new(router.map_to_response()),
        inline,
        state: services.clone(),
        routes: Arc::new(routes),
        clock: services.clock().clone(),
        body_limits: body_limits.clone(),
        clients: clients.clone(),
        cors: None,
        overload: None,
    }
}
