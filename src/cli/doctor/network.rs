//! Addresses: those to listen on, and that of the collector.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

use poem::http::Uri;

use super::Opinion;
use crate::config::ServeSettings;

const PATIENCE: Duration = Duration::from_secs(2);

pub fn listen(serve: &ServeSettings) -> Opinion {
    let api = ("--listen (MINTKEY_LISTEN)", Some(serve.listen));
    let admin = ("--admin-listen (MINTKEY_ADMIN_LISTEN)", serve.admin_listen);
    if serve.admin_listen.is_some_and(|admin| admin == serve.listen && admin.port() != 0) {
        return Err(format!("{} and {} are the same address; give them two ports", api.0, admin.0));
    }
    let mut runs = false;
    for (setting, address) in [api, admin] {
        let Some(address) = address else { continue };
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_mintkey(address) => runs = true,
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

fn is_mintkey(address: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains(r#""status":"live""#))
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
