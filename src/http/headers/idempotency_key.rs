//! `Idempotency-Key`.

use poem::{FromRequest, Request, RequestBody};

use crate::domain::idempotency_key::IdempotencyKey;
use crate::http::problem::Problem;

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
                "Send an Idempotency-Key of 22 to 255 printable ASCII characters that cannot be guessed, such as a random UUID.",
            )
        })?;
        Ok(Self(Some(key)))
    }
}
