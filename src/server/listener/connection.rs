//! Connection: TLS handshake, then HTTP/1 or HTTP/2 requests until the client, a time limit or the shutdown ends it.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::http::access_log::record_unreadable;
use crate::server::limits::Limits;
use crate::server::listener::timeouts::{Activity, TimedStream};
use crate::telemetry::metrics::{Metrics, RouteMetrics};

/// Maximum memory for a request's head and the buffers around it: far more than any credential needs, because hyper responds
/// to a longer head without our error body.
const MAX_HEAD_BYTES: usize = 400 * 1024;

/// Time for an overdue connection to close by itself: HTTP/2 notifies its client first.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What the connections of a listener share.
pub struct ListenerState<E> {
    endpoint: E,
    http: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Of requests whose head could not be read.
    unreadable: RouteMetrics,
}

/// One connection, as its requests see it.
struct Connection<E> {
    state: Arc<ListenerState<E>>,
    activity: Arc<Activity>,
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

impl<E: Endpoint<Output = Response> + 'static> ListenerState<E> {
    pub fn new(endpoint: E, limits: Limits, metrics: &Metrics) -> Self {
        Self { endpoint, http: http_builder(), limits, unreadable: metrics.route("-", [].into_iter()) }
    }

    pub async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        tls: Option<TlsAcceptor>,
        mut stopped: watch::Receiver<()>,
    ) {
        let _ = stream.set_nodelay(true);
        let mut connection = self.clone().connection(&stream, remote);
        let Some(tls) = tls else { return connection.serve_requests(stream, stopped).await };
        connection.scheme = Scheme::HTTPS;
        let handshake = timeout(self.limits.head_timeout, tls.accept(stream));
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            _ = stopped.changed() => return,
        };
        match outcome {
            Ok(Ok(stream)) => connection.serve_requests(stream, stopped).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_elapsed) => debug!("TLS handshake timed out"),
        }
    }

    /// hyper responds by itself to a head that it cannot read; then the endpoint has seen no request.
    fn log_outcome(&self, outcome: Result<(), Box<dyn Error + Send + Sync>>) {
        let Err(error) = outcome else { return };
        match status_of_unreadable_head(&*error) {
            Some(status) => record_unreadable(&self.unreadable, status, error.to_string()),
            None => debug!(%error, "connection error"),
        }
    }

    fn connection(self: Arc<Self>, stream: &TcpStream, remote: SocketAddr) -> Connection<E> {
        Connection {
            state: self,
            activity: Arc::new(Activity::new()),
            local: LocalAddr(Addr::SocketAddr(stream.local_addr().unwrap_or(remote))),
            remote: RemoteAddr(Addr::SocketAddr(remote)),
            scheme: Scheme::HTTP,
        }
    }
}

impl<E: Endpoint<Output = Response> + 'static> Connection<E> {
    async fn serve_requests<S>(self, stream: S, mut stopped: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (state, activity) = (self.state.clone(), self.activity.clone());
        let connection = Arc::new(self);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let connection = connection.clone();
            async move {
                let _in_flight = connection.activity.begin(request.version() == Version::HTTP_2);
                let (local, remote) = (connection.local.clone(), connection.remote.clone());
                let request = poem::Request::from((request, local, remote, connection.scheme.clone()));
                connection.state.endpoint.call(request).await.map(hyper::Response::from)
            }
        });
        let limits = &state.limits;
        let stream = TimedStream::new(stream, activity.clone(), limits.request_timeout);
        let mut http = pin!(state.http.serve_connection(TokioIo::new(stream), service));
        let grace = tokio::select! {
            biased;
            outcome = http.as_mut() => return state.log_outcome(outcome),
            _ = stopped.changed() => limits.shutdown_timeout,
            () = activity.wait_until_overdue(limits.head_timeout, limits.idle_timeout) => CLOSE_GRACE,
        };
        http.as_mut().graceful_shutdown();
        match timeout(grace, http).await {
            Ok(outcome) => state.log_outcome(outcome),
            Err(_elapsed) => debug!("connection closed: timeout"),
        }
    }
}

/// Returns the status of hyper's own response, if this is the error of a head that it could not read.
fn status_of_unreadable_head(error: &(dyn Error + 'static)) -> Option<u16> {
    let error = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse())?;
    Some(match error.is_parse_too_large() {
        true if error.to_string().contains("URI too long") => 414,
        true => 431,
        false => 400,
    })
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // A response is small; the kernel takes one buffer faster than a list of two.
    http.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES).writev(false);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(100)
        // The body limit; hyper's default would buffer sixteen times as much.
        .initial_stream_window_size(64 * 1024);
    http
}
