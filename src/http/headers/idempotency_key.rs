//! `Idempotency-Key`.

use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::idempotency_key::IdempotencyKey;
use crate::http::problem::Problem;

/// `Idempotency-Key`, bare or as the quoted string of the IETF draft. Not poem-openapi's `Header`, for the reason at
/// [`IfMatch`](crate::http::headers::if_match::IfMatch).
pub struct IdempotencyKeyHeader(pub Option<IdempotencyKey>);

impl<'a> ApiExtractor<'a> for IdempotencyKeyHeader {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = ();
    type ParamRawType = ();

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        // Without an example: Swagger UI would send it in every request.
        let schema = MetaSchema {
            min_length: Some(IdempotencyKey::MIN),
            max_length: Some(IdempotencyKey::MAX),
            pattern: Some("^[!-~]+$".to_owned()),
            ..MetaSchema::new("string")
        };
        Some(MetaSchemaRef::Inline(Box::new(schema)))
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let mut values = request.headers().get_all("idempotency-key").iter();
        let given = match (values.next(), values.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(value), None) => value,
            (Some(_), Some(_)) => {
                return Err(Problem::bad_request("Send one Idempotency-Key header, not several.").into());
            }
        };
        let text = given.to_str().unwrap_or_default().trim();
        let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let key = IdempotencyKey::new(key).map_err(|_| {
            Problem::bad_request(format!(
                "Send an Idempotency-Key of 20 to 255 visible ASCII characters, without spaces, that cannot be guessed, such \
                 as a random UUID; this one has {} bytes.",
                given.as_bytes().len()
            ))
        })?;
        Ok(Self(Some(key)))
    }
}
