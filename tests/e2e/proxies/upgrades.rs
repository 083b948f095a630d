//! Upgrades: WebSocket passes once its request is checked, and HTTP/2 never does.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::kind::Kind;
use super::proxy::Proxy;
use super::site::Sites;
use super::wire;
use crate::support::{id, secret};

/// The handshake of RFC 6455 section 1.3.
const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

fn assert_echoes(kind: Kind, socket: &mut TcpStream, text: &[u8]) {
    socket.write_all(text).unwrap();
    let mut echo = vec![0; text.len()];
    socket.read_exact(&mut echo).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    assert_eq!(echo, text, "{kind:?}");
}

fn open(proxy: &Proxy, key: &str) -> TcpStream {
    let headers = [&HANDSHAKE[..], &[("X-API-Key", key)]].concat();
    let (socket, response) = wire::begin(proxy.address, "GET /any", &headers, b"");
    assert_eq!(response.status(), 101, "{:?}: {response:?}", proxy.kind);
    socket
}

#[tokio::test]
async fn proxy_passes_websocket_with_identity() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        let mut socket = open(&site, secret(&key));
        for text in [&b"hello"[..], &[0x81; 20_000]] {
            assert_echoes(kind, &mut socket, text);
        }
        let seen = site.seen().pop().unwrap();
        assert_eq!(seen.all("X-Auth-Key-Id"), [id(&key)], "{kind:?}: {seen:?}");
        assert!(seen.all("X-API-Key").is_empty(), "{kind:?}: {seen:?}");
        // The key was checked when the socket was opened.
        assert_eq!(site.mintkey.revoke(id(&key), &site.alice, serde_json::json!({})).await.status, 200);
        assert_echoes(kind, &mut socket, b"still open");
    }
}

#[tokio::test]
async fn proxy_refuses_websocket_without_key_or_scope() {
    for site in Sites::open().each() {
        let key = site.create_key(&[]).await;
        assert_eq!(site.assert_refused("/any", &HANDSHAKE).status(), 401, "{:?}", site.kind);
        let headers = [&HANDSHAKE[..], &[("X-API-Key", secret(&key))]].concat();
        assert_eq!(site.assert_refused("/admin", &headers).status(), 403, "{:?}", site.kind);
    }
}

/// Through a connection that was upgraded to HTTP/2, a client could send requests that no proxy checks.
#[tokio::test]
async fn proxy_never_passes_an_upgrade_to_http2() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c", "websocket,h2c", "x, h2c"] {
            let connection = ("Connection", "Upgrade, HTTP2-Settings");
            let settings = ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA");
            let headers = [connection, ("Upgrade", upgrade), settings, ("X-API-Key", secret(&key))];
            assert_no_http2(kind, &site.get("/any", &headers), upgrade);
            for [first, second] in [["websocket", upgrade], [upgrade, "websocket"]] {
                let twice =
                    [connection, ("Upgrade", first), ("Upgrade", second), settings, ("X-API-Key", secret(&key))];
                assert_no_http2(kind, &site.get("/any", &twice), upgrade);
            }
        }
        for upgrade in ["other", "TLS/1.0", "websocke", "websockets"] {
            let headers = [("Connection", "Upgrade"), ("Upgrade", upgrade), ("X-API-Key", secret(&key))];
            let (response, seen) = site.get("/any", &headers);
            assert!(seen.iter().all(|seen| seen.all("Upgrade").is_empty()), "{kind:?}: {upgrade}: {seen:?}");
            assert_ne!(response.status(), 101, "{kind:?}: {upgrade}");
        }
    }
}

/// Through a tunnel, a client could send requests that no proxy checks.
#[tokio::test]
async fn proxy_opens_no_tunnel_for_a_valid_key() {
    for site in Sites::open().each() {
        let bearer = site.bearer().await;
        for target in ["CONNECT 127.0.0.1:80", "CONNECT /", "CONNECT x:1"] {
            let (response, seen) = site.send(target, &[("Authorization", &bearer)], b"");
            assert!(seen.is_empty(), "{:?}: {target}: {seen:?}", site.kind);
            // Caddy responds with 200 itself for a host that it does not serve.
            let is_unknown_host = matches!(site.kind, Kind::Caddy(_)) && target.ends_with("x:1");
            assert!(response.status() >= 400 || is_unknown_host, "{:?}: {target}: {response:?}", site.kind);
        }
    }
}

fn assert_no_http2(kind: Kind, (response, seen): &(wire::Message, Vec<wire::Message>), upgrade: &str) {
    let passed = seen.iter().flat_map(|seen| seen.all("Upgrade")).any(|value| value.to_lowercase().contains("h2c"));
    assert!(!passed, "{kind:?}: {upgrade}: {seen:?}");
    assert!([101, 200, 400, 403, 404].contains(&response.status()), "{kind:?}: {upgrade}: {response:?}");
}
