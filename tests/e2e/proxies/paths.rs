//! Paths: the spelling of a target that reaches the upstream, and that no spelling bypasses the check.

use super::kind::{Kind, Release};
use super::site::Sites;
use super::wire::Message;
use crate::support::secret;

/// Targets that every proxy passes on unchanged.
const PLAIN: [&str; 7] = [
    "/",
    "/a%20b",
    "/a?q=%20&q=+&empty=&=",
    "/a?next=/../b&x=/./y",
    "/a%252Fb/%252e%252e",
    "/.well-known/..a/b../...",
    "/a;b=c,d/e:f@g!$&'()*+",
];

/// Targets that Traefik and Envoy normalize, and the others pass on unchanged.
const UNUSUAL: [&str; 5] = ["/a%2Fb", "/a%2fb", "/a//b", "//a", "/%E2%82%AC/%7Euser/%41"];

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
    for site in Sites::open().each() {
        let kind = site.kind;
        let bearer = site.bearer().await;
        for target in PLAIN {
            let seen = site.assert_passes(target, &[("Authorization", &bearer)]);
            assert_eq!(seen.target(), target, "{kind:?}");
            assert_eq!(site.assert_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
        for target in UNUSUAL {
            if !kind.normalizes_paths() {
                assert_eq!(site.assert_passes(target, &[("Authorization", &bearer)]).target(), target, "{kind:?}");
            }
            site.assert_refused(target, &[]);
        }
    }
}

#[tokio::test]
async fn proxy_refuses_or_resolves_dot_segments_or_passes_them() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let bearer = site.bearer().await;
        for target in DOTTED {
            match kind {
                Kind::Nginx(_) | Kind::Caddy(_) => {
                    assert_eq!(site.assert_refused(target, &[("Authorization", &bearer)]).status(), 400, "{target}");
                }
                Kind::HaProxy => assert_eq!(site.assert_passes(target, &[("Authorization", &bearer)]).target(), target),
                Kind::Traefik | Kind::Envoy => {
                    let (response, seen) = site.get(target, &[("Authorization", &bearer)]);
                    assert!([200, 400].contains(&response.status()), "{kind:?}: {target}: {response:?}");
                    let path = |seen: &Message| seen.target().split('?').next().unwrap().to_owned();
                    let is_dot = |segment: &str| [".", ".."].contains(&segment);
                    assert!(!seen.iter().any(|seen| path(seen).split('/').any(is_dot)), "{kind:?}: {target}: {seen:?}");
                }
            }
            site.assert_refused(target, &[]);
        }
    }
}

#[tokio::test]
async fn proxy_refuses_every_target_and_method_without_key() {
    for site in Sites::open().each() {
        let kind = site.kind;
        for target in ["http://127.0.0.1/", "/%00", "/a%zz", "/-/mintkey", "/-/mintkey/admin", "/api/auth/forward"] {
            site.assert_refused(target, &[]);
        }
        let connect = "CONNECT 127.0.0.1:80";
        for line in ["OPTIONS *", "OPTIONS /", "TRACE /", "CONNECT /", connect, "PROPFIND /", "LETMEIN /", "get /"] {
            let (response, seen) = site.send(line, &[], b"");
            assert!(seen.is_empty(), "{kind:?}: {line}: {seen:?}");
            // `OPTIONS *` concerns the proxy itself, and Caddy and Traefik respond to it.
            assert!(response.status() >= 400 || line == "OPTIONS *", "{kind:?}: {line}: {response:?}");
        }
    }
}

#[tokio::test]
async fn proxy_nginx_hides_its_auth_request_location() {
    let sites = Sites::open();
    for release in [Release::Debian, Release::Newest] {
        let site = sites.of(Kind::Nginx(release));
        let bearer = site.bearer().await;
        for target in ["/-/mintkey", "/-/mintkey/", "/-/mintkey/admin", "/-//mintkey", "/%2d/mintkey"] {
            let response = site.assert_refused(target, &[("Authorization", &bearer)]);
            assert!([403, 404].contains(&response.status()), "{release:?}: {target}");
        }
    }
}

