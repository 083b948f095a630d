//! `Link`.

use poem::Request;

/// Returns a `Link` to the next page (RFC 8288): the same request with another cursor. It is relative to the request's URL
/// (RFC 3986, section 5.2), so that it holds below any prefix that a proxy removes from paths.
pub fn next_link(request: &Request, cursor: &str) -> String {
    let query = request.original_uri().query().unwrap_or_default();
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
    format!("<?{}>; rel=\"next\"", query.join("&"))
}
