//! Docs: Swagger UI, served whole from the binary, under a policy that lets it run its own script and nothing else.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, Response, Route};

use super::document::Document;

pub const PAGES: [&str; 6] =
    ["/docs", "/docs/start.js", "/docs/swagger-ui.js", "/docs/swagger-ui.css", "/openapi.json", "/openapi.yaml"];

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>mintkey API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
  <div id="ui"></div>
  <script src="/docs/swagger-ui.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"#;

const START: &str =
    "SwaggerUIBundle({ url: '/openapi.json', dom_id: '#ui', deepLinking: true, validatorUrl: null });\n";

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// Adds the pages to the routes that are not the API's.
pub fn add_to(routes: Route) -> Route {
    let (script, style) = swagger_ui();
    let document = Document::new();
    let files = [
        ("/docs", "text/html; charset=utf-8", PAGE.to_owned()),
        ("/docs/start.js", "text/javascript; charset=utf-8", START.to_owned()),
        ("/docs/swagger-ui.js", "text/javascript; charset=utf-8", script),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8", style),
        ("/openapi.json", "application/json", document.json()),
        // RFC 9512.
        ("/openapi.yaml", "application/yaml", document.yaml()),
    ];
    files.into_iter().fold(routes, |routes, (path, media_type, content)| routes.at(path, file(media_type, content)))
}

/// hyper copies what it is given at once, and keeps the copy until a slow client has taken it.
const PIECE: usize = 64 * 1024;

fn file(media_type: &'static str, content: String) -> impl Endpoint<Output = Response> {
    let length = content.len();
    let content = Bytes::from(content);
    let pieces: Vec<_> = content.chunks(PIECE).map(|piece| content.slice_ref(piece)).collect();
    poem::get(make_sync(move |_| {
        let pieces = pieces.clone().into_iter().map(Ok::<_, io::Error>);
        Response::builder()
            .content_type(media_type)
            .header(header::CONTENT_LENGTH, length)
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::CACHE_CONTROL, "no-cache")
            .body(poem::Body::from_bytes_stream(stream::iter(pieces)))
    }))
}

/// poem-openapi carries Swagger UI inlined in one page, which only a policy that allows inline script would run; its
/// script and its style are taken out of there.
fn swagger_ui() -> (String, String) {
    let page = super::service().swagger_ui_html();
    let between = |open: &str, close: &str| {
        let content = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
        content.expect("poem-openapi's page has one script and one style").0.to_owned()
    };
    (between("<script charset=\"UTF-8\">", "</script>"), between("<style charset=\"UTF-8\">", "</style>"))
}
