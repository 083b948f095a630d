//! Outages: the proxy gets no verdict from mintkey. Every request is refused then, and valid keys pass again later.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::site::{Kind, Site};
use super::{IDENTITY, KINDS};
use crate::support::{run, secret};

fn assert_5xx(site: &Site, headers: &[(&str, &str)]) {
    for target in ["/any", "/admin"] {
        let response = site.assert_refused(target, headers);
        assert!(response.status() >= 500, "{:?}: {response:?}", site.kind);
    }
}

#[tokio::test]
async fn proxy_is_5xx_while_mintkey_is_down() {
    for kind in KINDS {
        let mut site = Site::start(kind);
        let bearer = site.bearer().await;
        site.assert_passes("/any", &[("Authorization", &bearer)]);
        site.mintkey.kill();
        assert_5xx(&site, &[("Authorization", &bearer)]);
        let response = site.assert_refused("/any", &[]);
        assert!(response.status() >= 500, "{kind:?}: {response:?}");
    }
}

#[tokio::test]
async fn proxy_is_5xx_within_seconds_while_mintkey_hangs() {
    let hang = |kind| async move {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        site.assert_passes("/any", &[("Authorization", &bearer)]);
        let pid = site.mintkey.pid().to_string();
        let signal = |name: &str| assert!(run(Command::new("kill").args([name, &pid])).status.success());
        signal("-STOP");
        wait_until_stopped(&pid);
        let started = Instant::now();
        let response = site.assert_refused("/any", &[("Authorization", &bearer)]);
        assert!(response.status() >= 500, "{kind:?}: {response:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{kind:?}: {:?}", started.elapsed());
        signal("-CONT");
        site.assert_passes("/any", &[("Authorization", &bearer)]);
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for waiting in KINDS.map(|kind| std::thread::spawn(move || runtime().block_on(hang(kind)))) {
        waiting.join().unwrap();
    }
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

#[tokio::test]
async fn proxy_is_5xx_while_database_is_unreadable() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&["example:admin"]).await;
        site.mintkey.execute("ALTER TABLE secret_last_used RENAME TO away").await;
        assert!(site.mintkey.get("/api/auth/forward", secret(&key)).await.status.is_server_error());
        assert_5xx(&site, &[("X-API-Key", secret(&key))]);
        site.mintkey.execute("ALTER TABLE away RENAME TO secret_last_used").await;
        site.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        site.assert_passes("/admin", &[("X-API-Key", secret(&key))]);
    }
}

#[tokio::test]
async fn proxy_is_5xx_for_uncached_key_without_database_file() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&["example:admin"]).await;
        let (here, away) = (site.mintkey.data.join("mintkey.db"), site.mintkey.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        assert_5xx(&site, &[("X-API-Key", secret(&key))]);
        fs::rename(&away, &here).unwrap();
        site.assert_passes("/any", &[("X-API-Key", secret(&key))]);
    }
}

/// Responses of mintkey in an outage, of another service, or of a captive portal.
#[test]
fn proxy_refuses_every_response_that_is_no_verdict() {
    for kind in KINDS {
        let (site, auth_server) = Site::with_fake_auth_server(kind);
        for (response, min_status) in [
            ("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 500),
            ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 500),
            ("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", 500),
            ("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 400),
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
                let (received, seen) = site.get(target, &[("Authorization", "Bearer any")]);
                assert!(seen.is_empty(), "{kind:?}: {response:?} let {target} through");
                assert!(received.status() >= min_status, "{kind:?}: {response:?}: {received:?}");
            }
        }
    }
}

#[test]
fn proxy_never_takes_missing_identity_from_client() {
    for kind in KINDS {
        let (site, auth_server) = Site::with_fake_auth_server(kind);
        auth_server.respond_with("HTTP/1.1 200 OK\r\nX-Auth-Subject: alice\r\nContent-Length: 0\r\n\r\n");
        for name in IDENTITY {
            let (response, seen) = site.get("/any", &[("X-API-Key", "any"), (name, "mallory")]);
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
            // The script in HAProxy fails on a missing header.
            let expected = if kind == Kind::HaProxy { (503, 0) } else { (200, 1) };
            assert_eq!((response.status(), seen.len()), expected, "{kind:?}: {response:?}");
        }
    }
}
