//! Docs page: Swagger UI in a real browser, from the first look to a key on the screen.

use reqwest::Method;

use crate::support::{Answer, Server};
use crate::tools::{installed, leftovers, script, succeed};

#[tokio::test]
async fn a_key_is_made_on_the_page_under_its_policy() {
    let server = Server::start();
    succeed(
        script("docs_page.mjs")
            .arg(installed("chromium"))
            .args([&server.url, &server.token("alice"), "made on the page"])
            .arg(leftovers().join("docs_page.png")),
    );

    let rows = server.rows("SELECT name, owner_subject FROM api_keys").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].try_get::<String>("", "name").unwrap(), "made on the page");
    assert_eq!(rows[0].try_get::<String>("", "owner_subject").unwrap(), "alice");
}

#[tokio::test]
async fn the_policy_of_the_page_lets_no_inline_script_run() {
    let server = Server::start();
    let page = Answer::of(server.request(Method::GET, "/docs", "")).await;
    let policy = page.header("content-security-policy").unwrap();
    let scripts = policy.split(';').map(str::trim).find(|directive| directive.starts_with("script-src ")).unwrap();
    assert!(!scripts.contains("'unsafe-inline'") && !scripts.contains("'unsafe-eval'"), "{policy}");
}
