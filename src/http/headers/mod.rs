//! Headers: the ones that carry meaning of their own, in and out.
//!
//! Those of requests stand in the document in words, not as parameters: a tool that makes up values for parameters would
//! be answered 412 for every `If-Match`, and 422 for an `Idempotency-Key` that it sends with a second body, and would
//! report good requests as refused.

use poem::http::header;
use poem::{FromRequest, Request, RequestBody};

use crate::domain::api_key::ApiKey;
use crate::domain::idempotency_key::IdempotencyKey;
use crate::domain::precondition::Precondition;
use crate::http::problem::Problem;

/// `If-Match` (RFC 9110, section 13.1.1).
pub struct IfMatch(pub Precondition);

impl<'a> FromRequest<'a> for IfMatch {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        let mut revisions = Vec::new();
        let mut came = false;
        for value in request.headers().get_all(header::IF_MATCH) {
            came = true;
            let tags = value.to_str().unwrap_or_default();
            if tags.trim() == "*" {
                return Ok(Self(Precondition::None));
            }
            // A tag that is weak, or not ours, matches nothing.
            let tag = |tag: &str| {
                let text = tag.trim().strip_prefix('"')?.strip_suffix('"')?;
                text.parse::<i64>().ok().filter(|revision| revision.to_string() == text)
            };
            revisions.extend(tags.split(',').filter_map(tag));
        }
        Ok(Self(if came { Precondition::Revision(revisions) } else { Precondition::None }))
    }
}

pub fn entity_tag(key: &ApiKey) -> String {
    format!("\"{}\"", key.revision)
}

/// `Idempotency-Key`, bare or as the quoted string of the IETF draft.
pub struct IdempotencyKeyHeader(pub Option<IdempotencyKey>);

impl<'a> FromRequest<'a> for IdempotencyKeyHeader {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        let mut values = request.headers().get_all("idempotency-key").iter();
        let text = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value.to_str().unwrap_or_default().trim(),
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request("Send one Idempotency-Key header, not several.").into());
            }
        };
        let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let key = IdempotencyKey::new(key).map_err(|_| {
            Problem::bad_request(
                "Send an Idempotency-Key of 22 to 255 visible ASCII characters that nobody can guess, such as a random UUID.",
            )
        })?;
        Ok(Self(Some(key)))
    }
}

/// `Link` to the next page (RFC 8288): this request again, with another cursor.
pub fn next_link(request: &Request, cursor: &str) -> String {
    let uri = request.original_uri();
    let kept =
        uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<_> = kept.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
    format!("<{}?{}>; rel=\"next\"", uri.path(), query.join("&"))
}
