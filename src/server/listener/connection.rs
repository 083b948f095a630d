//! Connection: TLS handshake, then HTTP/1 or HTTP/2 requests until the client, a time limit or the shutdown ends it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Body, Endpoint, RequestParts, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::http::access_log::record_unreadable;
use crate::server::limits::Limits;
use crate::server::listener::ListenerEndpoints;
use crate::server::listener::activity::Activity;
use crate::server::listener::connection_memory::ConnectionMemory;
use crate::server::listener::connection_table::Served;
use crate::server::listener::partial_head::MAX_STREAMS;
use crate::server::listener::received_body::ReceivedBody;
use crate::server::listener::sent_body::{OpenRequest, SentBody};
use crate::server::listener::stream::ConnectionStream;
use crate::server::listener::tls_input::TlsInput;
use crate::telemetry::metrics::{Metrics, RouteMetrics};

/// Maximum bytes of a request's head: twice the longest credential, because hyper responds to a longer head without our
/// error body. It is as much as nginx accepts by default.
const MAX_HEAD_BYTES: u32 = 32 * 1024;

/// Bytes of a body that an HTTP/2 stream may send before the server reads it, which it does once it knows the caller.
const STREAM_WINDOW: u32 = 16 * 1024;

/// The same for all streams of a connection: the least that HTTP/2 allows (RFC 9113, section 6.9.2).
const CONNECTION_WINDOW: u32 = 65_535;

/// What rustls keeps of a response that the client does not receive.
const TLS_BUFFER: usize = 16 * 1024;

/// Time for the head of a probe, on a connection that is served probes only.
const PROBE_HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for an overdue connection to close by itself: HTTP/2 notifies its client first.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// What the connections of a listener share.
pub struct ListenerState<E> {
    endpoints: ListenerEndpoints<E>,
    http: auto::Builder<TokioExecutor>,
    /// For connections that are served probes only.
    http_for_probes: auto::Builder<TokioExecutor>,
    limits: Limits,
    /// Of requests whose head could not be read.
    unreadable: RouteMetrics,
}

/// A connection that has found a place.
pub struct Accepted {
    pub stream: TcpStream,
    pub remote: SocketAddr,
    pub activity: Arc<Activity>,
    pub memory: ConnectionMemory,
    pub served: Served,
}

/// One connection, as its requests see it.
struct Connection<E> {
    state: Arc<ListenerState<E>>,
    activity: Arc<Activity>,
    served: Served,
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

impl<E: Endpoint<Output = Response> + 'static> ListenerState<E> {
    pub fn new(endpoints: ListenerEndpoints<E>, limits: Limits, metrics: &Metrics) -> Self {
        let [http, mut http_for_probes] = [http_builder(), http_builder()];
        http_for_probes.http1().keep_alive(false);
        let unreadable = metrics.route("-", [].into_iter());
        Self { endpoints, http, http_for_probes, limits, unreadable }
    }

    pub async fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        tls: Option<TlsAcceptor>,
        mut stopped: watch::Receiver<()>,
    ) {
        let mut connection = self.clone().connection(&accepted);
        let Accepted { stream, memory, .. } = accepted;
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else { return connection.serve_requests(stream, memory, stopped).await };
        connection.scheme = Scheme::HTTPS;
        let input = TlsInput::new(stream, connection.activity.clone(), memory.another());
        let handshake =
            timeout(connection.timeouts().0, tls.accept_with(input, |tls| tls.set_buffer_limit(Some(TLS_BUFFER))));
        let outcome = tokio::select! {
            outcome = handshake => outcome,
            _ = stopped.changed() => return,
        };
        match outcome {
            Ok(Ok(stream)) => connection.serve_requests(stream, memory, stopped).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake failed"),
            Err(_elapsed) => debug!("TLS handshake timed out"),
        }
    }

    /// The endpoint has seen no request with a head that could not be read.
    fn log_outcome(&self, outcome: Result<(), Box<dyn Error + Send + Sync>>, activity: &Activity) {
        let Err(error) = outcome else { return };
        let status = if activity.has_refused_head() { Some(503) } else { status_of_unreadable_head(&*error) };
        match status {
            Some(status) => record_unreadable(&self.unreadable, status, error.to_string()),
            None => debug!(%error, "connection error"),
        }
    }

    fn connection(self: Arc<Self>, accepted: &Accepted) -> Connection<E> {
        let Accepted { stream, remote, activity, served, .. } = accepted;
        let (remote, served) = (*remote, *served);
        Connection {
            state: self,
            activity: activity.clone(),
            served,
            local: LocalAddr(Addr::SocketAddr(stream.local_addr().unwrap_or(remote))),
            remote: RemoteAddr(Addr::SocketAddr(remote)),
            scheme: Scheme::HTTP,
        }
    }
}

