//! Listener: from a socket to requests. poem's own server keeps silent and dripping connections open without end, and at
//! the limit of file descriptors spins; so the loop is ours, over hyper.
//!
//! hyper itself answers what is not HTTP (400, 414, 431), with no body, and does not let anybody else answer it.

mod timeouts;
mod tls;

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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::server::Limits;
use timeouts::{Activity, Watched};
pub use tls::TlsFiles;

use crate::telemetry::metrics::Metrics;

/// After a failure to accept, such as running out of file descriptors, which only time can cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a request's head and the buffers around it may take up: far more than any credential, because to what is longer
/// hyper answers with no word of ours.
const HEAD_BYTES: usize = 400 * 1024;

/// For a connection that overstayed to end by itself: HTTP/2 tells its client first.
const LEAVE: Duration = Duration::from_secs(1);

/// What the connections share.
struct Shared<E> {
    endpoint: E,
    http: auto::Builder<TokioExecutor>,
    limits: Limits,
}

/// One connection, as its requests know it.
struct Peer<E> {
    shared: Arc<Shared<E>>,
    activity: Arc<Activity>,
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

pub async fn serve<E>(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
    endpoint: E,
    limits: &Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let shared = Arc::new(Shared { endpoint, http: http(), limits: limits.clone() });
    let room = Arc::new(Semaphore::new(limits.connections));
    let (stopping, stopped) = watch::channel(());
    let mut failing = false;
    let mut stop = pin!(stop);

    loop {
        let accept = async {
            let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(%error, "connections cannot be accepted, and wait");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        let tls = tls.as_ref().map(|tls| tls.borrow().clone());
        let connection = shared.clone().connection(stream, remote, tls, stopped.clone());
        let open = metrics.connection();
        tokio::spawn(async move {
            connection.await;
            drop((place, open));
        });
    }
    drop((listener, stopped));
    stopping.send_replace(());
    if timeout(limits.shutdown_timeout, stopping.closed()).await.is_err() {
        warn!("requests in flight took too long and were cut off");
    }
}

fn http() -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // An answer is small, and one buffer of it is cheaper for the kernel than a list of two.
    http.http1().header_read_timeout(None).max_buf_size(HEAD_BYTES).writev(false);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(100)
        // As long as a body may be; hyper would let sixteen times that wait to be read.
        .initial_stream_window_size(64 * 1024);
    http
}

impl<E: Endpoint<Output = Response> + 'static> Shared<E> {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        tls: Option<TlsAcceptor>,
        mut stopped: watch::Receiver<()>,
    ) {
        let _ = stream.set_nodelay(true);
        let local = LocalAddr(Addr::SocketAddr(stream.local_addr().unwrap_or(remote)));
        let activity = Arc::new(Activity::new());
        let mut peer = Peer {
            shared: self.clone(),
            activity: activity.clone(),
            local,
            remote: RemoteAddr(Addr::SocketAddr(remote)),
            scheme: Scheme::HTTP,
        };
        let Some(tls) = tls else { return self.converse(stream, peer, stopped).await };
        peer.scheme = Scheme::HTTPS;
        let handshake = timeout(self.limits.head_timeout, tls.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = stopped.changed() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.converse(stream, peer, stopped).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_elapsed) => debug!("a TLS handshake took too long"),
        }
    }

    async fn converse<S>(&self, stream: S, peer: Peer<E>, mut stopped: watch::Receiver<()>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = peer.activity.clone();
        let peer = Arc::new(peer);
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let peer = peer.clone();
            async move {
                let _open = peer.activity.begin(request.version() == Version::HTTP_2);
                let request = (request, peer.local.clone(), peer.remote.clone(), peer.scheme.clone());
                peer.shared.endpoint.call(poem::Request::from(request)).await.map(hyper::Response::from)
            }
        });
        let stream = Watched::new(stream, activity.clone(), self.limits.request_timeout);
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let patience = tokio::select! {
            biased;
            ended = connection.as_mut() => return note(ended),
            _ = stopped.changed() => self.limits.shutdown_timeout,
            () = activity.overstays(self.limits.head_timeout, self.limits.idle_timeout) => LEAVE,
        };
        connection.as_mut().graceful_shutdown();
        match timeout(patience, connection).await {
            Ok(ended) => note(ended),
            Err(_elapsed) => debug!("a connection was cut off"),
        }
    }
}

fn note<E: std::fmt::Display>(ended: Result<(), E>) {
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}