#[tokio::test]
async fn proxy_requires_scope_for_every_spelling_of_a_path() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let (plain, admin) = (site.create_key(&["example:other"]).await, site.create_key(&["example:admin"]).await);
        let (plain, admin) = ([("X-API-Key", secret(&plain))], [("X-API-Key", secret(&admin))]);
        for target in ["/admin", "/admin/", "/admin/users?a=b", "/Admin", "/%61dmin", "//admin", "/x/admin"] {
            let response = site.assert_refused(target, &plain);
            assert_eq!(response.status(), 403, "{kind:?}: {target}");
            let challenge = r#"Bearer error="insufficient_scope", scope="example:admin""#;
            assert_eq!(response.all("WWW-Authenticate"), [challenge], "{kind:?}: {target}");
            let seen = site.assert_passes(target, &admin);
            assert!(seen.target() == target || kind.normalizes_paths(), "{kind:?}: {seen:?}");
            assert_eq!(site.assert_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
        // Envoy rejects an encoded slash.
        assert!([400, 403].contains(&site.assert_refused("/admin%2Fusers", &plain).status()), "{kind:?}");
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
            "/x%5Cadmin",
            "/x\\admin",
            "/.admin",
            "/admin/%",
            "/admin%2",
            "/admin/users%?x=1",
            "/%zz/%61dmin",
            "/x#/admin",
        ] {
            let (response, seen) = site.get(target, &plain);
            // Traefik and Envoy resolve `/admin/..` to `/`, for the route and for the upstream.
            let resolved = |seen: &Message| kind.normalizes_paths() && !seen.target().contains("admin");
            assert!(seen.iter().all(resolved), "{kind:?}: {target} reached the upstream: {seen:?}");
            assert!(response.status() >= 400 || !seen.is_empty(), "{kind:?}: {target}: {response:?}");
        }
    }
}

#[tokio::test]
async fn proxy_ignores_required_scope_in_clients_query() {
    for site in Sites::open().each() {
        let kind = site.kind;
        let key = site.create_key(&["example:other"]).await;
        let key = [("X-API-Key", secret(&key))];
        for query in [
            "required_scope=other",
            "required_scope=a&required_scope=b",
            "required_scope=",
            "a&any_of=example:other",
            "%00",
            "?&&=%",
        ] {
            // Envoy appends the client's query, with which a client can only demand more of its own key.
            if kind != Kind::Envoy || !query.contains("required_scope") {
                let target = format!("/any?{query}");
                assert_eq!(site.assert_passes(&target, &key).target(), target, "{kind:?}");
            }
            let status = site.assert_refused(&format!("/admin?{query}"), &key).status();
            assert!(status == 403 || kind == Kind::Envoy && status == 400, "{kind:?}: {query}: {status}");
        }
        let status = site.assert_refused("/admin?required_scope=example:other", &key).status();
        assert!(status == 403 || kind == Kind::Envoy && status == 400, "{kind:?}: {status}");
        assert_eq!(site.assert_refused("/any?required_scope=example:other", &[]).status(), 401, "{kind:?}");
    }
}

/// Some upstreams take the path from these headers, for which the scope was not chosen.
#[tokio::test]
async fn proxy_removes_headers_that_replace_the_path() {
    for site in Sites::open().each() {
        let bearer = site.bearer().await;
        for name in ["X-Original-URL", "x-original-url", "X-Rewrite-URL", "X-REWRITE-URL"] {
            let seen = site.assert_passes("/any", &[("Authorization", &bearer), (name, "/admin")]);
            assert!(!format!("{seen:?}").contains("/admin"), "{:?}: {seen:?}", site.kind);
        }
    }
}
