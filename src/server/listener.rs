//! Listener: from a socket to requests. poem's own server keeps silent and dripping connections open without end, and at
//! the limit of file descriptors spins; so the loop is ours, over hyper.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::Limits;
use crate::api::metrics::Metrics;

/// For the first byte, and for a whole request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failure to accept, such as running out of file descriptors, which only time can cure.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub async fn serve<E>(
    listener: TcpListener,
    endpoint: E,
    limits: &Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let endpoint = Arc::new(endpoint);
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
    let http = Arc::new(http);
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
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (http, endpoint, watcher) = (http.clone(), endpoint.clone(), graceful.watcher());
        let open = metrics.connection();
        tokio::spawn(async move {
            let _place = (place, open);
            if !speaks_in_time(&stream).await {
                return;
            }
            let local = LocalAddr(stream.local_addr().map(Addr::SocketAddr).unwrap_or(Addr::SocketAddr(remote)));
            let remote = RemoteAddr(Addr::SocketAddr(remote));
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let request = poem::Request::from((request, local.clone(), remote.clone(), Scheme::HTTP));
                let endpoint = endpoint.clone();
                async move { endpoint.call(request).await.map(hyper::Response::from) }
            });
            let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.shutdown_timeout, graceful.shutdown()).await.is_err() {
        warn!("requests in flight took too long and were cut off");
    }
}

async fn speaks_in_time(stream: &TcpStream) -> bool {
    let _ = stream.set_nodelay(true);
    matches!(tokio::time::timeout(HEAD_TIMEOUT, stream.readable()).await, Ok(Ok(())))
}
