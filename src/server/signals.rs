//! Signals: SIGTERM and SIGINT stop the server, SIGHUP reloads its certificate.

use std::io;
use std::process;
use std::sync::atomic::Ordering;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::api::health::Draining;
use crate::telemetry;

/// The signals that stop the server.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal and has /readyz report the shutdown from then on. A second one ends the process at once.
    pub async fn drain(mut self, draining: Draining) {
        let signal = self.recv().await;
        info!("received {signal}; draining");
        draining.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            let signal = self.recv().await;
            warn!("received {signal} while draining; dropped in-flight requests and usage counts");
            telemetry::flush_logs();
            process::exit(1);
        });
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP. By default it would end the process without finishing its requests.
pub fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Logs each SIGHUP of a server without a certificate.
pub async fn ignore_hangups(mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        info!("received SIGHUP; there is no TLS certificate to reload");
    }
}
