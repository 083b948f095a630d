//! `If-Match`, and the `ETag` that it refers to.

use poem::http::header;
use poem::{FromRequest, Request, RequestBody};

use crate::domain::api_key::ApiKey;
use crate::domain::precondition::Precondition;

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
            // A weak tag, or one that this service did not issue, matches nothing.
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
