//! Outages: mintkey does not answer, or not with a verdict. Nothing gets through then, and what is good does afterwards.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::site::{Kind, Site};
use super::{IDENTITY, KINDS};
use crate::support::{run, secret};

fn is_5xx(site: &Site, headers: &[(&str, &str)]) {
    for target in ["/any", "/admin"] {
        let answer = site.is_refused(target, headers);
        assert!(answer.status() >= 500, "{:?}: {answer:?}", site.kind);
    }
}

#[tokio::test]
async fn while_mintkey_is_down_it_is_5xx() {
    for kind in KINDS {
        let mut site = Site::start(kind);
        let bearer = site.bearer().await;
        site.passes("/any", &[("Authorization", &bearer)]);
        site.mintkey.kill();
        is_5xx(&site, &[("Authorization", &bearer)]);
        let answer = site.is_refused("/any", &[]);
        assert!(answer.status() >= 500, "{kind:?}: {answer:?}");
    }
}

#[tokio::test]
async fn while_mintkey_hangs_it_is_5xx_within_seconds() {
    let hang = |kind| async move {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        site.passes("/any", &[("Authorization", &bearer)]);
        let pid = site.mintkey.pid().to_string();
        let signal = |name: &str| assert!(run(Command::new("kill").args([name, &pid])).status.success());
        signal("-STOP");
        wait_until_stopped(&pid);
        let started = Instant::now();
        let answer = site.is_refused("/any", &[("Authorization", &bearer)]);
        assert!(answer.status() >= 500, "{kind:?}: {answer:?}");
        assert!(started.elapsed() < Duration::from_secs(15), "{kind:?}: {:?}", started.elapsed());
        signal("-CONT");
        site.passes("/any", &[("Authorization", &bearer)]);
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for waiting in KINDS.map(|kind| std::thread::spawn(move || runtime().block_on(hang(kind)))) {
        waiting.join().unwrap();
    }
}

/// A signal stops the threads of a process one after the other.
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
async fn while_the_store_cannot_be_read_it_is_5xx() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&["example:admin"]).await;
        site.mintkey.execute("ALTER TABLE secret_last_used RENAME TO away").await;
        assert!(site.mintkey.get("/api/auth/forward", secret(&key)).await.status.is_server_error());
        is_5xx(&site, &[("X-API-Key", secret(&key))]);
        site.mintkey.execute("ALTER TABLE away RENAME TO secret_last_used").await;
        site.passes("/any", &[("X-API-Key", secret(&key))]);
        site.passes("/admin", &[("X-API-Key", secret(&key))]);
    }
}

#[tokio::test]
async fn while_the_database_file_is_away_a_key_that_is_not_remembered_is_5xx() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&["example:admin"]).await;
        let (here, away) = (site.mintkey.data.join("mintkey.db"), site.mintkey.data.join("away.db"));
        fs::rename(&here, &away).unwrap();
        is_5xx(&site, &[("X-API-Key", secret(&key))]);
        fs::rename(&away, &here).unwrap();
        site.passes("/any", &[("X-API-Key", secret(&key))]);
    }
}

/// Whatever may stand where mintkey should: itself in trouble, another service, a captive portal.
#[test]
fn an_answer_that_is_no_verdict_lets_nothing_through() {
    for kind in KINDS {
        let (site, asked) = Site::asking_a_stranger(kind);
        for (answer, least) in [
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
            asked.answer_with(answer);
            for target in ["/any", "/admin"] {
                let (seen_by_client, seen) = site.get(target, &[("Authorization", "Bearer any")]);
                assert!(seen.is_empty(), "{kind:?}: {answer:?} let {target} through");
                assert!(seen_by_client.status() >= least, "{kind:?}: {answer:?}: {seen_by_client:?}");
            }
        }
    }
}

#[test]
fn a_yes_that_does_not_say_whose_key_it_was_is_not_completed_by_the_client() {
    for kind in KINDS {
        let (site, asked) = Site::asking_a_stranger(kind);
        asked.answer_with("HTTP/1.1 200 OK\r\nX-Auth-Subject: alice\r\nContent-Length: 0\r\n\r\n");
        for name in IDENTITY {
            let (answer, seen) = site.get("/any", &[("X-API-Key", "any"), (name, "mallory")]);
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
            // The script in HAProxy stops half-way.
            let expected = if kind == Kind::HaProxy { (503, 0) } else { (200, 1) };
            assert_eq!((answer.status(), seen.len()), expected, "{kind:?}: {answer:?}");
        }
    }
}
