//! Checks of addresses: those to listen on, and the trace collector's.

use std::env;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use poem::http::Uri;
use reqwest::Client;

use crate::cli::doctor::CheckResult;
use crate::cli::doctor::remedy::{Context, remedy};
use crate::config::{ServeSettings, setting_name};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

pub async fn check_addresses(serve: &ServeSettings) -> CheckResult {
    let api = (setting_name("listen"), Some(serve.listen), serve.tls_cert.is_some());
    let admin = (setting_name("admin-listen"), serve.admin_listen, false);
    if serve.admin_listen.is_some_and(|admin| admin == serve.listen && admin.port() != 0) {
        return Err(format!("{} and {} are the same address; set two ports", api.0, admin.0));
    }
    let mut running = false;
    for (setting, address, tls) in [api, admin] {
        let Some(address) = address else { continue };
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_mintkey(address, tls).await => running = true,
            Err(error) => return Err(format!("{setting}: {}", remedy(&error, Context::Listen(address)))),
        }
    }
    Ok(if running { "a mintkey is running there" } else { "free" }.into())
}

/// Says whose addresses the audit and the log name.
pub fn describe_trusted_proxies(serve: &ServeSettings) -> CheckResult {
    let networks: Vec<_> = serve.trusted_proxies.iter().map(ToString::to_string).collect();
    Ok(match networks.as_slice() {
        [] => "none: clients are named by the address that they connect from".to_owned(),
        networks => format!("{}, which name their clients in {}", networks.join(" "), serve.forwarded_header),
    })
}

/// Accepts any certificate: the probe sends nothing secret.
async fn is_mintkey(address: SocketAddr, tls: bool) -> bool {
    let probe = async {
        let client = Client::builder().tls_danger_accept_invalid_certs(true).timeout(PROBE_TIMEOUT).build()?;
        let scheme = if tls { "https" } else { "http" };
        client.get(format!("{scheme}://{address}/livez")).send().await?.text().await
    };
    probe.await.is_ok_and(|body| body.contains(r#""status":"live""#))
}

pub fn check_collector() -> CheckResult {
    const SETTING: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Ok(url) = env::var(SETTING) else { return Ok("off".into()) };
    let no_url = || format!("{SETTING} is not a URL; set one such as http://127.0.0.1:4318");
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    let (Some(host), Some(port)) = (uri.host(), port) else { return Err(no_url()) };
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    match addresses.map(|address| TcpStream::connect_timeout(&address, PROBE_TIMEOUT)).find(Result::is_ok) {
        Some(_) => Ok(format!("the collector at {host}:{port} accepts connections")),
        None => Err(format!(
            "no collector accepts connections at {host}:{port}; start it, or fix {SETTING} (requests are still served, \
             their spans are lost)"
        )),
    }
}
