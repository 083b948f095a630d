//! Docs: Swagger UI, served whole from the binary, under a policy that lets it run its own script and nothing else.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, Request, Response, Route};
use serde_json::{Map, json};

use crate::openapi::Document;
use crate::service::Service;
use crate::service::issuer::{Login, TrustedIssuer};

/// Where an issuer sends the browser back to.
pub const SIGNED_IN: &str = "/docs/signed-in";

pub const PAGES: [&str; 8] = [
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui.js",
    "/docs/swagger-ui.css",
    SIGNED_IN,
    "/docs/signed-in.js",
    "/openapi.json",
    "/openapi.yaml",
];

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

const SIGNED_IN_PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Signed in</title>
  <link rel="icon" href="data:,">
</head>
<body>
  <script src="/docs/signed-in.js"></script>
</body>
</html>
"#;

/// The window that the issuer sends back hands its answer to the page that opened it, if it is one to its question.
const SIGNED_IN_SCRIPT: &str = r#"const { auth, state, redirectUrl, callback, errCb } = window.opener.swaggerUIRedirectOauth2;
const answer = new URLSearchParams(location.search);
if (answer.get('state') !== state) {
  errCb({ authId: auth.name, source: 'auth', level: 'error', message: 'This answers another login; try again.' });
} else if (answer.has('code')) {
  // Not a copy: an object of this window is none that the other one knows.
  auth.code = answer.get('code');
  callback({ auth, redirectUrl });
} else {
  const message = answer.get('error_description') ?? answer.get('error') ?? 'The issuer gave no code.';
  errCb({ authId: auth.name, source: 'auth', level: 'error', message });
}
window.close();
"#;

/// Adds the pages to the routes that are not the API's.
pub fn add_to(routes: Route) -> Route {
    let (script, style) = swagger_ui();
    let document = Arc::new(Document::new());
    routes
        .at("/docs", file("text/html; charset=utf-8", |_| PAGE.to_owned()))
        .at("/docs/start.js", file("text/javascript; charset=utf-8", start))
        .at("/docs/swagger-ui.js", file("text/javascript; charset=utf-8", move |_| script.clone()))
        .at("/docs/swagger-ui.css", file("text/css; charset=utf-8", move |_| style.clone()))
        .at(SIGNED_IN, file("text/html; charset=utf-8", |_| SIGNED_IN_PAGE.to_owned()))
        .at("/docs/signed-in.js", file("text/javascript; charset=utf-8", |_| SIGNED_IN_SCRIPT.to_owned()))
        .at("/openapi.json", file("application/json", described(document.clone(), Document::json)))
        // RFC 9512.
        .at("/openapi.yaml", file("application/yaml", described(document, Document::yaml)))
}

/// The document, rendered once; but where readers sign in is known after the start only, when the issuer was asked.
fn described(document: Arc<Document>, render: fn(&Document) -> String) -> impl Fn(Option<&Login<'_>>) -> Bytes {
    let plain = Bytes::from(render(&document));
    move |login| login.map_or_else(|| plain.clone(), |login| render(&document.with(login)).into())
}

/// hyper copies what it is given at once, and keeps the copy until a slow client has taken it.
const PIECE: usize = 64 * 1024;

fn file<B: Into<Bytes>>(
    media_type: &'static str,
    content: impl Fn(Option<&Login<'_>>) -> B + Send + Sync + 'static,
) -> impl Endpoint<Output = Response> {
    poem::get(make_sync(move |request: Request| {
        let service = request.data::<Arc<Service>>();
        let login = service.and_then(|service| service.issuers.iter().find_map(TrustedIssuer::login));
        let content: Bytes = content(login.as_ref()).into();
        let pieces: Vec<_> = content.chunks(PIECE).map(|piece| Ok::<_, io::Error>(content.slice_ref(piece))).collect();
        Response::builder()
            .content_type(media_type)
            .header(header::CONTENT_LENGTH, content.len())
            .header(header::CONTENT_SECURITY_POLICY, policy(login.as_ref()))
            .header(header::CACHE_CONTROL, "no-cache")
            .body(poem::Body::from_bytes_stream(stream::iter(pieces)))
    }))
}

/// Its own script and nothing else; it talks to this service, and to where the issuer gives tokens.
fn policy(login: Option<&Login<'_>>) -> String {
    let issuer = login.map(|login| format!(" {}", login.endpoints.origin)).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{issuer}; \
         form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
}

fn start(login: Option<&Login<'_>>) -> String {
    let page = "const ui = SwaggerUIBundle({ url: '/openapi.json', dom_id: '#ui', deepLinking: true, validatorUrl: null, \
        oauth2RedirectUrl: `${location.origin}/docs/signed-in` });\n";
    let Some(Login { client, .. }) = login else { return page.to_owned() };
    let query: Map<_, _> = client.query.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let settings = json!({
        "clientId": client.id,
        "scopes": client.scopes,
        "usePkceWithAuthorizationCodeGrant": true,
        "additionalQueryStringParams": query,
    });
    format!("{page}ui.initOAuth({settings});\n")
}

/// poem-openapi carries Swagger UI inlined in one page, which only a policy that allows inline script would run; its
/// script and its style are taken out of there.
fn swagger_ui() -> (Bytes, Bytes) {
    let page = crate::api::service().swagger_ui_html();
    let between = |open: &str, close: &str| {
        let content = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
        Bytes::from(content.expect("poem-openapi's page has one script and one style").0.to_owned())
    };
    (between("<script charset=\"UTF-8\">", "</script>"), between("<style charset=\"UTF-8\">", "</style>"))
}
