//! Body: JSON in and JSON out.
//!
//! poem-openapi's own `Json` has no size limit, coerces numbers to strings, lets unknown and duplicate members pass and
//! answers everything with 400 in its own words. This one takes each member by name, collects every violation with its
//! pointer, and says the rule instead of the parser's state.

pub mod buffer;
pub mod fast_path;
pub mod media_type;
pub mod object_reader;

use std::marker::PhantomData;

use bytes::Bytes;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::Serialize;
use serde_json::Map;

use crate::http::body::buffer::BufferedBody;
use crate::http::body::media_type::check_media_type;
use crate::http::body::object_reader::{FromObject, ObjectReader};
use crate::http::problem::{JSON, Problem, Violation};
use crate::json::strict::{JsonError, OnDuplicate, parse_object};

/// The body of a request.
pub struct JsonRequest<T> {
    pub value: T,
    pub bytes: Bytes,
}

/// The body of an answer.
pub struct JsonResponse<T>(pub T);

/// The same, written already. poem-openapi makes a tree of an answer before it writes it; one that is given often is
/// written without.
pub struct PreserializedJson<T> {
    json: Vec<u8>,
    schema: PhantomData<T>,
}

impl<T: Serialize> From<&T> for PreserializedJson<T> {
    fn from(answer: &T) -> Self {
        // Room for most, so that it is not moved while it grows.
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, answer).expect("an answer can always be written");
        Self { json, schema: PhantomData }
    }
}

impl<T: FromObject> JsonRequest<T> {
    pub fn read(request: &Request, received: BufferedBody) -> Result<Self, Problem> {
        let bytes = received.into_bytes();
        let absent = T::OPTIONAL && bytes.as_ref().is_ok_and(Bytes::is_empty);
        if !absent {
            check_media_type(request, T::MEDIA_TYPES)?;
        }
        let bytes = bytes?;
        if let Some(value) = T::from_plain(&bytes) {
            return Ok(Self { value, bytes });
        }
        let mut duplicates = Vec::new();
        let object = if absent { Map::new() } else { parse_object(&bytes, OnDuplicate::Collect(&mut duplicates))? };
        let duplicate = |pointer| Violation::new(pointer, "appears more than once; send each field once");
        let mut violations: Vec<_> = duplicates.into_iter().map(duplicate).collect();
        let mut members = ObjectReader { object, violations: Vec::new() };
        let value = T::from_object(&mut members);
        violations.extend(members.finish());
        match value {
            Some(value) if violations.is_empty() => Ok(Self { value, bytes }),
            _ => Err(Problem::unprocessable(violations)),
        }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        Self::bad_request(match error {
            JsonError::Empty => "The body is empty; send a JSON object.".into(),
            JsonError::NotAnObject => "The body is JSON, but not an object; send a JSON object.".into(),
            JsonError::Malformed { line, column } => {
                format!("The body is not well-formed JSON: look at line {line}, column {column}.")
            }
        })
    }
}

impl<'a, T: FromObject> ApiExtractor<'a> for JsonRequest<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        // What else is taken is told in words: some generators cannot choose.
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: !T::OPTIONAL })
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::read(request, BufferedBody::of(request))?)
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
