//! Forward auth with nginx, Caddy, HAProxy, Traefik and Envoy, with the configurations in `packaging/proxies`.

mod browsers;
mod http2;
mod kind;
mod outages;
mod paths;
mod proxy;
mod site;
mod spoofing;
mod tls;
mod upgrades;
mod wire;

use std::sync::atomic::Ordering;

use kind::KINDS;
use proxy::{Counter, Proxy};
use serde_json::{Value, json};
use site::{Sites, address_of, with_fake_auth_server};

use crate::support::{Server, id, secret};

const IDENTITY: [&str; 5] = ["X-Auth-Key-Id", "X-Auth-Subject", "X-Auth-Issuer", "X-Auth-Org", "X-Auth-Scopes"];

#[tokio::test]
async fn proxy_passes_valid_key_with_identity_headers() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&["projects:read", "projects:write"]).await;
        let bobs = site.mintkey.create_key(&site.mintkey.token("bob"), &[]).await;
        let bearer = format!("Bearer {}", secret(&key));
        let issuer = "urn:mintkey:standalone";
        let alice = [id(&key), "alice", issuer, "acme", "projects:read projects:write"];
        let bob = [id(&bobs), "bob", issuer, "", ""];
        for (credential, expected) in [
            (("Authorization", &*bearer), alice),
            (("authorization", &bearer.replace("Bearer", "bearer")), alice),
            (("X-API-Key", secret(&key)), alice),
            (("x-api-key", secret(&bobs)), bob),
        ] {
            let seen = site.assert_passes("/any", &[credential]);
            for (name, value) in IDENTITY.into_iter().zip(expected) {
                let received = seen.all_as_in_cgi(name);
                // nginx and Caddy 2.11 omit empty headers.
                let expected = if received.is_empty() && value.is_empty() { vec![] } else { vec![value] };
                assert_eq!(received, expected, "{kind:?}: {name} of {credential:?}: {seen:?}");
                assert_eq!(seen.all(name), expected, "{kind:?}: {name} of {credential:?}: {seen:?}");
            }
            // The upstream has no use for the key.
            assert!(seen.all("Authorization").is_empty() && seen.all("X-API-Key").is_empty(), "{kind:?}: {seen:?}");
            assert!(!format!("{seen:?}").contains(secret(&key)), "{kind:?}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn proxy_passes_special_characters_of_subject_as_text() {
    let subject = r#"{env.HOME} $host %[src] ${HOME} "é", x"#;
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.mintkey.create_key(&site.mintkey.token(subject), &[]).await;
        let seen = site.assert_passes("/", &[("X-API-Key", secret(&key))]);
        let expected = r#"{env.HOME}%20$host%20%25[src]%20${HOME}%20"%C3%A9",%20x"#;
        assert_eq!(seen.all("X-Auth-Subject"), [expected], "{kind:?}");
    }
}

#[tokio::test]
async fn proxy_without_valid_key_is_401_with_challenge() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        let unknown = unknown_secret_like(&key);
        let bearers =
            [&unknown, "garbled", "mk_short", ""].map(|credential| ("Authorization", format!("Bearer {credential}")));
        let plain = [&unknown, "garbled", ""].map(|credential| ("X-API-Key", credential.to_owned()));
        let basic = [("Authorization", "Basic YWxpY2U6eA==".to_owned()), ("Authorization", secret(&key).to_owned())];
        let cookie = [("Cookie", format!("Authorization={0}; key={0}", secret(&key)))];
        for (name, value) in bearers.into_iter().chain(plain).chain(basic).chain(cookie) {
            let response = site.assert_refused("/any", &[(name, &value)]);
            assert_eq!(response.status(), 401, "{kind:?}: {name}: {value}");
            let direct = site.mintkey.request(reqwest::Method::GET, "/api/auth/forward", "").header(name, &value);
            let direct = direct.send().await.unwrap();
            assert_eq!(
                response.all("WWW-Authenticate"),
                [direct.headers()["www-authenticate"].to_str().unwrap()],
                "{kind:?}: {name}: {value}"
            );
        }
        let response = site.assert_refused("/any", &[]);
        assert_eq!((response.status(), response.all("WWW-Authenticate")), (401, vec!["Bearer"]), "{kind:?}");
        let in_query = format!("/any?key={0}&api_key={0}&access_token={0}", secret(&key));
        assert_eq!(site.assert_refused(&in_query, &[]).status(), 401, "{kind:?}");
    }
}

/// A well-formed secret with a valid checksum that belongs to no key.
fn unknown_secret_like(key: &Value) -> String {
    let (body, _) = secret(key).split_at(secret(key).len() - 6);
    let (head, last) = body.split_at(body.len() - 1);
    let body = format!("{head}{}", if last == "0" { "1" } else { "0" });
    format!("{body}{}", base62(crc32fast::hash(body.as_bytes())))
}

/// The six base62 digits of a checksum.
fn base62(mut number: u32) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = [b'0'; 6];
    for place in text.iter_mut().rev() {
        *place = digits[number as usize % digits.len()];
        number /= 62;
    }
    String::from_utf8(text.to_vec()).unwrap()
}

#[tokio::test]
async fn proxy_refuses_revoked_key_at_next_request() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        let bearer = format!("Bearer {}", secret(&key));
        for _ in 0..3 {
            site.assert_passes("/any", &[("Authorization", &bearer)]);
        }
        assert_eq!(site.mintkey.revoke(id(&key), &site.alice, json!({})).await.status, 200);
        assert_eq!(site.assert_refused("/any", &[("Authorization", &bearer)]).status(), 401, "{kind:?}");
        assert_eq!(site.assert_refused("/any", &[("X-API-Key", secret(&key))]).status(), 401, "{kind:?}");
    }
}

