//! Spoofing: a client sends identity headers itself.

use super::IDENTITY;
use super::kind::{Kind, Release};
use super::proxy::Proxy;
use super::site::{Sites, address_of};
use super::wire::Message;
use crate::support::{Server, id, secret};

/// Positions of the forged headers among the real ones: an upstream may use the first, the last, or both joined.
const PLACES: [&[bool]; 4] = [&[true, false], &[false, true], &[true, false, true], &[true, true, false, true]];

/// What a header name may contain beside letters and digits (`token` in RFC 9110 section 5.6.2). CGI and its successors
/// read each of them as `_`, as they read `-`.
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// The name with another separator: in all places, in the first one, in the last one.
fn spellings(name: &str) -> Vec<String> {
    let (first, last) = (name.find('-').unwrap(), name.rfind('-').unwrap());
    let spell = |separator: char| {
        let separator = separator.to_string();
        let mut one = [name.to_owned(), name.to_lowercase()];
        one[0].replace_range(first..=first, &separator);
        one[1].replace_range(last..=last, &separator);
        [one.to_vec(), vec![name.replace('-', &separator)]].concat()
    };
    SEPARATORS.chars().flat_map(spell).collect()
}

/// Checks that the upstream received the identity of mintkey once, and nothing of the client's.
fn assert_identity(kind: Kind, seen: &Message, identity: [&str; 5]) {
    for (name, value) in IDENTITY.into_iter().zip(identity) {
        assert_eq!(seen.all_as_in_cgi(name), [value], "{kind:?}: {name}: {seen:?}");
    }
    assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
}

#[tokio::test]
async fn proxy_removes_every_spelling_of_identity_headers() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        let key = ("X-API-Key", secret(&key));
        for name in IDENTITY {
            for spelling in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                for place in PLACES {
                    let forged = (&*spelling, "mallory");
                    let headers: Vec<_> = place.iter().map(|forges| if *forges { forged } else { key }).collect();
                    assert_identity(kind, &site.assert_passes("/any", &headers), identity);
                }
            }
            for spelling in spellings(name) {
                let forged = (&*spelling, "mallory");
                if kind == Kind::Envoy && spelling.contains('_') {
                    assert_eq!(site.assert_refused("/any", &[forged, key]).status(), 400, "{spelling}");
                } else {
                    assert_identity(kind, &site.assert_passes("/any", &[forged, key, forged]), identity);
                }
            }
        }
    }
}

/// An upstream may add the headers after a chunked body to those before it.
#[tokio::test]
async fn proxy_drops_identity_headers_after_the_body() {
    let chunked = b"3\r\nabc\r\n0\r\nX-Auth-Subject: mallory\r\nX_Auth_Subject: mallory\r\n\r\n";
    for site in Sites::open().each() {
        let bearer = site.bearer().await;
        let headers = [
            ("Authorization", &*bearer),
            ("Transfer-Encoding", "chunked"),
            ("TE", "trailers"),
            ("Trailer", "X-Auth-Subject, X_Auth_Subject"),
        ];
        let (response, seen) = site.send("POST /any", &headers, chunked);
        assert_eq!((response.status(), &*seen[0].body), (200, &b"abc"[..]), "{:?}: {seen:?}", site.kind);
        assert_eq!(seen[0].all_as_in_cgi("X-Auth-Subject"), ["alice"], "{:?}: {seen:?}", site.kind);
        // HAProxy 2.6 has no rule for them.
        if site.kind != Kind::HaProxy {
            assert!(seen[0].trailers.is_empty(), "{:?}: {seen:?}", site.kind);
        }
    }
}

#[tokio::test]
async fn proxy_keeps_empty_identity_headers_empty() {
    for site in Sites::open().each() {
        let key = site.mintkey.create_key(&site.mintkey.token("bob"), &[]).await;
        for name in ["X-Auth-Org", "X-Auth-Scopes"] {
            for spelling in [name.to_owned(), name.to_lowercase(), name.replace('-', "."), name.replace('-', "~")] {
                let seen = site.assert_passes("/any", &[(&spelling, "mallory"), ("X-API-Key", secret(&key))]);
                assert!(seen.all_as_in_cgi(name).concat().is_empty(), "{:?}: {seen:?}", site.kind);
            }
        }
    }
}

