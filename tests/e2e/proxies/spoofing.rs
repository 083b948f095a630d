//! Spoofing: a client sends identity headers itself.

use super::site::{Kind, Site};
use super::wire::Message;
use super::{IDENTITY, KINDS};
use crate::support::{id, secret};

/// Positions of the forged headers among the real ones: an upstream may use the first, the last, or both joined.
const PLACES: [&[bool]; 4] = [&[true, false], &[false, true], &[true, false, true], &[true, true, false, true]];

/// Spellings that some upstream treats as the same name: CGI and its successors do not distinguish `-`, `_` and `.`.
fn spellings(name: &str) -> Vec<String> {
    let mut spellings = vec![name.to_owned(), name.to_lowercase(), name.to_uppercase()];
    let separators = name.matches('-').count();
    for choice in 0..3_usize.pow(separators as u32) {
        let mut choice = choice;
        let mut separator = || {
            let separator = ["-", "_", "."][choice % 3];
            choice /= 3;
            separator
        };
        let spelling: String =
            name.chars().map(|c| if c == '-' { separator().to_owned() } else { c.to_string() }).collect();
        spellings.push(spelling.to_lowercase());
        spellings.push(spelling);
    }
    spellings
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
    let spellings: Vec<_> = IDENTITY.iter().flat_map(|name| spellings(name)).collect();
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        let key = ("X-API-Key", secret(&key));
        for spelling in &spellings {
            let forged = (&**spelling, "mallory");
            for place in PLACES {
                let headers: Vec<_> = place.iter().map(|forges| if *forges { forged } else { key }).collect();
                assert_identity(kind, &site.assert_passes("/any", &headers), identity);
            }
        }
        // Many in one request: HAProxy accepts up to a hundred headers.
        for some in spellings.chunks(90) {
            let mut headers: Vec<_> = some.iter().map(|spelling| (&**spelling, "mallory")).collect();
            headers.insert(some.len() / 2, key);
            assert_identity(kind, &site.assert_passes("/any", &headers), identity);
        }
    }
}

#[tokio::test]
async fn proxy_keeps_empty_identity_headers_empty() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.mintkey.create_key_from(&site.mintkey.token("bob"), serde_json::json!({ "name": "x" })).await;
        for name in ["X-Auth-Org", "X-Auth-Scopes"] {
            for spelling in spellings(name) {
                let seen = site.assert_passes("/any", &[(&spelling, "mallory"), ("X-API-Key", secret(&key))]);
                assert!(seen.all_as_in_cgi(name).concat().is_empty(), "{kind:?}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn proxy_refuses_or_drops_malformed_header_names() {
    for kind in KINDS {
        let site = Site::start(kind);
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
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        for name in IDENTITY {
            for connection in [name.to_owned(), name.to_lowercase(), format!("close, {name}"), format!("{name} ,x")] {
                let (response, seen) = site.get("/any", &[("X-API-Key", secret(&key)), ("Connection", &connection)]);
                match kind {
                    Kind::Caddy => assert_eq!((response.status(), seen.len()), (400, 0), "{connection}"),
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
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&[]).await;
        for dropped in
            ["Authorization", "authorization", "close, Authorization", "X-API-Key", "authorization, x-api-key"]
        {
            let two = [("X-API-Key", secret(&key)), ("Authorization", "Bearer mallory"), ("Connection", dropped)];
            let (response, seen) = site.get("/any", &two);
            // Caddy drops the header as the client requested, for mintkey and for the upstream.
            let passes = kind == Kind::Caddy && !dropped.to_lowercase().contains("x-api-key");
            assert_eq!(response.status() == 200, passes, "{kind:?}: {dropped}: {response:?}");
            assert_eq!(seen.len(), usize::from(passes), "{kind:?}: {dropped}: {seen:?}");
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {dropped}: {seen:?}");
        }
    }
}
