//! The root, and addresses that hold below a prefix that a proxy removes from paths.

use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value, json};

use crate::support::{KEYS, Response, Server, id};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

async fn get(server: &Server, path: &str, accept: Option<&str>, method: Method) -> Response {
    let client = Client::builder().tls_certs_only([]).redirect(redirect::Policy::none()).build().unwrap();
    let mut request = client.request(method, format!("{}{path}", server.url));
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    Response::to(request).await
}

#[tokio::test]
async fn root_leads_a_browser_to_docs() {
    let server = Server::start();
    for path in ["/", "/?from=a-link"] {
        for method in [Method::GET, Method::HEAD] {
            let response = get(&server, path, Some(BROWSER), method).await;
            assert_eq!((response.status.as_u16(), response.header("location")), (302, Some("docs")));
            assert_eq!((response.header("vary"), response.header("cache-control")), (Some("Accept"), Some("no-store")));
            assert_eq!(response.location().unwrap(), "/docs");
        }
    }
    let page = Response::to(server.request(Method::GET, "/", "").header("accept", BROWSER)).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
}

#[tokio::test]
async fn root_leads_a_program_to_the_document() {
    let server = Server::start();
    for accept in [None, Some("*/*"), Some("application/json"), Some("application/json, text/plain, */*")] {
        let response = get(&server, "/", accept, Method::GET).await;
        assert_eq!((response.status.as_u16(), response.header("content-type")), (200, Some("application/json")));
        let expected = json!({ "name": "mintkey", "documentation": "./docs", "openapi": "./openapi.json" });
        assert_eq!(response.body, expected, "{accept:?}");
    }
    let head = get(&server, "/", None, Method::HEAD).await;
    assert_eq!((head.status.as_u16(), &*head.text), (200, ""));
}

#[tokio::test]
async fn favicon_is_an_icon_and_no_log_line() {
    let server = Server::start();
    let icon = get(&server, "/favicon.ico", Some("image/avif,image/webp,*/*"), Method::GET).await;
    assert_eq!((icon.status.as_u16(), icon.header("content-type")), (200, Some("image/svg+xml")));
    assert_eq!(icon.header("cache-control"), Some("max-age=86400"));
    assert!(icon.text.starts_with("<svg"), "{}", icon.text);
    get(&server, "/nothing", None, Method::GET).await.assert_problem(404);
    server.wait_for_log(&["route=\"-\"", "status=404"]);
    assert!(!server.log().contains("/favicon.ico"), "{}", server.log());
}

#[tokio::test]
async fn docs_page_names_only_relative_addresses() {
    let server = Server::start();
    let base = Url::parse("https://example.com/keys/docs").unwrap();
    for path in ["/docs", "/docs/"] {
        let page = get(&server, path, Some(BROWSER), Method::GET).await.text;
        let addresses: Vec<_> =
            page.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css")).collect();
        let own = base.join(&format!("/keys{path}")).unwrap();
        let resolved: Vec<_> = addresses.iter().map(|address| own.join(address).unwrap().path().to_owned()).collect();
        assert_eq!(resolved, ["/keys/docs/swagger-ui.css", "/keys/docs/swagger-ui.js", "/keys/docs/init.js"], "{path}");
    }
    for path in ["/docs/init.js", "/docs/login-callback", "/docs/login-callback.js"] {
        let text = get(&server, path, None, Method::GET).await.text;
        assert!(!text.contains("\"/") && !text.contains("'/") && !text.contains("`/"), "{path}: {text}");
    }
}

#[tokio::test]
async fn location_and_link_are_relative_to_the_request() {
    let server = Server::start();
    let token = server.token_with("alice", &["--scopes", "api-keys:admin"]);
    for (path, prefix) in [(KEYS, ""), ("/api/auth/api-keys", "api-keys/")] {
        let request = server.request(Method::POST, path, &token).json(&json!({ "name": "k" }));
        let created = Response::to(request).await;
        let new = id(&created.body);
        assert_eq!(created.header("location"), Some(&*format!("{prefix}{new}")), "{path}");
        assert_eq!(server.get(&created.location().unwrap(), &token).await.body["id"], new);

        let rotate = format!("{KEYS}{new}/rotate{}", if prefix.is_empty() { "/" } else { "" });
        let rotated = server.call(Method::POST, &rotate, &token, Value::Null).await;
        assert_eq!(rotated.location(), Some(format!("{KEYS}{new}")), "{:?}", rotated.header("location"));
    }
    for path in [KEYS, "/api/auth/api-keys", "/api/auth/audit-events/", "/api/admin/api-keys/"] {
        let page = server.get(&format!("{path}?limit=1"), &token).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        let cursor = page.body["next_cursor"].as_str().unwrap();
        assert_eq!(page.header("link"), Some(&*format!("<?limit=1&cursor={cursor}>; rel=\"next\"")));
        let next = server.get(&page.next_page().unwrap(), &token).await;
        assert_eq!(next.body["items"].as_array().unwrap().len(), 1, "{path}");
    }
    let body = json!({ "subject": "alice" });
    for path in ["/api/admin/api-keys/revoke", "/api/admin/api-keys/revoke/"] {
        let response = server.call(Method::POST, path, &token, body.clone()).await;
        let location = response.location().unwrap();
        assert_eq!(server.get(&location, &token).await.body["id"], response.body["job"]["id"], "{location}");
    }
}
