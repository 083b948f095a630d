//! Docs page: Swagger UI in a real browser, up to a created key.

use reqwest::Method;
use serde_json::json;

use crate::path_prefix::PathPrefix;
use crate::provider::{AUDIENCE, Provider};
use crate::support::{Response, Server, succeed};
use crate::tools::{artifacts, installed, script};

#[tokio::test]
async fn docs_page_creates_key_under_its_policy() {
    let server = Server::start();
    succeed(
        script("docs_page.mjs")
            .arg(installed("chromium"))
            .args([&server.url, &server.token("alice"), "made on the page"])
            .arg(artifacts().join("docs_page.png")),
    );

    let rows = server.rows("SELECT name, owner_subject FROM api_keys").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].try_get::<String>("", "name").unwrap(), "made on the page");
    assert_eq!(rows[0].try_get::<String>("", "owner_subject").unwrap(), "alice");
}

#[tokio::test]
async fn docs_page_signs_in_with_issuer() {
    let provider = Provider::start();
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("resource", AUDIENCE).finish();
    let options = format!(",client-id=docs,client-scopes=openid projects:read,client-query={query}");
    let server = provider.server(&options);
    // Below a prefix that a proxy removes: the page derives every address from its own.
    let prefix = PathPrefix::of(&server).await;
    provider.act("redirect", json!({ "uri": format!("{}/docs/login-callback", prefix.url) })).await;
    server.wait_for_log(&["JWKS refreshed"]);
    succeed(
        script("docs_page.mjs")
            .arg(installed("chromium"))
            .args([&prefix.url, "alice", "made after a login"])
            .arg(artifacts().join("docs_login.png"))
            .args([&provider.issuer, "any"]),
    );
    let rows = server.rows("SELECT name, owner_subject, owner_issuer FROM api_keys").await;
    let column = |name: &str| rows[0].try_get::<String>("", name).unwrap();
    assert_eq!([column("name"), column("owner_subject")], ["made after a login", "alice"]);
    assert_eq!(column("owner_issuer"), provider.issuer);
}

#[tokio::test]
async fn docs_page_without_client_names_no_issuer() {
    let provider = Provider::start();
    let server = provider.server("");
    server.wait_for_log(&["JWKS refreshed"]);
    let document = Response::to(server.request(Method::GET, "/openapi.json", "")).await;
    assert!(document.body["components"]["securitySchemes"].get("login").is_none());
    for path in ["/docs", "/docs/init.js", "/openapi.json"] {
        let response = Response::to(server.request(Method::GET, path, "")).await;
        let policy = response.header("content-security-policy").unwrap();
        assert!(!response.text.contains(&provider.issuer) && !policy.contains(&provider.issuer), "{path}");
    }
}

#[tokio::test]
async fn docs_page_policy_forbids_inline_scripts() {
    let server = Server::start();
    let page = Response::to(server.request(Method::GET, "/docs", "")).await;
    let policy = page.header("content-security-policy").unwrap();
    let scripts = policy.split(';').map(str::trim).find(|directive| directive.starts_with("script-src ")).unwrap();
    assert!(!scripts.contains("'unsafe-inline'") && !scripts.contains("'unsafe-eval'"), "{policy}");
}
