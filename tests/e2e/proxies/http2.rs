//! HTTP/2 without TLS, which HAProxy, Traefik and Envoy accept from clients by default.

use super::kind::Kind;
use super::site::Sites;
use crate::support::{id, secret, succeed};
use crate::tools::system;

const HTTP2: [Kind; 3] = [Kind::HaProxy, Kind::Traefik, Kind::Envoy];

/// Sends a request with curl, and returns its status.
fn status(url: &str, headers: &[(&str, &str)]) -> String {
    let mut curl = system("curl");
    curl.args([
        "--silent",
        "--http2-prior-knowledge",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_version} %{http_code}",
    ]);
    for (name, value) in headers {
        curl.args(["--header", &format!("{name}: {value}")]);
    }
    succeed(curl.arg(url))
}

#[tokio::test]
async fn proxy_checks_requests_by_http2() {
    let sites = Sites::open();
    for kind in HTTP2 {
        let site = sites.of(kind);
        let key = site.create_key(&[]).await;
        let url = format!("http://{}", site.address);
        let before = site.assert_passes("/any", &[("X-API-Key", secret(&key))]);
        let headers = [("X-API-Key", secret(&key)), ("X-Auth-Subject", "mallory"), ("x.auth~subject", "mallory")];
        assert_eq!(status(&format!("{url}/any"), &headers), "2 200", "{kind:?}");
        let seen = site.seen().pop().unwrap();
        assert_eq!(seen.all_as_in_cgi("X-Auth-Subject"), ["alice"], "{kind:?}: {before:?} {seen:?}");
        assert_eq!(seen.all("X-Auth-Key-Id"), [id(&key)], "{kind:?}: {seen:?}");
        assert!(!format!("{seen:?}").contains("mallory"), "{kind:?}: {seen:?}");
        assert_eq!(status(&format!("{url}/admin"), &headers), "2 403", "{kind:?}");
        assert_eq!(status(&format!("{url}/any"), &headers[1..]), "2 401", "{kind:?}");
    }
}
