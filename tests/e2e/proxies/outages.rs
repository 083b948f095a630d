//! Outages: the proxy gets no verdict from mintkey. Every request is refused then, and valid keys pass again later.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::IDENTITY;
use super::kind::{KINDS, Kind};
use super::proxy::Proxy;
use super::site::{Site, Sites, address_of, with_fake_auth_server};
use crate::support::{Server, run, secret};

/// The status while mintkey does not respond.
fn unavailable(kind: Kind) -> u16 {
    if kind == Kind::Traefik { 502 } else { 503 }
}

fn assert_unavailable(proxy: &Proxy, headers: &[(&str, &str)]) {
    for target in ["/any", "/admin"] {
        let response = proxy.assert_refused(target, headers);
        assert_eq!(response.status(), unavailable(proxy.kind), "{:?}: {response:?}", proxy.kind);
    }
}

/// Runs a check of each proxy at the same time as the others.
fn concurrently(check: impl AsyncFn(Kind) + Send + Clone + 'static) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let threads = KINDS.map(|kind| {
        let check = check.clone();
        std::thread::spawn(move || runtime().block_on(check(kind)))
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn proxy_is_unavailable_while_mintkey_is_down() {
    concurrently(async |kind| {
        let mut site = Site::start(kind);
        let bearer = site.bearer().await;
        site.assert_passes("/any", &[("Authorization", &bearer)]);
        site.mintkey.kill();
        assert_unavailable(&site, &[("Authorization", &bearer)]);
        let response = site.assert_refused("/any", &[]);
        assert_eq!(response.status(), unavailable(kind), "{kind:?}: {response:?}");
    });
}

#[test]
fn proxy_is_unavailable_within_seconds_while_mintkey_hangs() {
    concurrently(async |kind| {
        let mintkey = Server::start();
        let proxy = Proxy::start(kind, address_of(&mintkey));
        let key = mintkey.create_key(&mintkey.token("alice"), &[]).await;
        proxy.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        let pid = mintkey.pid().to_string();
        let signal = |name: &str| assert!(run(Command::new("kill").args([name, &pid])).status.success());
        signal("-STOP");
        wait_until_stopped(&pid);
        let started = Instant::now();
        let response = proxy.assert_refused("/any", &[("X-API-Key", secret(&key))]);
        assert_eq!(response.status(), if kind == Kind::Traefik { 504 } else { 503 }, "{kind:?}: {response:?}");
        // 3 to 4.4 s if the machine is not busy.
        assert!(started.elapsed() < Duration::from_secs(20), "{kind:?}: {:?}", started.elapsed());
        signal("-CONT");
        proxy.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        assert_eq!(proxy.assert_refused("/any", &[]).status(), 401, "{kind:?}");
        assert_eq!(proxy.assert_refused("/admin", &[("X-API-Key", secret(&key))]).status(), 403, "{kind:?}");
    });
}

/// Waits until all threads are stopped, because a signal stops them one after another.
fn wait_until_stopped(pid: &str) {
    let is_stopped = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| is_stopped(task.unwrap())) {
        assert!(Instant::now() < deadline, "mintkey does not stop");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// mintkey's own 503 reaches the client.
#[tokio::test]
async fn proxy_is_503_while_database_is_unreadable() {
    for site in Sites::open().each() {
        let key = site.create_key(&["example:admin"]).await;
        site.mintkey.execute("ALTER TABLE secret_last_used RENAME TO away").await;
        let direct = site.mintkey.get("/api/auth/forward", secret(&key)).await.status.as_u16();
        assert!(direct >= 500, "{direct}");
        for target in ["/any", "/admin"] {
            let response = site.assert_refused(target, &[("X-API-Key", secret(&key))]);
            assert!([503, direct].contains(&response.status()), "{:?}: {response:?}", site.kind);
        }
        site.mintkey.execute("ALTER TABLE away RENAME TO secret_last_used").await;
        site.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        site.assert_passes("/admin", &[("X-API-Key", secret(&key))]);
    }
}

#[tokio::test]
async fn proxy_without_upstream_is_502_or_503() {
    let mintkey = Server::start();
    let key = mintkey.create_key(&mintkey.token("alice"), &[]).await;
    for kind in KINDS {
        let proxy = Proxy::start_without_upstream(kind, address_of(&mintkey));
        let response = proxy.assert_refused("/any", &[("X-API-Key", secret(&key))]);
        let expected = if matches!(kind, Kind::HaProxy | Kind::Envoy) { 503 } else { 502 };
        assert_eq!(response.status(), expected, "{kind:?}: {response:?}");
        assert_eq!(proxy.assert_refused("/any", &[]).status(), 401, "{kind:?}");
    }
}

/// Responses of mintkey in an outage, of another service, or of a captive portal.
#[test]
fn proxy_refuses_every_response_that_is_no_verdict() {
    for kind in KINDS {
        let (proxy, auth_server) = with_fake_auth_server(kind);
        for (response, min_status) in [
            ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 500),
            ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 500),
            ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", 500),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 400),
            ("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 400),
            ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 300),
            ("HTTP/1.1 304 Not Modified\r\n\r\n", 300),
            ("HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", 400),
            ("HTTP/1.1 200", 400),
            ("\0\0\0\0", 400),
            ("", 400),
        ] {
            auth_server.respond_with(response);
            for target in ["/any", "/admin"] {
                let (received, seen) = proxy.get(target, &[("Authorization", "Bearer any")]);
                assert!(seen.is_empty(), "{kind:?}: {response:?} let {target} through");
                assert!(received.status() >= min_status, "{kind:?}: {response:?}: {received:?}");
            }
        }
    }
}

#[test]
fn proxy_hands_on_delays_of_mintkey() {
    for kind in KINDS {
        let (proxy, auth_server) = with_fake_auth_server(kind);
        for (response, status) in [
            ("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429),
            ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 503),
        ] {
            auth_server.respond_with(response);
            for target in ["/any", "/admin"] {
                let received = proxy.assert_refused(target, &[("X-API-Key", "any")]);
                assert_eq!(received.status(), status, "{kind:?}: {received:?}");
                // Envoy drops this header from a 5xx.
                let expected = if kind == Kind::Envoy && status == 503 { vec![] } else { vec!["7"] };
                assert_eq!(received.all("Retry-After"), expected, "{kind:?}: {received:?}");
            }
        }
    }
}

#[test]
fn proxy_never_takes_missing_identity_from_client() {
    for kind in KINDS {
        let (proxy, auth_server) = with_fake_auth_server(kind);
        auth_server.respond_with("HTTP/1.1 200 OK\r\nX-Auth-Subject: alice\r\nContent-Length: 0\r\n\r\n");
        for name in IDENTITY {
            let (response, seen) = proxy.get("/any", &[("X-API-Key", "any"), (name, "mallory")]);
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
            // The script in HAProxy fails on a missing header.
            let expected = if kind == Kind::HaProxy { (503, 0) } else { (200, 1) };
            assert_eq!((response.status(), seen.len()), expected, "{kind:?}: {response:?}");
        }
    }
}
