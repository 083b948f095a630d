//! Paths: the spelling of a target that reaches the upstream, and that no spelling bypasses the check.

use super::KINDS;
use super::site::{Kind, Site};
use crate::support::secret;

/// Targets that every proxy passes on unchanged.
const PLAIN: [&str; 12] = [
    "/",
    "/a%2Fb",
    "/a%2fb",
    "/a//b",
    "//a",
    "/a%20b",
    "/a?q=%20&q=+&empty=&=",
    "/a?next=/../b&x=/./y",
    "/%E2%82%AC/%7Euser/%41",
    "/a%252Fb/%252e%252e",
    "/.well-known/..a/b../...",
    "/a;b=c,d/e:f@g!$&'()*+",
];

/// Targets with dot segments, which a proxy may resolve where the upstream does not, or the other way around.
const DOTTED: [&str; 12] = [
    "/..",
    "/../x",
    "/./x",
    "/%2e%2e/x",
    "/a/%2E%2e",
    "/a/.%2e/x",
    "/a/../x",
    "/a%2F..%2Fx",
    "/a%2f%2e%2E/x?q",
    "/a/..;/x",
    "/a/..?q",
    "//../x",
];

#[tokio::test]
async fn proxy_passes_encoded_paths_unchanged() {
    for kind in KINDS {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        for target in PLAIN {
            let seen = site.assert_passes(target, &[("Authorization", &bearer)]);
            assert_eq!(seen.target(), target, "{kind:?}");
            assert_eq!(site.assert_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
    }
}

#[tokio::test]
async fn proxy_refuses_dot_segments_or_passes_them_unchanged() {
    for kind in KINDS {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        for target in DOTTED {
            match kind {
                Kind::Nginx | Kind::Caddy => {
                    assert_eq!(site.assert_refused(target, &[("Authorization", &bearer)]).status(), 400, "{target}");
                }
                Kind::HaProxy => assert_eq!(site.assert_passes(target, &[("Authorization", &bearer)]).target(), target),
            }
            site.assert_refused(target, &[]);
        }
    }
}

#[tokio::test]
async fn proxy_refuses_every_target_and_method_without_key() {
    for kind in KINDS {
        let site = Site::start(kind);
        for target in ["http://127.0.0.1/", "/%00", "/a%zz", "/-/mintkey", "/-/mintkey/admin", "/api/auth/forward"] {
            site.assert_refused(target, &[]);
        }
        for line in ["OPTIONS *", "OPTIONS /", "TRACE /", "CONNECT /", "PROPFIND /", "LETMEIN /", "get /"] {
            let (response, seen) = site.send(line, &[], b"");
            assert!(seen.is_empty(), "{kind:?}: {line}: {seen:?}");
            // `OPTIONS *` concerns the proxy itself, and Caddy responds to it.
            assert!(response.status() >= 400 || line == "OPTIONS *", "{kind:?}: {line}: {response:?}");
        }
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        assert_eq!(site.assert_refused("/", &upgrade).status(), 401, "{kind:?}");
    }
}

#[tokio::test]
async fn proxy_nginx_hides_its_auth_request_location() {
    let site = Site::start(Kind::Nginx);
    let bearer = site.bearer().await;
    for target in ["/-/mintkey", "/-/mintkey/", "/-/mintkey/admin", "/-//mintkey", "/%2d/mintkey"] {
        assert!([403, 404].contains(&site.assert_refused(target, &[("Authorization", &bearer)]).status()), "{target}");
    }
}

#[tokio::test]
async fn proxy_requires_scope_for_every_spelling_of_a_path() {
    for kind in KINDS {
        let site = Site::start(kind);
        let (plain, admin) = (site.create_key(&["example:other"]).await, site.create_key(&["example:admin"]).await);
        let (plain, admin) = ([("X-API-Key", secret(&plain))], [("X-API-Key", secret(&admin))]);
        for target in ["/admin", "/admin/", "/admin/users?a=b", "/Admin", "/%61dmin", "//admin", "/admin%2Fusers"] {
            let response = site.assert_refused(target, &plain);
            assert_eq!(response.status(), 403, "{kind:?}: {target}");
            // nginx passes the challenge on only with a 401.
            let challenge = r#"Bearer error="insufficient_scope", scope="example:admin""#;
            let expected = if kind == Kind::Nginx { vec![] } else { vec![challenge] };
            assert_eq!(response.all("WWW-Authenticate"), expected, "{kind:?}: {target}");
            assert_eq!(site.assert_passes(target, &admin).target(), target, "{kind:?}");
            assert_eq!(site.assert_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
        // Some upstream normalizes each of these to /admin.
        for target in [
            "/x/../admin",
            "/x/%2e%2e/admin",
            "/x%2F..%2Fadmin",
            "/x/..;/admin",
            "/;x/admin",
            "/./admin",
            "/%2e/admin",
            "/admin/..",
            "/admin/../x",
            "/admin/%2e%2e/x",
            "/admin%2F..%2Fx",
            "/admin/..;/x",
            "/%2Fadmin",
            "http://127.0.0.1/admin",
            "/admin;x",
            "/admin?/../x",
            "/x//admin",
            "/%41DMIN",
        ] {
            site.assert_refused(target, &plain);
        }
    }
}

#[tokio::test]
async fn proxy_ignores_required_scope_in_clients_query() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.create_key(&["example:other"]).await;
        let key = [("X-API-Key", secret(&key))];
        for query in ["required_scope=other", "required_scope=a&required_scope=b", "required_scope=", "%00", "?&&=%"] {
            let target = format!("/any?{query}");
            assert_eq!(site.assert_passes(&target, &key).target(), target, "{kind:?}");
            assert_eq!(site.assert_refused(&format!("/admin?{query}"), &key).status(), 403, "{kind:?}: {query}");
        }
        assert_eq!(site.assert_refused("/admin?required_scope=example:other", &key).status(), 403, "{kind:?}");
        assert_eq!(site.assert_refused("/any?required_scope=example:other", &[]).status(), 401, "{kind:?}");
    }
}