#[tokio::test]
async fn proxy_refuses_two_credentials() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        let (valid, bearer) = (secret(&key), format!("Bearer {}", secret(&key)));
        for headers in [
            [("Authorization", &*bearer), ("Authorization", &*bearer)],
            [("Authorization", &*bearer), ("Authorization", "Bearer garbled")],
            [("Authorization", "Basic YWxpY2U6eA=="), ("authorization", &*bearer)],
            [("Authorization", &*bearer), ("X-API-Key", valid)],
            [("X-API-Key", valid), ("Authorization", "Bearer garbled")],
            [("X-API-Key", valid), ("Authorization", "Basic YWxpY2U6eA==")],
            [("X-API-Key", valid), ("x-api-key", valid)],
            [("X-API-Key", "garbled"), ("X-API-Key", valid)],
        ] {
            let response = site.assert_refused("/any", &headers);
            assert!([400, 401, 500, 503].contains(&response.status()), "{kind:?}: {headers:?}: {response:?}");
        }
        let together = format!("{bearer}, {bearer}");
        site.assert_refused("/any", &[("Authorization", &together)]);
    }
}

/// The most and the longest scopes that a key can have.
#[tokio::test]
async fn proxy_passes_hundred_scopes_of_hundred_characters() {
    let scopes: Vec<_> = (0..100).map(|number| format!("{number:0>100}")).collect();
    for site in Sites::open().each() {
        let key = site.mintkey.create_key_from(&site.alice, json!({ "name": "a client", "scopes": scopes })).await;
        let seen = site.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        assert_eq!(seen.all("X-Auth-Scopes"), [scopes.join(" ")], "{:?}", site.kind);
    }
}

#[tokio::test]
async fn proxy_passes_or_refuses_large_headers() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let bearer = site.bearer().await;
        let text = "x".repeat(7_000);
        let seen = site.assert_passes("/any", &[("Authorization", &bearer), ("X-Text", &text), ("Cookie", &text)]);
        assert_eq!((seen.all("X-Text"), seen.all("Cookie")), (vec![&*text], vec![&*text]), "{kind:?}");
        let texts: Vec<_> = (0..8).map(|number| format!("X-Text-{number}")).collect();
        let mut headers: Vec<_> = texts.iter().map(|name| (&**name, &*text)).collect();
        headers.push(("Authorization", &bearer));
        let (response, seen) = site.get("/any", &headers);
        // Never 401: the key is valid.
        assert!([200, 400, 431, 503].contains(&response.status()), "{kind:?}: {response:?}");
        assert_eq!(seen.len(), usize::from(response.status() == 200), "{kind:?}");
    }
}

#[tokio::test]
async fn proxy_reuses_connections_to_mintkey() {
    let mintkey = Server::start();
    let key = mintkey.create_key(&mintkey.token("alice"), &[]).await;
    for kind in KINDS {
        let counter = Counter::in_front_of(address_of(&mintkey).to_owned());
        let proxy = Proxy::start(kind, &counter.address.to_string());
        for _ in 0..10 {
            proxy.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        }
        let connections = counter.connections.load(Ordering::Relaxed);
        assert!(connections <= 3, "{kind:?}: {connections} connections");
    }
}

#[test]
fn proxy_tells_mintkey_address_of_client() {
    for kind in KINDS {
        let (proxy, auth_server) = with_fake_auth_server(kind);
        proxy.get("/any", &[("X-API-Key", "any"), ("X-Forwarded-For", "192.0.2.1")]);
        let received = auth_server.received.lock().unwrap().take().unwrap();
        let addresses = received.all("X-Forwarded-For").join(",");
        let last = addresses.rsplit(',').next().unwrap().trim();
        // For a client on its own machine, Envoy gives an address of that machine.
        let expected =
            if kind == kind::Kind::Envoy { !last.is_empty() && last != "192.0.2.1" } else { last == "127.0.0.1" };
        assert!(expected, "{kind:?}: {addresses}");
        // mintkey needs none of the rest.
        assert_eq!((received.all("Cookie"), &*received.body), (vec![], &b""[..]), "{kind:?}: {received:?}");
    }
}

#[tokio::test]
async fn proxy_passes_methods_and_bodies_unchanged() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let bearer = site.bearer().await;
        for (method, size) in [("POST", 10_000), ("PUT", 10_000), ("PATCH", 1), ("DELETE", 0), ("POST", 300_000)] {
            let body = json!({ "text": "x".repeat(size) }).to_string();
            let length = body.len().to_string();
            let chunked = format!("{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 3, &body[..3], body.len() - 3, &body[3..]);
            for (framing, sent) in [(("Content-Length", &*length), &body), (("Transfer-Encoding", "chunked"), &chunked)]
            {
                let line = format!("{method} /things?a=b");
                let headers = [("Authorization", &*bearer), ("Content-Type", "application/json"), framing];
                let (response, seen) = site.send(&line, &headers, sent.as_bytes());
                assert_eq!((response.status(), seen.len()), (200, 1), "{kind:?}: {line} {framing:?}: {response:?}");
                assert!(seen[0].first_line.starts_with(&format!("{line} HTTP/")), "{kind:?}: {}", seen[0].first_line);
                assert_eq!(seen[0].all("Content-Type"), ["application/json"], "{kind:?}");
                assert!(seen[0].body == body.as_bytes(), "{kind:?}: {line} {framing:?}: another body");
            }
            let (response, seen) = site.send(&format!("{method} /"), &[("Content-Length", &length)], body.as_bytes());
            assert_eq!((response.status(), seen.len()), (401, 0), "{kind:?}: {method} without a key");
        }
    }
}
