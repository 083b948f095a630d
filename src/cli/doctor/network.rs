//! Addresses: those to listen on, and that of the collector.

use std::env;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use poem::http::Uri;
use reqwest::Client;

use crate::cli::doctor::Opinion;
use crate::config::ServeSettings;

const PATIENCE: Duration = Duration::from_secs(2);

pub async fn listen(serve: &ServeSettings) -> Opinion {
    let api = ("--listen (MINTKEY_LISTEN)", Some(serve.listen), serve.tls_cert.is_some());
    let admin = ("--admin-listen (MINTKEY_ADMIN_LISTEN)", serve.admin_listen, false);
    if serve.admin_listen.is_some_and(|admin| admin == serve.listen && admin.port() != 0) {
        return Err(format!("{} and {} are the same address; give them two ports", api.0, admin.0));
    }
    let mut runs = false;
    for (setting, address, tls) in [api, admin] {
        let Some(address) = address else { continue };
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_mintkey(address, tls).await => runs = true,
            Err(error) => return Err(format!("{setting}: {address}: {}", cure(&error))),
        }
    }
    Ok(if runs { "a mintkey is running there" } else { "nobody else is there" }.into())
}

fn cure(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "another program listens there; stop it, or give another port".into(),
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; give one that `ip address` shows, or 0.0.0.0 for all".into()
        }
        ErrorKind::PermissionDenied => "this user may not take that port; give one above 1023".into(),
        _ => format!("{error}; give an address and port that are free"),
    }
}

/// Whatever certificate it shows: nothing is told to it.
async fn is_mintkey(address: SocketAddr, tls: bool) -> bool {
    let ask = async {
        let client = Client::builder().tls_danger_accept_invalid_certs(true).timeout(PATIENCE).build()?;
        let scheme = if tls { "https" } else { "http" };
        client.get(format!("{scheme}://{address}/livez")).send().await?.text().await
    };
    ask.await.is_ok_and(|answer| answer.contains(r#""status":"live""#))
}

pub fn collector() -> Opinion {
    const SETTING: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Ok(url) = env::var(SETTING) else { return Ok("they are off".into()) };
    let no_url = || format!("{SETTING} is not a URL such as http://127.0.0.1:4318; give one");
    let uri: Uri = url.parse().map_err(|_| no_url())?;
    let port = uri.port_u16().or(match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    let (Some(host), Some(port)) = (uri.host(), port) else { return Err(no_url()) };
    let addresses = (host, port).to_socket_addrs().into_iter().flatten();
    match addresses.map(|address| TcpStream::connect_timeout(&address, PATIENCE)).find(Result::is_ok) {
        Some(_) => Ok(format!("the collector at {host}:{port} takes connections")),
        None => Err(format!(
            "no collector takes connections at {host}:{port}; start it, or mend {SETTING} (requests are served all the \
             same, their spans are lost)"
        )),
    }
}
