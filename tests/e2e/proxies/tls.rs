//! mintkey over TLS, as `docs/forward-auth.md` describes it.

use std::fs;

use super::kind::{KINDS, Kind};
use super::proxy::Proxy;
use super::site::address_of;
use crate::support::{Server, mintkey_at};
use crate::tools::{make_certificate, project};

/// Changes a configuration as the page says.
fn use_tls(text: String, page: &str, certificate: &str) -> String {
    let lines = |name: &str| {
        let (_, rest) = page.split_once(&format!("# {name}\n")).unwrap();
        rest.split_once("```").unwrap().0.replace("/etc/ssl/mintkey.pem", certificate)
    };
    text.replace("proxy_pass http://mintkey/", "proxy_pass https://mintkey/")
        .replace("        internal;\n", &format!("        internal;\n{}", lines("nginx.conf, in location /-/mintkey")))
        .replace("forward_auth 127", "forward_auth https://127")
        .replace("forward_auth @admin 127", "forward_auth @admin https://127")
        .replace("\ttransport http {\n", &format!("\ttransport http {{\n{}", lines("Caddyfile, in transport http")))
        .replace("url: http://127.0.0.1:8080", "url: https://127.0.0.1:8080")
        .replace(
            "      forwardingTimeouts",
            &format!("{}      forwardingTimeouts", lines("traefik.yml, in serversTransports, mintkey")),
        )
        .replace(
            "    - name: mintkey\n      connect",
            &format!("    - name: mintkey\n{}      connect", lines("envoy.yaml, in the cluster")),
        )
}

#[test]
fn proxy_verifies_certificate_of_mintkey() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["mintkey.example", "other.example"] {
        make_certificate(directory.path(), name);
    }
    let path = |file: &str| directory.path().join(file).display().to_string();
    let data = tempfile::tempdir().unwrap();
    let mut serve = mintkey_at(data.path());
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    serve.args(["--tls-cert", &path("mintkey.example.pem"), "--tls-key", &path("mintkey.example.key")]);
    let mintkey = Server::spawn(&mut serve, data.path());
    let page = fs::read_to_string(project().join("docs/forward-auth.md")).unwrap();
    let address = address_of(&mintkey);
    // HAProxy 2.6 verifies only names that it resolves by DNS.
    for kind in KINDS.into_iter().filter(|kind| *kind != Kind::HaProxy) {
        let status = |certificate: &str| {
            let edit = |text| use_tls(text, &page, &path(certificate));
            Proxy::start_edited(kind, address, edit).assert_refused("/any", &[("X-API-Key", "any")]).status()
        };
        assert_eq!(status("mintkey.example.pem"), 401, "{kind:?}");
        assert!(status("other.example.pem") >= 500, "{kind:?}");
    }
}
