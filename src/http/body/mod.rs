//! Body: JSON in requests and responses.
//!
//! poem-openapi's own `Json` has no size limit, coerces numbers to strings, accepts unknown and duplicate fields, and
//! responds to every error with 400 and the parser's words. This one takes each field by name, collects every violation
//! with its JSON pointer, and says the rule.
//!
//! A verification also has a fast path for valid bodies ([`object_reader::FromObject::parse_fast`]): without it a verify
//! from the cache is 4 to 7 % slower (docs/development/performance-shapes.md). Nothing else is called often enough to have
//! one.

pub mod media_type;
pub mod object_reader;
pub mod reader;

use std::marker::PhantomData;

use bytes::Bytes;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::Serialize;

use crate::http::body::media_type::check_media_type;
use crate::http::body::object_reader::{FromObject, parse_body};
use crate::http::body::reader::BodyReader;
use crate::http::problem::{JSON, Problem};

/// The body of a request, parsed and as it was sent.
pub struct JsonRequest<T> {
    pub value: T,
    pub bytes: Bytes,
}

/// The body of a response.
pub struct JsonResponse<T>(pub T);

/// The body of a response, serialized by serde. poem-openapi builds a tree first, which is too slow for a frequent one.
pub struct PreserializedJson<T> {
    json: Vec<u8>,
    schema: PhantomData<T>,
}

impl<T: Serialize> From<&T> for PreserializedJson<T> {
    fn from(body: &T) -> Self {
        // Large enough for most bodies, so that the buffer does not grow.
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, body).expect("a response body can be serialized");
        Self { json, schema: PhantomData }
    }
}

impl<T: FromObject> JsonRequest<T> {
    pub async fn read(request: &Request, body: BodyReader<'_>) -> Result<Self, Problem> {
        let bytes = body.read().await;
        let is_empty = T::OPTIONAL && bytes.as_ref().is_ok_and(Bytes::is_empty);
        if !is_empty {
            let advice = "Send the body as JSON, with `Content-Type: application/json`";
            check_media_type(request.headers(), T::MEDIA_TYPES, advice)?;
        }
        let mut bytes = bytes?;
        if T::OPTIONAL && is_null(&bytes) {
            bytes = Bytes::new();
        }
        Ok(Self { value: parse_body(&bytes)?, bytes })
    }
}

/// True for the JSON text `null`, which many generated clients send when they are given no optional body.
fn is_null(bytes: &[u8]) -> bool {
    str::from_utf8(bytes).is_ok_and(|text| text.trim_matches([' ', '\t', '\n', '\r']) == "null")
}

impl<'a, T: FromObject> ApiExtractor<'a> for JsonRequest<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = T::MEDIA_TYPES.iter().map(|content_type| MetaMediaType { content_type, schema: T::schema_ref() });
        let content = content.collect();
        Some(MetaRequest { description: None, content, required: !T::OPTIONAL })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::read(request, BodyReader::of(request, body)?).await?)
    }
}

impl<T: Type> Payload for JsonResponse<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type> Payload for PreserializedJson<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Send> IntoResponse for PreserializedJson<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.json)
    }
}

impl<T: ToJSON> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.0.to_json_string())
    }
}
