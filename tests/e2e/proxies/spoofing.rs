//! Spoofing: a client that says itself who it is.

use super::site::{Kind, Site};
use super::wire::Message;
use super::{IDENTITY, KINDS};
use crate::support::{id, secret};

/// Where the client puts its header: the upstream may believe the first of two, the last, or both in one.
const PLACES: [&[bool]; 4] = [&[true, false], &[false, true], &[true, false, true], &[true, true, false, true]];

/// Spellings that some upstream takes for the same name: CGI and its heirs make one of `-`, `_` and `.`.
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

/// Checks that the upstream saw mintkey's word once, and nothing of the client's.
fn is_honest(kind: Kind, seen: &Message, identity: [&str; 5]) {
    for (name, value) in IDENTITY.into_iter().zip(identity) {
        assert_eq!(seen.all_as_in_cgi(name), [value], "{kind:?}: {name}: {seen:?}");
    }
    assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
}

#[tokio::test]
async fn no_spelling_of_an_identity_header_gets_past() {
    let spellings: Vec<_> = IDENTITY.iter().flat_map(|name| spellings(name)).collect();
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        let key = ("X-API-Key", secret(&key));
        for spelling in &spellings {
            let forged = (&**spelling, "mallory");
            for place in PLACES {
                let headers: Vec<_> = place.iter().map(|forges| if *forges { forged } else { key }).collect();
                is_honest(kind, &site.passes("/any", &headers), identity);
            }
        }
        // Many at once: HAProxy takes a hundred headers.
        for some in spellings.chunks(90) {
            let mut headers: Vec<_> = some.iter().map(|spelling| (&**spelling, "mallory")).collect();
            headers.insert(some.len() / 2, key);
            is_honest(kind, &site.passes("/any", &headers), identity);
        }
    }
}

#[tokio::test]
async fn a_header_that_is_empty_in_truth_cannot_be_filled_by_the_client() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.mintkey.create_key_from(&site.mintkey.token("bob"), serde_json::json!({ "name": "x" })).await;
        for name in ["X-Auth-Org", "X-Auth-Scopes"] {
            for spelling in spellings(name) {
                let seen = site.passes("/any", &[(&spelling, "mallory"), ("X-API-Key", secret(&key))]);
                assert!(seen.all_as_in_cgi(name).concat().is_empty(), "{kind:?}: {seen:?}");
            }
        }
    }
}

#[tokio::test]
async fn malformed_names_are_refused_or_dropped() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&[]).await;
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
            let (answer, seen) = site.get("/any", &[key, (name, "mallory")]);
            assert!([200, 400, 401].contains(&answer.status()), "{kind:?}: {name:?}: {answer:?}");
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
async fn a_client_cannot_have_identity_headers_dropped_on_the_way() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&["projects:read"]).await;
        let identity = [id(&key), "alice", "urn:mintkey:standalone", "acme", "projects:read"];
        for name in IDENTITY {
            for connection in [name.to_owned(), name.to_lowercase(), format!("close, {name}"), format!("{name} ,x")] {
                let (answer, seen) = site.get("/any", &[("X-API-Key", secret(&key)), ("Connection", &connection)]);
                match kind {
                    Kind::Caddy => assert_eq!((answer.status(), seen.len()), (400, 0), "{connection}"),
                    _ => is_honest(kind, &seen[0], identity),
                }
            }
        }
        let two = [("X-API-Key", secret(&key)), ("Connection", "close"), ("Connection", "X-Auth-Subject")];
        for seen in site.get("/any", &two).1 {
            is_honest(kind, &seen, identity);
        }
    }
}

#[tokio::test]
async fn of_two_credentials_the_upstream_never_sees_one_that_was_not_asked_about() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&[]).await;
        for dropped in
            ["Authorization", "authorization", "close, Authorization", "X-API-Key", "authorization, x-api-key"]
        {
            let two = [("X-API-Key", secret(&key)), ("Authorization", "Bearer mallory"), ("Connection", dropped)];
            let (answer, seen) = site.get("/any", &two);
            // Caddy does as the client says, and drops the header for mintkey and the upstream alike.
            let passes = kind == Kind::Caddy && !dropped.to_lowercase().contains("x-api-key");
            assert_eq!(answer.status() == 200, passes, "{kind:?}: {dropped}: {answer:?}");
            assert_eq!(seen.len(), usize::from(passes), "{kind:?}: {dropped}: {seen:?}");
            assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {dropped}: {seen:?}");
        }
    }
}
