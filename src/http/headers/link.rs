//! `Link`.

use poem::Request;

/// Returns a `Link` to the next page (RFC 8288): the same request with another cursor.
pub fn next_link(request: &Request, cursor: &str) -> String {
    let uri = request.original_uri();
    let kept =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}
