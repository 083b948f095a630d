//! Paths: which spelling of a target reaches the upstream, and that none gets around the question.

use super::KINDS;
use super::site::{Kind, Site};
use crate::support::secret;

/// Targets that every proxy hands on as they are.
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
async fn encoded_paths_reach_the_upstream_as_they_were_sent() {
    for kind in KINDS {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        for target in PLAIN {
            let seen = site.passes(target, &[("Authorization", &bearer)]);
            assert_eq!(seen.target(), target, "{kind:?}");
            assert_eq!(site.is_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
    }
}

#[tokio::test]
async fn dot_segments_are_refused_or_reach_the_upstream_as_they_were_sent() {
    for kind in KINDS {
        let site = Site::start(kind);
        let bearer = site.bearer().await;
        for target in DOTTED {
            match kind {
                Kind::Nginx | Kind::Caddy => {
                    assert_eq!(site.is_refused(target, &[("Authorization", &bearer)]).status(), 400, "{target}");
                }
                Kind::HaProxy => assert_eq!(site.passes(target, &[("Authorization", &bearer)]).target(), target),
            }
            site.is_refused(target, &[]);
        }
    }
}

#[tokio::test]
async fn no_target_and_no_method_gets_past_without_a_key() {
    for kind in KINDS {
        let site = Site::start(kind);
        for target in ["http://127.0.0.1/", "/%00", "/a%zz", "/-/mintkey", "/-/mintkey/admin", "/api/auth/forward"] {
            site.is_refused(target, &[]);
        }
        for line in ["OPTIONS *", "OPTIONS /", "TRACE /", "CONNECT /", "PROPFIND /", "LETMEIN /", "get /"] {
            let (answer, seen) = site.send(line, &[], b"");
            assert!(seen.is_empty(), "{kind:?}: {line}: {seen:?}");
            // This one is to the server, not to what it serves, and Caddy answers it.
            assert!(answer.status() >= 400 || line == "OPTIONS *", "{kind:?}: {line}: {answer:?}");
        }
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ];
        assert_eq!(site.is_refused("/", &upgrade).status(), 401, "{kind:?}");
    }
}

#[tokio::test]
async fn the_question_itself_cannot_be_reached_through_nginx() {
    let site = Site::start(Kind::Nginx);
    let bearer = site.bearer().await;
    for target in ["/-/mintkey", "/-/mintkey/", "/-/mintkey/admin", "/-//mintkey", "/%2d/mintkey"] {
        assert!([403, 404].contains(&site.is_refused(target, &[("Authorization", &bearer)]).status()), "{target}");
    }
}

#[tokio::test]
async fn where_a_scope_is_required_a_key_without_it_is_403() {
    for kind in KINDS {
        let site = Site::start(kind);
        let (plain, admin) = (site.key(&["example:other"]).await, site.key(&["example:admin"]).await);
        let (plain, admin) = ([("X-API-Key", secret(&plain))], [("X-API-Key", secret(&admin))]);
        for target in ["/admin", "/admin/", "/admin/users?a=b", "/Admin", "/%61dmin", "//admin", "/admin%2Fusers"] {
            let answer = site.is_refused(target, &plain);
            assert_eq!(answer.status(), 403, "{kind:?}: {target}");
            // nginx hands the challenge on with a 401 alone.
            let challenge = r#"Bearer error="insufficient_scope", scope="example:admin""#;
            let expected = if kind == Kind::Nginx { vec![] } else { vec![challenge] };
            assert_eq!(answer.all("WWW-Authenticate"), expected, "{kind:?}: {target}");
            assert_eq!(site.passes(target, &admin).target(), target, "{kind:?}");
            assert_eq!(site.is_refused(target, &[]).status(), 401, "{kind:?}: {target}");
        }
        // Each is /admin to some upstream.
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
            site.is_refused(target, &plain);
        }
    }
}

#[tokio::test]
async fn the_clients_query_has_no_say_in_what_is_asked() {
    for kind in KINDS {
        let site = Site::start(kind);
        let key = site.key(&["example:other"]).await;
        let key = [("X-API-Key", secret(&key))];
        for query in ["required_scope=nobodys", "required_scope=a&required_scope=b", "required_scope=", "%00", "?&&=%"]
        {
            let target = format!("/any?{query}");
            assert_eq!(site.passes(&target, &key).target(), target, "{kind:?}");
            assert_eq!(site.is_refused(&format!("/admin?{query}"), &key).status(), 403, "{kind:?}: {query}");
        }
        assert_eq!(site.is_refused("/admin?required_scope=example:other", &key).status(), 403, "{kind:?}");
        assert_eq!(site.is_refused("/any?required_scope=example:other", &[]).status(), 401, "{kind:?}");
    }
}
