//! The root: leads a person to the documentation page, and a program to the document.

use poem::endpoint::make_sync;
use poem::http::{StatusCode, header};
use poem::{Request, Response, Route};
use serde_json::json;

use crate::http::headers::location::location;
use crate::http::negotiation::prefers_html;
use crate::http::problem::JSON;
use crate::http::route_spec::{LogPolicy, QueryPolicy};
use crate::http::router::Page;

/// Browsers request an icon of every server whose response they show.
pub const ROOT_PAGES: [Page; 2] = [
    Page { path: "/", query: QueryPolicy::Any, log: LogPolicy::Info },
    Page { path: "/favicon.ico", query: QueryPolicy::Any, log: LogPolicy::DebugOn200 },
];

const ICON: &str =
    r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><text y="13" font-size="13">🔑</text></svg>"#;

/// Adds the pages to the routes that are not operations.
pub fn add_root_pages(routes: Route) -> Route {
    let icon = |_| {
        let response = Response::builder().content_type("image/svg+xml");
        response.header(header::CACHE_CONTROL, "max-age=86400").body(ICON)
    };
    routes
        .at("/", poem::get(make_sync(|request| respond_to_root(&request))))
        .at("/favicon.ico", poem::get(make_sync(icon)))
}

/// Addresses are relative, so that they hold below any prefix that a proxy removes from paths.
fn respond_to_root(request: &Request) -> Response {
    let response = Response::builder().header(header::VARY, "Accept");
    if prefers_html(request.headers()) {
        return response.status(StatusCode::FOUND).header(header::LOCATION, location(request, "/docs")).finish();
    }
    let body = json!({ "name": "mintkey", "documentation": "./docs", "openapi": "./openapi.json" });
    response.content_type(JSON).body(body.to_string())
}
