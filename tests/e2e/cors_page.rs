//! Pages of other origins, in a real browser.

use crate::support::{Server, succeed};
use crate::tools::{free_port, installed, script};

#[tokio::test]
async fn cors_lets_pages_of_allowed_origins_alone_call_the_api() {
    let port = free_port();
    let server = Server::start_with(&["--cors-origin", &format!("http://127.0.0.1:{port}")]);
    succeed(script("cors_page.mjs").arg(installed("chromium")).args([
        &server.url,
        &server.token("alice"),
        &port.to_string(),
    ]));
    // Those of the allowed page, without the deleted one.
    let rows = server.rows("SELECT name FROM api_keys WHERE deleted_at IS NULL").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].try_get::<String>("", "name").unwrap(), "example");
}
