//! Swagger UI, served from the binary under a content security policy that admits its own script and nothing else.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use poem::endpoint::make_sync;
use poem::http::header;
use poem::{Endpoint, Request, Response, Route};
use serde_json::{Map, json};

use crate::http::route_spec::{LogPolicy, QueryPolicy};
use crate::http::router::Page;
use crate::openapi::Document;
use crate::openapi::login::LoginOptions;

/// The path to which the issuer sends the browser back after a login.
pub const LOGIN_CALLBACK_PATH: &str = "/docs/login-callback";

pub const PAGES: [Page; 8] = [
    page("/docs"),
    page("/docs/init.js"),
    page("/docs/swagger-ui.js"),
    page("/docs/swagger-ui.css"),
    // The issuer adds its own parameters.
    Page { path: LOGIN_CALLBACK_PATH, query: QueryPolicy::Any, log: LogPolicy::Info },
    page("/docs/login-callback.js"),
    page("/openapi.json"),
    page("/openapi.yaml"),
];

const fn page(path: &'static str) -> Page {
    Page { path, query: QueryPolicy::Declared, log: LogPolicy::Info }
}

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns the issuer's login, once the issuer's metadata is fetched.
pub type LoginSource = Arc<dyn Fn() -> Option<LoginOptions> + Send + Sync>;

/// Adds the pages to the routes that are not operations.
pub fn add_pages(routes: Route, login: LoginSource) -> Route {
    let (script, style) = swagger_ui();
    let document = Arc::new(Document::new());
    let json = cached_document(document.clone(), Document::to_json);
    let yaml = cached_document(document, Document::to_yaml);
    let text = |media_type, content: &'static str| static_file(media_type, login.clone(), move |_, _| content);
    routes
        .at("/docs", static_file(HTML, login.clone(), |request, _| index_page(request.original_uri().path())))
        .at("/docs/init.js", static_file(JAVASCRIPT, login.clone(), |_, login| init_script(login)))
        .at("/docs/swagger-ui.js", static_file(JAVASCRIPT, login.clone(), move |_, _| script.clone()))
        .at("/docs/swagger-ui.css", static_file("text/css; charset=utf-8", login.clone(), move |_, _| style.clone()))
        .at(LOGIN_CALLBACK_PATH, text(HTML, include_str!("login_callback.html")))
        .at("/docs/login-callback.js", text(JAVASCRIPT, include_str!("login_callback.js")))
        .at("/openapi.json", static_file("application/json", login.clone(), move |_, login| json(login)))
        // RFC 9512.
        .at("/openapi.yaml", static_file("application/yaml", login.clone(), move |_, login| yaml(login)))
}

/// Renders the document once, except for the issuer's login, which is known only after the issuer's metadata is
/// fetched.
fn cached_document(
    document: Arc<Document>,
    render: fn(&Document) -> String,
) -> impl Fn(Option<&LoginOptions>) -> Bytes {
    let without_login = Bytes::from(render(&document));
    move |login| login.map_or_else(|| without_login.clone(), |login| render(&document.with_login(login)).into())
}

/// The size of the pieces in which a file is sent, in bytes. hyper copies what it is given at once, and keeps the copy
/// until a slow client has taken it.
const CHUNK: usize = 16 * 1024;

fn static_file<B: Into<Bytes>>(
    media_type: &'static str,
    login: LoginSource,
    content: impl Fn(&Request, Option<&LoginOptions>) -> B + Send + Sync + 'static,
) -> impl Endpoint<Output = Response> {
    poem::get(make_sync(move |request| {
        let login = login();
        let content: Bytes = content(&request, login.as_ref()).into();
        let chunks: Vec<_> = content.chunks(CHUNK).map(|chunk| Ok::<_, io::Error>(content.slice_ref(chunk))).collect();
        Response::builder()
            .content_type(media_type)
            .header(header::CONTENT_LENGTH, content.len())
            .header(header::CONTENT_SECURITY_POLICY, content_security_policy(login.as_ref()))
            .header(header::CACHE_CONTROL, "no-cache")
            .body(poem::Body::from_bytes_stream(stream::iter(chunks)))
    }))
}

/// Admits the page's own script, and connections to this service and to the issuer's token endpoint.
fn content_security_policy(login: Option<&LoginOptions>) -> String {
    let issuer = login.map(|login| format!(" {}", login.origin)).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{issuer}; \
         form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
}

/// Returns the page with addresses relative to its own, which is `/docs` or `/docs/`.
fn index_page(path: &str) -> String {
    include_str!("index.html").replace("{directory}", if path.ends_with('/') { "" } else { "docs/" })
}

fn init_script(login: Option<&LoginOptions>) -> String {
    let script = include_str!("init.js");
    let Some(login) = login else { return script.to_owned() };
    let query: Map<_, _> = login.query.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let settings = json!({
        "clientId": login.client_id,
        "scopes": login.scopes,
        "usePkceWithAuthorizationCodeGrant": true,
        "additionalQueryStringParams": query,
    });
    format!("{script}ui.initOAuth({settings});\n")
}

/// Takes the script and the style out of the page in which poem-openapi inlines them: as one page, only a policy that
/// admits inline scripts would run it.
fn swagger_ui() -> (Bytes, Bytes) {
    let page = crate::api::service().swagger_ui_html();
    let between = |open: &str, close: &str| {
        let content = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
        Bytes::from(content.expect("poem-openapi's page has one script and one style").0.to_owned())
    };
    (between("<script charset=\"UTF-8\">", "</script>"), between("<style charset=\"UTF-8\">", "</style>"))
}
