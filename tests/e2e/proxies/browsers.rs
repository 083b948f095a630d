//! Browsers: a page of another origin calls the API (CORS).

use super::site::Sites;
use crate::support::secret;

const ORIGIN: &str = "https://app.example";
const PREFLIGHT: [(&str, &str); 2] =
    [("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization,content-type")];

#[test]
fn proxy_responds_to_preflight_of_configured_origin() {
    for site in Sites::open().each() {
        let kind = site.kind;
        for target in ["/any", "/admin", "/any?a=b"] {
            let (response, seen) =
                site.send(&format!("OPTIONS {target}"), &[&[("Origin", ORIGIN)], &PREFLIGHT[..]].concat(), b"");
            assert!([200, 204].contains(&response.status()) && seen.is_empty(), "{kind:?}: {target}: {response:?}");
            assert_eq!(response.all("Access-Control-Allow-Origin"), [ORIGIN], "{kind:?}: {response:?}");
            let allowed = |name: &str| response.all(name).join(",").to_lowercase();
            for method in ["get", "post", "put", "patch", "delete"] {
                assert!(allowed("Access-Control-Allow-Methods").contains(method), "{kind:?}: {response:?}");
            }
            for name in ["authorization", "x-api-key", "content-type"] {
                assert!(allowed("Access-Control-Allow-Headers").contains(name), "{kind:?}: {response:?}");
            }
        }
    }
}

#[test]
fn proxy_grants_nothing_to_other_origins() {
    for site in Sites::open().each() {
        let kind = site.kind;
        for origin in ["https://other.example", "https://app.example.other.example", "http://app.example", "null", ""] {
            let headers = [&[("Origin", origin)], &PREFLIGHT[..]].concat();
            let (response, seen) = site.send("OPTIONS /any", &headers, b"");
            assert!(seen.is_empty(), "{kind:?}: {origin}: {seen:?}");
            assert!(response.all("Access-Control-Allow-Origin").is_empty(), "{kind:?}: {origin}: {response:?}");
            let response = site.assert_refused("/any", &[("Origin", origin)]);
            assert!(response.all("Access-Control-Allow-Origin").is_empty(), "{kind:?}: {origin}: {response:?}");
        }
    }
}

/// What is no preflight needs a key.
#[test]
fn proxy_checks_options_that_are_no_preflight() {
    for site in Sites::open().each() {
        for headers in [&[("Origin", ORIGIN)][..], &PREFLIGHT[..1], &[]] {
            let (response, seen) = site.send("OPTIONS /any", headers, b"");
            assert_eq!((response.status(), seen.len()), (401, 0), "{:?}: {headers:?}: {response:?}", site.kind);
        }
        for method in ["POST", "DELETE", "options"] {
            let (response, seen) =
                site.send(&format!("{method} /any"), &[&[("Origin", ORIGIN)], &PREFLIGHT[..]].concat(), b"");
            assert!(response.status() >= 400 && seen.is_empty(), "{:?}: {method}: {response:?}", site.kind);
        }
    }
}

#[tokio::test]
async fn proxy_lets_configured_origin_read_responses() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&[]).await;
        for (target, headers, status) in [
            ("/any", vec![("Origin", ORIGIN), ("X-API-Key", secret(&key))], 200),
            ("/any", vec![("Origin", ORIGIN)], 401),
            ("/admin", vec![("Origin", ORIGIN), ("X-API-Key", secret(&key))], 403),
        ] {
            let (response, _) = site.get(target, &headers);
            // Once, although the upstream sends one too.
            assert_eq!(response.all("Access-Control-Allow-Origin"), [ORIGIN], "{kind:?}: {response:?}");
            let exposed = response.all("Access-Control-Expose-Headers").join(",").to_lowercase();
            assert!(exposed.contains("www-authenticate") && exposed.contains("retry-after"), "{kind:?}: {response:?}");
            assert_eq!(response.status(), status, "{kind:?}: {response:?}");
        }
    }
}