/// What users add to a location, and a location of their own.
#[tokio::test]
async fn proxy_nginx_with_added_lines_removes_identity_headers() {
    let added = |text: String| {
        let pass = "proxy_pass http://127.0.0.1:3000;";
        assert_eq!(text.matches(pass).count(), 2);
        let text = text.replace(pass, &format!("proxy_set_header X-Request-Start \"t=$msec\"; {pass}"));
        text.replace("    location / {", &format!("    location /new {{ {pass} }}\n    location / {{"))
    };
    let mintkey = Server::start();
    let key = mintkey.create_key(&mintkey.token("alice"), &["example:admin"]).await;
    for release in [Release::Debian, Release::Newest] {
        let kind = Kind::Nginx(release);
        let proxy = Proxy::start_edited(kind, address_of(&mintkey), added);
        for target in ["/any", "/admin", "/new"] {
            for name in IDENTITY {
                let seen = proxy.assert_passes(target, &[(name, "mallory"), ("X-API-Key", secret(&key))]);
                assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {target}: {seen:?}");
                assert_eq!(seen.all("X-Auth-Subject"), ["alice"], "{kind:?}: {target}: {seen:?}");
                assert!(seen.all("X-API-Key").is_empty(), "{kind:?}: {target}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn proxy_refuses_or_drops_malformed_header_names() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        let key = ("X-API-Key", secret(&key));
        for name in [
            "X-Auth-Subject ",
            " X-Auth-Subject",
            "X Auth Subject",
            "X-Auth-Subject\t",
            "X-Auth-Subject\0",
            "Z: z\nX-Auth-Subject",
            "Z: z\rX-Auth-Subject",
        ] {
            let (response, seen) = site.get("/any", &[key, (name, "mallory")]);
            assert!([200, 400, 401].contains(&response.status()), "{kind:?}: {name:?}: {response:?}");
            for seen in seen {
                assert!(
                    !seen.all_as_in_cgi("X-Auth-Subject").concat().contains("mallory"),
                    "{kind:?}: {name:?}: {seen:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn proxy_keeps_identity_headers_named_in_connection() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        for name in IDENTITY {
            for connection in [name.to_owned(), name.to_lowercase(), format!("close, {name}"), format!("{name} ,x")] {
                let (response, seen) = site.get("/any", &[("X-API-Key", secret(&key)), ("Connection", &connection)]);
                match kind {
                    Kind::Caddy(_) => assert_eq!((response.status(), seen.len()), (400, 0), "{connection}"),
                    _ => assert_identity(kind, &seen[0], identity),
                }
            }
        }
        let two = [("X-API-Key", secret(&key)), ("Connection", "close"), ("Connection", "X-Auth-Subject")];
        for seen in site.get("/any", &two).1 {
            assert_identity(kind, &seen, identity);
        }
    }
}

#[tokio::test]
async fn proxy_never_passes_an_unchecked_credential() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        for dropped in
            ["Authorization", "authorization", "close, Authorization", "X-API-Key", "authorization, x-api-key"]
        {
            let two = [("X-API-Key", secret(&key)), ("Authorization", "Bearer mallory"), ("Connection", dropped)];
            let (response, seen) = site.get("/any", &two);
            // Some drop the header as the client requested, for mintkey and for the upstream.
            assert!([200, 400, 401].contains(&response.status()), "{kind:?}: {dropped}: {response:?}");
            assert_eq!(seen.len(), usize::from(response.status() == 200), "{kind:?}: {dropped}: {seen:?}");
            assert!(seen.iter().all(|seen| seen.all("X-Auth-Key-Id") == [id(&key)]), "{kind:?}: {dropped}: {seen:?}");
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {dropped}: {seen:?}");
        }
    }
}