impl<E: Endpoint<Output = Response> + 'static> Connection<E> {
    async fn serve_requests<S>(self, stream: S, memory: ConnectionMemory, mut stopped: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (state, activity) = (self.state.clone(), self.activity.clone());
        let (head_timeout, idle_timeout) = self.timeouts();
        let http = match self.served {
            Served::Everything => &state.http,
            Served::Probes => &state.http_for_probes,
        };
        let connection = Arc::new(self);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let connection = connection.clone();
            async move {
                let _in_flight = connection.activity.begin(request.version() == Version::HTTP_2);
                let open = OpenRequest::new(connection.activity.clone());
                let (local, remote) = (connection.local.clone(), connection.remote.clone());
                let (parts, incoming) = request.into_parts();
                let parts = RequestParts::from((parts, local, remote, connection.scheme.clone()));
                let request = poem::Request::from_parts(parts, connection.body(incoming));
                let mut response = connection.endpoint().call(request).await.map(hyper::Response::from)?;
                if connection.activity.has_unread_body() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, poem::Error>(response.map(|body| SentBody::new(body, open)))
            }
        });
        let limits = &state.limits;
        let stream = ConnectionStream::new(stream, activity.clone(), memory, limits.request_timeout);
        let mut http = pin!(http.serve_connection(TokioIo::new(stream), service));
        let grace = tokio::select! {
            biased;
            outcome = http.as_mut() => return state.log_outcome(outcome, &activity),
            _ = stopped.changed() => limits.shutdown_timeout,
            () = activity.wait_until_overdue(head_timeout, idle_timeout) => CLOSE_GRACE,
        };
        http.as_mut().graceful_shutdown();
        match timeout(grace, http).await {
            Ok(outcome) => state.log_outcome(outcome, &activity),
            Err(_elapsed) => debug!("connection closed: timeout"),
        }
    }
}

impl<E> Connection<E> {
    fn endpoint(&self) -> &E {
        match self.served {
            Served::Everything => &self.state.endpoints.all,
            Served::Probes => &self.state.endpoints.probes,
        }
    }

    /// The times for a head, and between requests.
    fn timeouts(&self) -> (Duration, Duration) {
        let limits = &self.state.limits;
        match self.served {
            Served::Everything => (limits.head_timeout, limits.idle_timeout),
            Served::Probes => (limits.head_timeout.min(PROBE_HEAD_TIMEOUT), Duration::ZERO),
        }
    }

    fn body(&self, incoming: Incoming) -> Body {
        match incoming.is_end_stream() {
            true => Body::empty(),
            false => ReceivedBody::new(incoming, self.activity.clone()).map_err(io::Error::other).boxed().into(),
        }
    }
}

/// Returns the status of hyper's own response, if this is the error of a head that it could not read.
fn status_of_unreadable_head(error: &(dyn Error + 'static)) -> Option<u16> {
    let error = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse())?;
    Some(if error.is_parse_too_large() { 431 } else { 400 })
}

fn http_builder() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // A response is small; the kernel takes one buffer faster than a list of two.
    http.http1().header_read_timeout(None).max_buf_size(MAX_HEAD_BYTES as usize).writev(false);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    http
}
